"""A record that breaks a rule is asked once more, closer; both answers are kept and the better one counts."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from models.scripted.echo import EchoEngine
from pipeline.engine import PageSpec, Request
from pipeline.extraction import second_pass
from pipeline.schema.job import Job, parse_job
from pipeline.schema.settings import Settings, load_settings
from pipeline.storage.record_json import from_json, to_json
from tests.support.builders import drop_image, files, page, run_batch
from tests.unit.extraction.test_extract import codes, read, reply

BILL = parse_job(b"""\
name: note
preprocess: []
second_look: true
fields:
  net: {type: money}
  tax: {type: money}
  total: {type: money, required: true}
  lines: {type: list, fields: {what: {type: text}, amount: {type: money}}}
rules: [net + tax == total]
""")
WRONG = {"net": "90.00", "tax": "19.00", "total": "190.00"}
RIGHT = {"net": "90.00", "tax": "19.00", "total": "109.00"}

Said = dict[str, Any] | str


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "root" / "inbox" / "note").mkdir(parents=True)
    return load_settings(None, root=tmp_path / "root", workers=2, settle_s=0)


def script(first: Said, second: Said, seen: list[Request]) -> Callable[[Request], str]:
    def say(request: Request) -> str:
        seen.append(request)
        said = first if request.look == 1 else second
        return said if isinstance(said, str) else json.dumps(said)

    return say


def looked(settings: Settings, first: Said, second: Said, job: Job = BILL) -> tuple[dict[str, Any], list[Request]]:
    """The record as it lies on the disk, and all that was asked."""
    seen: list[Request] = []
    drop_image(settings.root, "a.png")
    assert run_batch(settings, EchoEngine(script(first, second, seen)), job).faults() == []
    (path,) = (settings.root / "records" / "note").glob("*.json")
    return json.loads(path.read_text()), seen


def test_first_wrong_then_right(settings: Settings) -> None:
    record, asked = looked(settings, WRONG, RIGHT)
    assert (record["data"]["total"], record["status"]) == (109.00, "ok")
    assert record["provenance"]["look"] == 2
    assert record["other_look"]["data"]["total"] == 190.00
    assert [issue["code"] for issue in record["other_look"]["issues"]] == ["rule_failed"]
    assert [request.look for request in asked] == [1, 2]
    assert "net + tax is 109.00, total is 190.00" in asked[1].question
    assert "Look again" in asked[1].question
    assert "Look again" not in asked[0].question
    assert len(files(settings.root, "done")) == 1
    assert str(pd.read_parquet(settings.root / "results" / "note")["total"][0]) == "109.00"


def test_first_right_is_asked_once(settings: Settings) -> None:
    record, asked = looked(settings, RIGHT, WRONG)
    assert len(asked) == 1
    assert record["other_look"] is None
    assert "look" not in record["provenance"]


def test_a_job_that_does_not_ask_for_it_and_an_engine_that_cannot_look_once(settings: Settings) -> None:
    record, asked = looked(settings, WRONG, RIGHT, BILL.model_copy(update={"second_look": False}))
    assert (len(asked), record["status"]) == (1, "review")

    class Short(EchoEngine):
        page_spec = PageSpec()

    drop_image(settings.root, "b.png", 2)
    seen: list[Request] = []
    assert run_batch(settings, Short(script(WRONG, RIGHT, seen)), BILL).faults() == []
    assert len(seen) == 1


@pytest.mark.parametrize(
    "second",
    [
        "<error>out of memory",
        "I cannot see it.",
        WRONG,  # no better: the first of equals
        {"net": "90.00", "tax": "19.00"},  # the total is gone
        {"net": "90.00", "total": "190.00"},  # forgetting the tax mends the sum
    ],
)
def test_a_second_answer_that_is_no_better_does_not_count(settings: Settings, second: Said) -> None:
    record, asked = looked(settings, WRONG, second)
    assert len(asked) == 2
    assert (record["data"]["total"], record["data"]["tax"], record["status"]) == (190.00, 19.00, "review")
    assert record["provenance"]["look"] == 1
    other = record["other_look"]
    assert other["error"] or other["issues"] or other["data"]["tax"] is None
    assert files(settings.root, "failed") == []


@pytest.mark.parametrize(
    ("first", "told"),
    [
        ("no JSON here", "holds no JSON object"),
        ('<length>{"net": "90.00", "tax": "19', "ends in the middle"),
        ({**RIGHT, "total": "one hundred"}, "total: "),
        ({"net": "90.00", "tax": "19.00"}, "total: is required"),
    ],
)
def test_what_cannot_be_read_is_asked_again_by_its_name(settings: Settings, first: Said, told: str) -> None:
    record, asked = looked(settings, first, RIGHT)
    assert told in asked[1].question
    assert (record["status"], record["provenance"]["look"]) == ("ok", 2)
    cut_off = isinstance(first, str) and first.startswith("<length>")
    assert asked[1].max_new_tokens == asked[0].max_new_tokens * (2 if cut_off else 1)


def test_the_page_comes_larger(settings: Settings) -> None:
    Image.effect_noise((3000, 2000), 90).convert("RGB").save(settings.root / "inbox/note/large.png")
    seen: list[Request] = []
    run_batch(settings, EchoEngine(script(WRONG, RIGHT, seen)), BILL)
    small, large = (request.pages[0] for request in seen)
    assert 1.9 < large.width * large.height / (small.width * small.height) < 2.1
    ends = [page.to_source.point(page.width, page.height) for page in (small, large)]
    assert ends[0] == pytest.approx((3000, 2000)) == ends[1]


def test_only_the_page_in_doubt_and_all_windows_of_a_long_document(settings: Settings) -> None:
    frames = [Image.new("RGB", (60, 40), (number, 0, 0)) for number in range(5)]
    frames[0].save(settings.root / "inbox/note/five.tiff", save_all=True, append_images=frames[1:])
    paged = BILL.model_copy(update={"name": "paged", "inbox": "note", "per": "page"})
    joined = BILL.model_copy(update={"window": 2, "inbox": "note"})
    seen: list[tuple[str, int, list[int]]] = []

    def say(request: Request) -> str:
        numbers = [page.number for page in request.pages]
        seen.append((request.job.name, request.look, numbers))
        wrong = request.look == 1 and (4 in numbers or request.job.per == "document")
        return json.dumps(WRONG if wrong else RIGHT)

    assert run_batch(settings, EchoEngine(say), paged, joined).faults() == []
    assert [numbers for name, look, numbers in seen if name == "paged" and look == 2] == [[4]]
    assert sorted(numbers for name, look, numbers in seen if name == "note" and look == 2) == [[1, 2], [3, 4], [5]]
    rows = pd.read_parquet(settings.root / "results" / "paged")
    assert rows["status"].tolist() == ["ok"] * 5
    record = json.loads(next((settings.root / "records" / "note").glob("*.json")).read_text())
    assert record["status"] == "ok"
    assert record["pages"] == [1, 2, 3, 4, 5]
    assert [issue["code"] for issue in record["other_look"]["issues"]] == ["rule_failed"]


def test_many_documents_at_once_lose_nothing(settings: Settings) -> None:
    for number in range(25):
        drop_image(settings.root, f"{number:02}.png", number)

    class Gathers(EchoEngine):
        """Answers in lots and backwards, as an engine with much in hand does."""

        def answer(self, requests: Any) -> Any:
            held: list[Request] = []
            for request in requests:
                if request is not None:
                    held.append(request)
                if request is None or len(held) > 7:
                    yield from super().answer(reversed(held))
                    held = []
            yield from super().answer(held)

    def say(request: Request) -> str:
        odd = int(request.document.name[:2]) % 2
        return json.dumps(WRONG if request.look == 1 and odd else RIGHT)

    run_report = run_batch(settings, Gathers(say), BILL)
    assert run_report.faults() == []
    assert run_report.summary()["records"] == {"ok": 25, "review": 0, "failed": 0}
    looks = [
        json.loads(path.read_text())["provenance"].get("look")
        for path in (settings.root / "records" / "note").glob("*.json")
    ]
    assert sorted(looks, key=str) == [2] * 12 + [None] * 13


def test_a_stop_skips_a_look_that_was_not_begun(settings: Settings) -> None:
    drop_image(settings.root, "a.png")
    seen: list[Request] = []
    run_report = run_batch(settings, EchoEngine(script(WRONG, RIGHT, seen)), BILL, stop=lambda: bool(seen))
    assert run_report.faults() == []
    assert [request.look for request in seen] == [1]
    assert run_report.summary()["records"]["review"] == 1
    assert len(files(settings.root, "done")) == 1


def test_a_look_that_waits_for_its_page_when_the_stop_comes_gives_way_to_the_first(settings: Settings) -> None:
    frames = [Image.new("RGB", (60, 40), (number, 0, 0)) for number in range(9)]
    frames[0].save(settings.root / "inbox/note/nine.tiff", save_all=True, append_images=frames[1:])
    job = BILL.model_copy(update={"window": 1})
    seen: list[Request] = []
    run_report = run_batch(
        settings, EchoEngine(script(WRONG, RIGHT, seen)), job, stop=lambda: any(r.look == 2 for r in seen)
    )
    assert run_report.faults() == []
    assert 0 < sum(request.look == 2 for request in seen) < 9
    record = json.loads(next((settings.root / "records" / "note").glob("*.json")).read_text())
    assert (record["data"]["total"], record["other_look"]) == (190.00, None)


def test_killed_at_the_second_look_the_document_is_read_again(settings: Settings, tmp_path: Path) -> None:
    drop_image(settings.root, "a.png")
    (tmp_path / "killed.py").write_text(
        "import json, os, signal, sys\n"
        "from pathlib import Path\n"
        f"sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
        "from tests.integration import test_second_pass as here\n"
        "from pipeline.schema.settings import load_settings\n"
        "def say(request):\n"
        "    if request.look == 2: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return json.dumps(here.WRONG)\n"
        "if __name__ == '__main__':\n"
        f"    settings = load_settings(None, root=Path({str(settings.root)!r}), workers=1, settle_s=0)\n"
        "    here.run_batch(settings, here.EchoEngine(say), here.BILL)\n"
    )
    ended = subprocess.run([sys.executable, str(tmp_path / "killed.py")], check=False, cwd=Path(__file__).parents[2])
    assert ended.returncode == -signal.SIGKILL
    assert not list((settings.root / "records").rglob("*.json"))
    run_report = run_batch(settings, EchoEngine(script(WRONG, RIGHT, [])), BILL)
    assert run_report.faults() == []
    table = pd.read_parquet(settings.root / "results" / "note")
    assert (table["status"].tolist(), str(table["total"][0])) == (["ok"], "109.00")


def test_a_row_too_many_is_no_loss_and_found_values_count_for_more_than_a_broken_rule() -> None:
    job = BILL.model_copy(update={"rules": parse_job(
        b"name: note\nfields: {total: {type: money}, lines: {type: list, fields: {amount: {type: money}}}}\n"
        b"rules: [sum(lines.amount) == total]\n").rules})  # fmt: skip

    def bill(*amounts: str, total: str | None = "30.00") -> Any:
        return read(
            reply({"total": total, "lines": [{"what": "x", "amount": each} for each in amounts]}, job=job), job=job
        )

    doubled, whole = bill("10.00", "20.00", "30.00"), bill("10.00", "20.00")
    assert codes(doubled)[0][0] == "rule_failed"
    assert second_pass.choose(job, doubled, whole).data == whole.data
    lacking, broken = bill("10.00", total=None), bill("10.00", "15.00")
    assert second_pass.choose(job, lacking, broken).data == broken.data
    failed = replace(whole, error=("engine", "gone"))
    assert second_pass.choose(job, doubled, failed).data == doubled.data


def test_both_answers_outlive_the_way_through_the_disk() -> None:
    job = BILL
    first, second = (
        read(reply(answer, page(1), job=job, confidence={"total": 0.9}), job=job) for answer in (WRONG, RIGHT)
    )
    record = second_pass.choose(job, first, second)
    again = from_json(to_json(record), job)
    assert again.other_look is not None
    assert (again.data, again.other_look.data) == (second.data, first.data)
    assert again.other_look.issues == first.issues
    assert again.other_look.confidence == {"total": 0.9}
    assert to_json(again) == to_json(record)
    assert from_json(to_json(first)).other_look is None
