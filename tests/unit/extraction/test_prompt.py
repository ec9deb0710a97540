"""The question: everything the job says, in words, always the same, in the job's own language."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline.core.geometry import Affine
from pipeline.core.types import Document, Page
from pipeline.extraction import prompt
from pipeline.schema.fields import leaves, lone_text
from pipeline.schema.job import Job, load_jobs, parse_job
from tests.support.builders import page

DOCUMENT = Document("ab" * 32, "a.pdf", Path("a.pdf"), "forms", datetime(2024, 6, 15, tzinfo=UTC), 9)
JOB = """\
name: form
role: You read forms of a power station.
instructions: 请读取设备巡检表。
fields:
  设备编号: {type: text, labels: [设备编号, No.], hint: at the top}
  巡检日期: {type: date, order: YMD}
  items:
    type: list
    fields:
      检查项: {type: text}
      正常: {type: yesno, yes: [合格]}
  who: {type: group, fields: {name: {type: text, kind: name}}}
  marks: {type: choice, options: {r: [红], g: []}, many: true}
"""


def pages(*numbers: int) -> tuple[Page, ...]:
    return tuple(page(number) for number in numbers)


@pytest.fixture
def job() -> Job:
    return parse_job(JOB.encode())


def test_the_question_says_all_that_the_job_says(job: Job) -> None:
    request = prompt.ask(job, DOCUMENT, pages(1))
    assert request.system == prompt.SYSTEM  # no word of the job: its pages are looked at once for all jobs
    lines = request.question.split("\n")
    assert lines[:3] == ["You read forms of a power station.", "", "请读取设备巡检表。"]
    assert '- 设备编号: text; printed near "设备编号" or "No."; at the top' in lines
    assert "  - 正常: true or false; true where it says 合格" in lines
    assert "  - name: text (name)" in lines
    assert "- marks: those that hold of: r (for 红), g" in lines
    assert lines[-1] == (
        '{"设备编号": null, "巡检日期": null, "items": [{"检查项": null, "正常": null}], '
        '"who": {"name": null}, "marks": []}'
    )
    assert request.schema is not None
    assert list(request.schema["properties"]) == list(job.fields)


def test_the_same_job_and_pages_give_the_same_words(job: Job) -> None:
    one, two = (prompt.ask(parse_job(JOB.encode()), DOCUMENT, pages(1, 2), 0, 3) for _ in range(2))
    for part in ("system", "question", "schema", "max_new_tokens"):
        assert getattr(one, part) == getattr(two, part)


def test_a_part_of_a_long_document_knows_that_it_is_one(job: Job) -> None:
    request = prompt.ask(job, DOCUMENT, pages(5, 6, 7, 8), 1, 3)
    assert "You see pages 5 to 8 of a longer document (part 2 of 3)." in request.question
    assert "longer document" not in prompt.ask(job, DOCUMENT, pages(1)).question
    assert (request.window, request.windows) == (1, 3)


def test_the_length_of_the_answer_grows_with_what_is_asked_and_yields_to_the_job(job: Job) -> None:
    small = parse_job(b"name: a\nfields: {total: {type: money}}")
    assert 40 < prompt.ask(small, DOCUMENT, pages(1)).max_new_tokens < 200
    assert prompt.ask(job, DOCUMENT, pages(1)).max_new_tokens > 1000
    told = parse_job(b"name: a\nmax_new_tokens: 77\nfields: {total: {type: money}}")
    assert prompt.ask(told, DOCUMENT, pages(1)).max_new_tokens == 77


def test_every_shipped_job_can_be_asked() -> None:
    for job in load_jobs(Path(__file__).parents[3] / "jobs"):
        question = prompt.ask(job, DOCUMENT, pages(1)).question
        for path, _ in () if lone_text(job.fields) else leaves(job.fields):
            assert f"- {path.rpartition('.')[2]}: " in question


def test_one_long_field_is_asked_in_free_text() -> None:
    job = parse_job(b"name: a\nrole: You are a painter.\nfields: {what: {type: prose, hint: in four sentences}}")
    request = prompt.ask(job, DOCUMENT, pages(1))
    assert request.schema is None
    assert request.question.split("\n\n") == [
        "You are a painter.",
        "Answer with plain text; in four sentences. Write nothing else. "
        "Where there is nothing of the kind, answer null.",
    ]
    code = prompt.ask(parse_job(b"name: a\nfields: {it: {type: code, language: vue}}"), DOCUMENT, pages(1))
    assert "Put it into one fenced block (```vue)" in code.question
    assert code.schema is None
    assert code.max_new_tokens > 6000
    two = prompt.ask(parse_job(b"name: a\nfields: {it: {type: prose}, note: {type: text}}"), DOCUMENT, pages(1))
    assert two.schema is not None
    assert "You write it yourself." in two.question


def test_boxes_are_asked_in_pixels_of_each_picture_that_can_be_seen() -> None:
    job = parse_job(b"name: a\nfields: {finds: {type: list, fields: {label: {type: text}, where: {type: box}}}}")
    broken = Page(6, 0, 0, Affine(), fault="torn")
    request = prompt.ask(job, DOCUMENT, (*pages(5), broken, *pages(7)), 1, 2)
    assert '{"bbox_2d": [x1, y1, x2, y2], "page": number}' in request.question
    assert "picture 1 is page 5, 100 x 100; picture 2 is page 7, 100 x 100 pixels." in request.question
    assert "one entry for each thing that you find" in request.question
    assert request.schema is not None
