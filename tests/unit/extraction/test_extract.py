"""From what an engine wrote to a checked record."""

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from time import process_time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.geometry import Affine, Box
from pipeline.core.types import ISSUES, Document, Evidence, Page, Record
from pipeline.engine import Finish, Reply
from pipeline.extraction import prompt
from pipeline.extraction.extract import extract, fail
from pipeline.schema.fields import leaf_values
from pipeline.schema.job import Job, parse_job
from tests.support.builders import page

DOCUMENT = Document("ab" * 32, "a.pdf", Path("a.pdf"), "bills", datetime(2024, 6, 15, tzinfo=UTC), 9)
JOB = parse_job(
    b"""\
name: bill
fields:
  number: {type: text}
  issued: {type: date}
  total: {type: money, required: true}
  seller: {type: group, fields: {name: {type: text}, phones: {type: list, item: {type: text}}}}
  lines: {type: list, fields: {what: {type: text}, amount: {type: money, required: true}}}
tolerance: 0.02
rules:
  - sum(lines.amount) == total
  - issued <= today
"""
)


def reply(
    answer: Any,
    *pages: Page,
    job: Job = JOB,
    finish: Finish = "stop",
    error: str | None = None,
    window: int = 0,
    windows: int = 1,
    confidence: Mapping[str, float] | None = None,
    evidence: Mapping[str, Evidence] | None = None,
) -> Reply:
    request = prompt.ask(job, DOCUMENT, pages or (page(1),), window, windows)
    text = answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)
    return Reply(request, text, finish, error, evidence=evidence or {}, confidence=confidence or {})


def read(*replies: Reply, job: Job = JOB, at: int | None = None) -> Record:
    return extract(job, DOCUMENT, at, replies, {"engine": "test"}, today=date(2024, 7, 1))


def codes(record: Record) -> list[tuple[str, str]]:
    return [(issue.code, issue.path) for issue in record.issues]


GOOD = {
    "number": "A1",
    "issued": "15.06.2024",
    "total": "30,00 €",
    "seller": {"name": "Acme", "phones": ["1", "2"]},
    "lines": [{"what": "Bolt", "amount": "10.00"}, {"what": "Nut", "amount": "20.01"}],
}


def test_a_good_answer_is_ok() -> None:
    record = read(reply(GOOD))
    assert record.status == "ok"
    assert record.data == {
        "number": "A1",
        "issued": date(2024, 6, 15),
        "total": Decimal("30.00"),
        "seller": {"name": "Acme", "phones": ["1", "2"]},
        "lines": [{"what": "Bolt", "amount": Decimal("10.00")}, {"what": "Nut", "amount": Decimal("20.01")}],
    }
    assert (record.pages, record.page, record.error) == ((1,), None, None)
    assert record.provenance == {"job_digest": JOB.digest, "engine": "test"}


@pytest.mark.parametrize(
    "text",
    [
        "```json\n{}\n```",
        "Here it is: {} I hope this helps {{",
        "{}\n\nNote: the seller is {{unknown}}.",
        'I see {"a page": 1}. So: {}',
        "[{}]",
        "\ufeff {}",
    ],
)
def test_the_object_is_found_in_what_surrounds_it(text: str) -> None:
    record = read(reply(text.replace("{}", json.dumps(GOOD), 1)))
    assert record.status == "ok"
    assert record.data["total"] == Decimal("30.00")


@pytest.mark.parametrize(
    "text", ["", "I cannot read this.", "[1, 2]", "null", '"total"', "{{{{", "[" * 5000, "{'total': 1}"]
)
def test_what_is_no_json_gives_nulls_and_says_so(text: str) -> None:
    record = read(reply(text))
    assert codes(record) == [("not_json", ""), ("missing", "total")]
    assert record.data["seller"] == {"name": None, "phones": []}


def test_a_broken_off_answer_keeps_what_is_whole_and_never_half_a_value() -> None:
    whole = json.dumps(GOOD)
    full = {path: value for path, _, value in leaf_values(JOB.fields, read(reply(GOOD)).data)}
    for end in range(len('{"number'), len(whole), 3):
        record = read(reply(whole[:end], finish="length"))
        assert ("truncated", "") in codes(record)
        for path, _, value in leaf_values(JOB.fields, record.data):
            assert value in (None, full[path])
    assert read(reply(whole[:-30], finish="length")).data["total"] == Decimal("30.00")
    assert codes(read(reply(whole[:-1])))[0] == ("truncated", "")


def test_an_answer_that_reached_its_limit_is_doubted_even_if_it_looks_whole() -> None:
    assert codes(read(reply(GOOD, finish="length"))) == [("truncated", "")]


@pytest.mark.parametrize(("phones", "lines"), [(2, 3), (3, 2), (3, 4)])
def test_a_list_longer_than_max_items_is_cut_and_goes_to_review(phones: int, lines: int) -> None:
    job = parse_job(
        b"name: bill\nfields:\n"
        b"  seller: {type: group, fields: {phones: {type: list, max_items: 2, item: {type: text}}}}\n"
        b"  lines: {type: list, max_items: 2, fields: {what: {type: text}}}\n"
    )
    answer = {
        "seller": {"phones": [str(number) for number in range(phones)]},
        "lines": [{"what": str(number)} for number in range(lines)],
    }
    record = read(reply(answer, job=job), job=job)
    assert record.status == "review"
    assert record.data["seller"]["phones"] == ["0", "1"]
    assert record.data["lines"] == [{"what": "0"}, {"what": "1"}]
    cut = [("truncated", "seller.phones")] * (phones > 2) + [("truncated", "lines")] * (lines > 2)
    assert codes(record) == cut
    assert "max_items" in record.issues[0].message


def test_max_items_bounds_each_window_and_the_pages_of_a_cut_one_are_named() -> None:
    job = parse_job(b"name: bill\nfields: {lines: {type: list, max_items: 2, fields: {what: {type: text}}}}\n")
    rows = [{"what": str(number)} for number in range(5)]
    whole, cut = {"lines": rows[:2]}, {"lines": rows[2:]}
    record = read(
        reply(whole, page(1), job=job, windows=2), reply(cut, page(2), page(3), job=job, window=1, windows=2), job=job
    )
    assert record.data["lines"] == rows[:4]
    assert codes(record) == [("truncated", "lines")]
    assert "pages 2–3" in record.issues[0].message
    full = read(reply(whole, page(1), job=job, windows=2), reply(whole, page(2), job=job, window=1, windows=2), job=job)
    assert full.status == "ok"


def test_rows_that_end_where_a_window_ends_may_go_on_behind_it() -> None:
    job = parse_job(b"name: bill\nfields: {lines: {type: list, fields: {what: {type: text}}}}\n")
    rows = [{"what": "A"}, {"what": "B"}]

    def joined(last_on: int, more: list[dict[str, str]]) -> Record:
        seen = {"lines[0].what": Evidence(1, None, "A"), "lines[1].what": Evidence(last_on, None, "B")}
        return read(
            reply({"lines": rows}, page(1), page(2), job=job, windows=2, evidence=seen),
            reply({"lines": more}, page(3), job=job, window=1, windows=2),
            job=job,
        )

    cut = joined(2, [])
    assert (cut.status, codes(cut)) == ("review", [("truncated", "lines")])
    assert "page 2" in cut.issues[0].message
    assert "page 3" in cut.issues[0].message
    assert joined(1, []).status == "ok"
    assert joined(2, [{"what": "C"}]).status == "ok"


def test_an_answer_cut_in_one_window_of_several_is_named_with_its_pages() -> None:
    job = parse_job(b"name: bill\nfields: {lines: {type: list, fields: {what: {type: text}}}}\n")
    record = read(
        reply({"lines": [{"what": "A"}]}, page(1), job=job, windows=2),
        reply('{"lines": [{"what": "B"}, {"wh', page(2), job=job, finish="length", window=1, windows=2),
        job=job,
    )
    assert [row["what"] for row in record.data["lines"]] == ["A", "B"]
    assert [issue.code for issue in record.issues] == ["truncated"]
    assert "page 2" in record.issues[0].message


def test_the_schema_leaves_room_for_the_entry_that_shows_a_cut() -> None:
    job = parse_job(b"name: bill\nfields: {lines: {type: list, max_items: 2, fields: {what: {type: text}}}}\n")
    assert prompt.ask(job, DOCUMENT, (page(1),), 0, 1).schema["properties"]["lines"]["maxItems"] == 3


def test_a_key_given_twice_is_no_value_unless_both_agree() -> None:
    assert read(reply('{"total": "1", "total": "2"}')).data["total"] is None
    assert codes(read(reply('{"total": "1", "total": "2"}'))) == [("conflict", ""), ("missing", "total")]
    assert read(reply('{"total": "1", "total": "1"}')).status == "ok"


def test_numbers_stay_exact_and_other_keys_are_left_aside() -> None:
    assert read(reply('{"total": 0.10, "other": 1}')).data["total"] == Decimal("0.10")
    assert codes(read(reply('{"total": 1e400}'))) == [("not_allowed", "total")]
    assert codes(read(reply('{"total": NaN}'))) == [("wrong_type", "total")]
    assert codes(read(reply('{"total": ' + "9" * 9999 + "}"))) == [("wrong_type", "total")]


def test_what_is_missing_is_named_and_not_twice() -> None:
    assert codes(read(reply({}))) == [("missing", "total")]
    assert codes(read(reply({"total": "?!", "lines": [{"what": "x"}]}))) == [
        ("wrong_type", "total"),
        ("missing", "lines[0].amount"),
    ]


def test_rules_speak_in_the_record() -> None:
    record = read(reply({**GOOD, "total": "31", "issued": "2024-07-02"}))
    assert codes(record) == [("rule_failed", "total"), ("rule_failed", "issued")]
    assert record.status == "review"


def test_empty_rows_go_and_everything_about_the_others_moves_along() -> None:
    box = Box(1, 2, 3, 4)
    record = read(
        reply(
            {
                "total": "3",
                "lines": [None, {"what": "a", "amount": "1"}, {}, {"what": "b", "amount": "2"}, {"amount": "?"}],
            },
            confidence={"lines[1].amount": 0.9, "lines[3].amount": 0.3, "lines[2].what": 0.1, "total": 0.8},
            evidence={"lines[3].amount": Evidence(1, box, "2")},
        )
    )
    assert [row["what"] for row in record.data["lines"]] == ["a", "b", None]
    assert record.confidence == {"lines[0].amount": 0.9, "lines[1].amount": 0.3, "total": 0.8}
    assert record.evidence == {"lines[1].amount": Evidence(1, box, "2")}
    assert codes(record) == [("wrong_type", "lines[2].amount"), ("doubtful", "lines[1].amount")]


def test_evidence_comes_in_source_pixels() -> None:
    turned = page(2, to_source=Affine(0, 2, -10, -2, 0, 200))
    record = read(
        reply(
            {"total": "3", "number": "x"},
            page(1),
            turned,
            evidence={
                "total": Evidence(2, Box(10, 0, 20, 30), "3"),
                "number": Evidence(9, Box(0, 0, 1, 1), "x"),
                "issued": Evidence(1, None, ""),
            },
        )
    )
    assert record.evidence == {"total": Evidence(2, Box(0, 140, 50, 40), "3"), "number": Evidence(9, None, "x")}


def test_lines_of_a_long_text_are_counted_through_all_windows() -> None:
    job = Job.model_validate({"name": "text", "fields": {"answer": {"type": "prose"}, "other": {"type": "prose"}}})
    line = Evidence(1, Box(1, 2, 3, 4), "one")
    lines = {"answer": line, "answer[0]": line, "answer[1]": line, "other[0]": line}
    far = {"answer[0]": Evidence(2, Box(1, 2, 3, 4), "two")}
    windows = [
        reply({"answer": "one"}, page(1), job=job, windows=2, evidence=lines),
        reply(
            {"answer": "two"}, page(2, to_source=Affine(2, 0, 0, 0, 2, 0)), job=job, window=1, windows=2, evidence=far
        ),
    ]
    found = read(*windows, job=job).evidence
    assert found == {"answer[0]": line, "answer[1]": line, "answer[2]": Evidence(2, Box(2, 4, 6, 8), "two")}


def test_windows_are_joined_in_page_order() -> None:
    parts = [
        reply(
            {"number": "A1", "lines": [{"what": "a", "amount": "1"}], "seller": {"phones": ["1"]}},
            page(1),
            page(2),
            window=0,
            windows=2,
        ),
        reply(
            {"total": "3", "lines": [{}, {"what": "b", "amount": "2"}], "seller": {"name": "Acme", "phones": ["2"]}},
            page(3),
            window=1,
            windows=2,
            confidence={"lines[1].what": 0.9},
        ),
    ]
    record = read(*parts)
    assert record.status == "ok"
    assert record.pages == (1, 2, 3)
    assert [row["what"] for row in record.data["lines"]] == ["a", "b"]
    assert record.data["seller"] == {"name": "Acme", "phones": ["1", "2"]}
    assert record.confidence == {"lines[1].what": 0.9}


@pytest.mark.parametrize(
    ("sure", "total"), [((None, None), "3.00"), ((0.6, 0.9), "4.00"), ((0.9, 0.6), "3.00"), ((None, 0.9), "4.00")]
)
def test_of_two_values_the_surer_is_taken_and_the_conflict_told(
    sure: tuple[float | None, float | None], total: str
) -> None:
    confidence = [{"total": each} if each is not None else {} for each in sure]
    record = read(
        reply({"total": "3"}, page(1), page(2), windows=2, confidence=confidence[0]),
        reply(
            {"total": "4"},
            page(3),
            window=1,
            windows=2,
            confidence=confidence[1],
            evidence={"total": Evidence(3, None, "4")},
        ),
    )
    assert record.data["total"] == Decimal(total)
    assert codes(record) == [("conflict", "total")]
    assert record.issues[0].message == 'pages 1–2 say "3.00" but page 3 says "4.00"'
    assert ("total" in record.evidence) is (total == "4.00")


def test_texts_that_differ_in_case_or_width_only_are_no_conflict() -> None:
    record = read(
        reply({"total": 1, "number": "ＡＢ 1"}, page(1), windows=2),
        reply({"number": "ab  1"}, page(2), window=1, windows=2),
    )
    assert record.issues == ()


def test_issues_of_a_part_name_its_pages() -> None:
    record = read(reply({"total": 1}, page(1), windows=2), reply("?", page(2), page(3), window=1, windows=2))
    assert [issue.message.rpartition("(")[2] for issue in record.issues] == ["pages 2–3)"]


def test_a_page_that_could_not_be_read_is_named() -> None:
    record = read(reply({"total": 1}, page(1), page(2, fault="the page cannot be drawn")))
    assert codes(record) == [("unreadable", "")]
    assert record.issues[0].message == "page 2 could not be read: the page cannot be drawn"


def test_a_document_of_unreadable_pages_failed() -> None:
    record = read(reply("{}", page(1, fault="torn")))
    assert (record.status, record.data) == ("failed", {})
    assert record.error == ("broken", "page 1 could not be read: torn")
    lone = read(reply("{}", page(3, fault="torn")), at=3)
    assert (lone.status, lone.page, codes(lone)) == ("review", 3, [("unreadable", ""), ("missing", "total")])


def test_an_engine_that_gave_up_gives_a_failed_record() -> None:
    record = read(
        reply(GOOD, windows=2), reply("", page(2), finish="error", error="out of memory", window=1, windows=2)
    )
    assert record.error == ("engine", "out of memory")
    assert (record.status, record.data, record.pages) == ("failed", {}, (1, 2))


def test_fail_makes_the_record_of_a_document_without_answer() -> None:
    record = fail(JOB, DOCUMENT, "encrypted", "it asks for a password", {"run": "r"})
    assert (record.status, record.error) == ("failed", ("encrypted", "it asks for a password"))
    assert record.provenance == {"job_digest": JOB.digest, "run": "r"}


def test_a_blank_document_is_all_null() -> None:
    nulls = {"number": None, "issued": None, "total": None, "seller": {"name": None, "phones": []}, "lines": []}
    record = read(reply(nulls))
    assert record.data == nulls
    assert codes(record) == [("missing", "total")]


def test_confidence_is_kept_between_nought_and_one_and_for_values_only() -> None:
    record = read(
        reply({"total": 1}, confidence={"total": 1.7, "number": 0.9, "nonsense": 0.2, "issued": float("nan")})
    )
    assert record.confidence == {"total": 1.0}


ANSWERS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*JOB.fields, "what", "amount", "name"]), inner, max_size=5)
    ),
    max_leaves=15,
)


@given(st.lists(ANSWERS | st.text(max_size=50), min_size=1, max_size=3), st.integers(0, 40))
def test_whatever_was_answered_gives_a_record(given_answers: list[Any], cut: int) -> None:
    windows = len(given_answers)
    replies = [reply(answer, page(at + 1), window=at, windows=windows) for at, answer in enumerate(given_answers)]
    replies.append(reply(replies[0].text[:cut], page(windows + 1)))
    record = read(*replies)
    assert list(record.data) == list(JOB.fields)
    assert {issue.code for issue in record.issues} <= set(ISSUES)
    paths = {path for path, _, _ in leaf_values(JOB.fields, record.data)}
    assert {issue.path for issue in record.issues} <= paths | {"", "seller", "lines", "seller.phones"} | {
        path.rpartition(".")[0] for path in paths
    }


# --- free text, lists without an object, boxes, measures

TEXT = parse_job(b"name: t\nfields: {what: {type: prose, required: true}}")
FINDS = parse_job(
    b"name: f\nfields: {finds: {type: list, fields: {label: {type: text}, where: {type: box}}}, note: {type: text}}"
)
GAUGE = parse_job(
    b"name: g\nfields:\n  reading: {type: measure, unit: kPa}\n"
    b"  rows: {type: list, fields: {p: {type: measure, unit: bar}}}\nrules: [reading > 3]\n"
)


def test_a_free_answer_is_the_value_as_it_is() -> None:
    record = read(reply('A pump.\n  It says: {"total": 1}\n', job=TEXT), job=TEXT)
    assert record.data == {"what": 'A pump.\n  It says: {"total": 1}'}
    assert record.status == "ok"


@pytest.mark.parametrize("text", ['{"what": "A\\npump."}', '```json\n{"what": "A\\npump."}\n```'])
def test_a_free_answer_that_was_wrapped_is_unwrapped(text: str) -> None:
    assert read(reply(text, job=TEXT), job=TEXT).data == {"what": "A\npump."}


@pytest.mark.parametrize("text", ["", "null", " \n"])
def test_nothing_is_missing_where_it_is_required(text: str) -> None:
    record = read(reply(text, job=TEXT), job=TEXT)
    assert record.data == {"what": None}
    assert codes(record) == [("missing", "what")]


def test_a_free_answer_that_was_cut_off_is_kept_and_says_so() -> None:
    record = read(reply("A long st", job=TEXT, finish="length"), job=TEXT)
    assert record.data == {"what": "A long st"}
    assert codes(record) == [("truncated", "")]


def test_the_texts_of_windows_follow_one_another_and_a_torn_page_adds_none() -> None:
    windows = [
        reply("One.", page(1), job=TEXT, windows=3),
        reply("{}", page(2, fault="torn"), job=TEXT, window=1, windows=3),
        reply("One.\n\nThree.", page(3), job=TEXT, window=2, windows=3),
    ]
    record = read(*windows, job=TEXT)
    assert record.data == {"what": "One.\n\nOne.\n\nThree."}
    assert codes(record) == [("unreadable", "")]


@pytest.mark.parametrize(
    "text",
    [
        '[{"bbox_2d": [1, 2, 30, 40], "label": "hole"}]',
        '```json\n[\n\t{"bbox_2d": [1, 2, 30, 40], "label": "hole"}\n]\n```',
        'I see one:\n```json\n[{"bbox_2d": [1, 2, 30, 40], "label": "hole"}]\n```\nNothing else.',
        '{"finds": [{"where": {"bbox_2d": [1, 2, 30, 40], "page": 1}, "label": "hole"}], "note": null}',
        '{"finds": [{"where": [1, 2, 30, 40], "label": "hole"}]}',
    ],
)
def test_a_list_alone_is_the_jobs_only_list(text: str) -> None:
    record = read(reply(text, job=FINDS), job=FINDS)
    box = {"page": 1, "x": 1.0, "y": 2.0, "width": 29.0, "height": 38.0}
    assert record.data == {"finds": [{"label": "hole", "where": box}], "note": None}
    assert record.evidence["finds[0].where"] == Evidence(1, Box(1, 2, 29, 38), "")
    assert record.status == "ok"


def test_a_list_that_breaks_off_keeps_its_whole_rows() -> None:
    text = '```json\n[{"bbox_2d": [1, 2, 30, 40], "label": "hole"}, {"bbox_2d": [50, 60, 7'
    record = read(reply(text, job=FINDS, finish="length"), job=FINDS)
    assert [row["label"] for row in record.data["finds"]][:1] == ["hole"]
    assert all(row["where"] is None for row in record.data["finds"][1:])
    assert ("truncated", "") in codes(record)
    assert read(reply("[]", job=FINDS), job=FINDS).status == "ok"


def test_boxes_come_back_from_their_own_page_and_bad_ones_are_null() -> None:
    half = page(2, to_source=Affine(2, 0, 5, 0, 2, 7))
    finds = [
        {"label": "a", "where": {"bbox_2d": [10, 10, 20, 30], "page": 2}},
        {"label": "b", "where": {"bbox_2d": [20, 10, 10, 30], "page": 1}},
        {"label": "c", "where": {"bbox_2d": [10, 10, 20, 30], "page": 9}},
    ]
    record = read(reply({"finds": finds}, page(1), half, job=FINDS), job=FINDS)
    boxes = [row["where"] for row in record.data["finds"]]
    assert boxes == [{"page": 2, "x": 25.0, "y": 27.0, "width": 20.0, "height": 40.0}, None, None]
    assert codes(record) == [("bad_box", "finds[1].where"), ("bad_box", "finds[2].where")]


def test_a_box_that_stands_alone_is_an_answer() -> None:
    job = parse_job(b"name: a\nfields: {stamp: {type: box}}")
    record = read(reply('{"bbox_2d": [10, 10, 20, 30]}', job=job), job=job)
    assert (record.data["stamp"]["width"], codes(record)) == (10.0, [])
    assert codes(read(reply('{"seal": [10, 10, 20, 30]}', job=job), job=job)) == [("not_json", "")]


def test_what_is_printed_for_a_measure_stands_beside_it() -> None:
    answer = {"reading": "１.2MPa", "rows": [{"p": "3 kg"}, {"p": None}, {"p": 2}]}
    record = read(reply(answer, job=GAUGE), job=GAUGE)
    assert record.data == {
        "reading": 1200.0,
        "reading_printed": "１.2MPa",
        "rows": [{"p": None, "p_printed": "3 kg"}, {"p": 2.0, "p_printed": "2"}],
    }
    assert codes(record) == [("wrong_type", "rows[0].p")]
    assert "kg cannot be brought to bar" in record.issues[0].message


def test_the_print_is_that_of_the_window_whose_value_counts() -> None:
    windows = [
        reply({"reading": None}, page(1), job=GAUGE, windows=3),
        reply({"reading": "5 bar"}, page(2), job=GAUGE, window=1, windows=3, confidence={"reading": 0.6}),
        reply({"reading": "7 kPa"}, page(3), job=GAUGE, window=2, windows=3, confidence={"reading": 0.9}),
    ]
    record = read(*windows, job=GAUGE)
    assert (record.data["reading"], record.data["reading_printed"]) == (7.0, "7 kPa")
    assert codes(record) == [("conflict", "reading")]


@pytest.mark.parametrize(
    "text", [" " * 100_000 + "x", '{"what":"' + '" ' * 50_000, '{"what": "a"}' + " " * 99_000 + "x"]
)
def test_a_long_free_answer_costs_a_moment(text: str) -> None:
    began = process_time()
    read(reply(text, job=TEXT), job=TEXT)
    assert process_time() - began < 1
