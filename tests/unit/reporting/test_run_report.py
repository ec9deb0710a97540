"""The account of a run: it adds up or says so, its JSON is plain, and its page is safe whatever files are called."""

import json
import os
import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import DOCUMENT_ERRORS, StorageError
from pipeline.core.types import Document, Issue, Record
from pipeline.reporting import html
from pipeline.reporting.html_report import ROWS, busy, pace, report, write
from pipeline.reporting.run_report import ISSUES_KEPT, SAMPLES, THUMBNAILS, ReportEntry, RunReport, thumbnail

START = datetime(2026, 11, 22, 22, 0, 0, tzinfo=UTC)
NASTY = [
    "<script>alert('x')</script>.pdf",
    '"><img src=x onerror=alert(1)>.pdf',
    "javascript:alert(1)",
    "invoice\u202efdp.exe",
    "caf\udce9.pdf",  # Latin-1 bytes on a UTF-8 disk
    "&amp;&lt;b&gt;.pdf",
    "{{ 7 * 7 }}{% raw %}.pdf",
    "a\nb\tc.pdf",
    "100%25 #1?.pdf",
    "//evil.example/x.pdf",
    "فاتورة.pdf",
]


def document(name: str = "a.pdf", number: int = 1) -> Document:
    return Document(f"{number:064x}", name, Path(name), "invoices", START, 10)


def record(issues: int = 0, error: tuple[str, str] | None = None, sure: float = 0.9, job: str = "invoice") -> Record:
    found = tuple(Issue("doubtful", f"lines[{n}].amount", f"number {n}") for n in range(issues))
    return Record(document(), job, None, (1,), {}, {"total": sure, "date": 0.95}, {}, found, error, {})


def entry(name: str, outcome: Any = "done", records: tuple[Record, ...] = (), **more: Any) -> ReportEntry:
    return ReportEntry.of(document(name), outcome, records, **more)


def run_report(*entries: ReportEntry, taken: int | None = None) -> RunReport:
    made = RunReport("ocr: no GPU here", ("invoice",), started_at=START)
    for each in entries[:taken]:
        made.take(each.inbox, each.name)
    for each in entries:
        made.add(each)
    made.finished_at = START + timedelta(seconds=10)
    return made


# --- the sum


def test_a_run_that_adds_up_has_no_faults() -> None:
    made = run_report(
        entry("a.pdf", records=(record(), record(issues=1, job="audit")), pages=3, seconds=2),
        entry("b.pdf", "failed", error=("broken", "no header")),
        entry("c.pdf", "duplicate"),
        entry("d.pdf", "given back"),
    )
    assert made.faults() == []
    told = made.summary()
    assert told["taken"] == told["done"] + told["failed"] + told["duplicate"] + told["given_back"] == 4
    assert told["records"] == {"ok": 1, "review": 1, "failed": 0}
    assert (told["pages"], told["seconds"], told["pages_per_second"]) == (3, 10, 0.3)
    assert made.by_job() == {
        "invoice": {"ok": 1, "review": 0, "failed": 0},
        "audit": {"ok": 0, "review": 1, "failed": 0},
    }


def test_a_document_that_was_taken_and_never_settled_is_named() -> None:
    made = run_report(entry("a.pdf"))
    made.take("invoices", "lost.pdf")
    assert made.faults() == [
        "2 documents were taken, but 1 done + 0 failed + 0 duplicate + 0 given back is 1.",
        "invoices/lost.pdf was taken, but has no outcome.",
    ]
    assert "The document counts do not add up." in report(made, Path("/root"))


def test_a_document_that_was_settled_twice_or_never_taken_is_named() -> None:
    made = run_report(entry("a.pdf"), entry("a.pdf"), taken=1)
    assert any("invoices/a.pdf has an outcome, but was never taken." in fault for fault in made.faults())


def test_two_mistakes_that_cancel_out_are_still_found() -> None:
    made = run_report(entry("a.pdf"), entry("b.pdf"), taken=1)
    made.take("invoices", "c.pdf")
    assert len(made.faults()) == 2  # the totals agree, the documents do not


def test_the_same_name_twice_in_one_run_is_fine_and_a_failure_needs_a_reason() -> None:
    assert run_report(entry("a.pdf"), entry("a.pdf")).faults() == []
    assert run_report(entry("a.pdf", "failed")).faults() == ["invoices/a.pdf failed without a reason."]


# --- the JSON


def test_the_json_is_plain_and_its_keys_stay(tmp_path: Path) -> None:
    made = run_report(
        entry(
            "年/a.pdf",
            records=(record(issues=30),),
            record_paths=[Path("records/invoice/1.json")],
            moved_to="done/x/a.pdf",
        ),
        entry("caf\udce9.pdf", "failed", error=("encrypted", "page 1")),
    )
    as_json, as_html = write(made, tmp_path)
    told = json.loads(as_json.read_text("utf-8"))
    assert list(told) == [
        "scanmill", "kind", "engine", "model", "started_at", "finished_at", "counts", "jobs", "faults", "notes",
        "gpu_busy", "documents",
    ]  # fmt: skip
    assert (told["scanmill"], told["kind"]) == (1, "run")
    assert datetime.fromisoformat(told["started_at"]) == START
    first, second = told["documents"]
    assert list(first) == [
        "document_id", "name", "inbox", "outcome", "jobs", "pages", "seconds", "settled_at", "error", "issues",
        "issues_total", "confidence", "records", "moved_to", "question", "answer",
    ]  # fmt: skip
    assert (len(first["issues"]), first["issues_total"], first["confidence"]) == (ISSUES_KEPT, 30, 0.9)
    assert first["issues"][0] == {
        "job": "invoice",
        "code": "doubtful",
        "path": "lines[0].amount",
        "message": "number 0",
    }
    assert second["error"]["cure"] == DOCUMENT_ERRORS["encrypted"].cure
    assert second["name"] == "caf\udce9.pdf"  # the very bytes of the file's name
    assert "年" in as_json.read_text("utf-8")
    assert as_html.read_text("utf-8").startswith("<!doctype html>")


def test_names_of_accounts_are_local_time_and_never_taken_twice(tmp_path: Path) -> None:
    first, second = run_report(), run_report()
    one, two = write(first, tmp_path), write(second, tmp_path)
    stem = START.astimezone().strftime("%Y-%m-%d_%H-%M-%S")
    assert [path.name for path in (*one, *two)] == [f"{stem}.json", f"{stem}.html", f"{stem}_2.json", f"{stem}_2.html"]
    assert write(first, tmp_path) == one  # written again in its own place
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == sorted(path.name for path in (*one, *two))


def test_a_root_that_went_away_is_told(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="gone"):
        write(run_report(), tmp_path / "gone")


# --- the page


class _Page(HTMLParser):
    """The tags, addresses and words of a page, as a browser would see them."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.handlers: list[str] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            if name in ("href", "src"):
                self.links.append(value or "")
            if name.startswith("on"):
                self.handlers.append(name)

    def handle_data(self, data: str) -> None:
        self.words += data


def nasty_account() -> RunReport:
    issue = Issue("rule_failed", "<b>path</b>", "<script>alert('message')</script> `code <i>`")
    entries = []
    for name in NASTY:
        bad = Record(document(name), "in<voice", None, (1,), {}, {"total": 0.2}, {}, (issue,), None, {})
        entries.append(
            entry(name, records=(bad,), moved_to=f"done/invoices/{name}", record_paths=[f"records/{name}.json"])
        )
        entries.append(entry(f"{name}.2", "failed", error=("broken", f"<u>{name}"), moved_to=f"failed/invoices/{name}"))
    return run_report(*entries)


def test_hostile_names_stay_words(tmp_path: Path) -> None:
    page = _Page(write(nasty_account(), tmp_path)[1].read_text("utf-8"))
    assert not page.tags & {"script", "img", "u", "i2", "iframe"}
    assert page.handlers == []
    assert NASTY[0] in page.words
    assert "invoice⟨202E⟩fdp.exe" in page.words
    assert "caf⟨E9⟩.pdf" in page.words
    assert "{{ 7 * 7 }}{% raw %}.pdf" in page.words
    assert not re.search("[\u202a-\u202e\u2066-\u2069\ud800-\udfff]", page.words)


def test_every_link_is_relative_and_leads_to_its_file(tmp_path: Path) -> None:
    made = nasty_account()
    page = _Page(write(made, tmp_path)[1].read_text("utf-8"))
    targets = set()
    for address in page.links:
        assert re.fullmatch(r"(\.|\.\.)/[A-Za-z0-9_.~%/-]+", address), address
        targets.add(os.path.normpath(os.path.join(tmp_path / "runs", os.fsdecode(unquote_to_bytes(address)))))
    for each in made.entries:
        for path in (each.moved_to, *each.records):
            assert os.path.normpath(tmp_path / str(path)) in targets


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1))
def test_any_name_makes_a_link_back_to_itself(name: str) -> None:
    address = html.link(f"root/done/{name}", "root/runs")
    assert address.isascii()
    assert address.startswith("../")
    back = os.path.normpath("root/runs/" + os.fsdecode(unquote_to_bytes(address)))
    assert back == os.path.normpath(f"root/done/{name}")


@given(st.text())
def test_no_text_turns_or_breaks_the_page(text: str) -> None:
    shown = html.visible(text)
    shown.encode("utf-8")
    assert not re.search("[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]", shown)


def test_a_neighbour_is_never_taken_for_a_scheme() -> None:
    assert html.link("runs/javascript:alert(1)", "runs") == "./javascript%3Aalert%281%29"
    assert html.link("runs/a.json", "runs") == "./a.json"


def test_sentences_set_code_and_nothing_else() -> None:
    assert html.sentence("raise `limits.pages` <b>now</b>") == (
        "raise <code>limits.pages</code> &lt;b&gt;now&lt;/b&gt;"
    )


def test_a_name_that_no_disk_can_hold_has_no_link() -> None:
    assert html.link("root/a\ud800.pdf", "root/runs") == ""


def test_the_page_tells_cause_cure_and_issues_failed_first() -> None:
    made = run_report(
        entry("fine.pdf", records=(record(),)),
        entry("unsure.pdf", records=(record(issues=9, sure=0.3),)),
        entry("surer.pdf", records=(record(issues=1, sure=0.6),)),
        entry("locked.pdf", "failed", error=("encrypted", "")),
    )
    words = _Page(report(made, Path("/data"))).words
    cards = words[words.index("Documents to review") : words.index("All documents")]
    assert re.findall(r"\w+\.pdf", cards) == ["locked.pdf", "unsure.pdf", "surer.pdf"]
    assert DOCUMENT_ERRORS["encrypted"].cause in cards
    assert DOCUMENT_ERRORS["encrypted"].cure in cards
    assert "and 4 more in the record" in cards
    assert "3 of 4 documents need review." in words


@pytest.mark.parametrize(
    ("entries", "headline"),
    [
        ([], "The inbox was empty."),
        ([entry("a.pdf", records=(record(),))], "The document was read without issues."),
        ([entry("a.pdf", records=(record(issues=1),))], "The document needs review."),
        ([entry("a.pdf"), entry("b.pdf")], "All documents were read without issues"),
        ([entry("a.pdf", "duplicate")], "No new document was read."),
        ([entry("a.pdf"), entry("b.pdf", "failed", error=("empty", ""))], "1 of 2 documents needs review."),
    ],
)
def test_the_headline_says_what_is_to_do(entries: list[ReportEntry], headline: str) -> None:
    assert headline in _Page(report(run_report(*entries), Path("/data"))).words


def test_what_could_not_be_taken_is_told_and_is_no_fault_of_the_sum() -> None:
    made = run_report()
    made.stuck = [f"inbox/note/{number}.pdf: it lies on another disk." for number in range(25)]
    made.jobs = ("note", "mark")
    words = _Page(report(made, Path("/data"), "x.json")).words
    assert "No document could be taken from the inbox." in words
    assert words.count("it lies on another disk.") == 20
    assert "… and 5 more; x.json has them all." in words
    assert "do not add up" not in words
    assert "The inbox was empty" not in words
    assert made.faults() == made.stuck == made.to_dict()["faults"]


def test_a_night_of_many_restarts_still_shows_its_counts() -> None:
    made = run_report(entry("a.pdf", records=(record(),)))
    made.notes = [f"02:{minute:02}:00: the engine is started again (`engine_step_s`)." for minute in range(60)]
    text = report(made, Path("/data"), "x.json")
    assert text.count("<code>engine_step_s</code>") == 20
    assert "… and 40 more; x.json has them all." in _Page(text).words


def test_a_job_that_had_nothing_to_do_takes_no_line_of_its_own() -> None:
    made = run_report(entry("a.pdf", records=(record(),)))
    made.jobs = ("invoice", "note", "mark")
    words = _Page(report(made, Path("/data"))).words
    assert words.count("0 review") == 1
    assert "No documents for note, mark." in words


def test_a_page_needs_nothing_but_itself() -> None:
    text = report(nasty_account(), Path("/data"))
    assert "default-src 'none'" in text
    assert not re.search(r"https?://|@import|url\(", text)


def test_a_great_run_keeps_a_small_page() -> None:
    picture = thumbnail(np.full((40, 30, 3), 200, np.uint8))
    made = run_report(*(entry(f"{n}.pdf", records=(record(issues=1),), thumbnail=picture) for n in range(ROWS + 5)))
    text = report(made, Path("/data"), "x.json")
    assert sum(each.thumbnail is not None for each in made.entries) == THUMBNAILS == text.count("data:image/jpeg")
    assert f"The first {ROWS} of {ROWS + 5}; x.json has them all." in _Page(text).words
    assert f"Show {ROWS} rows" in text
    assert not made.wants_thumbnails


def test_a_picture_that_will_not_be_shown_is_not_kept() -> None:
    made = run_report(entry("fine.pdf", records=(record(),), thumbnail=b"jpeg"))
    assert made.entries.first(1)[0].thumbnail is None


def test_the_pace_counts_every_page_once() -> None:
    made = run_report(*(entry(f"{n}.pdf", pages=n, seconds=0.7 * n) for n in range(1, 5)))
    settled = [START + timedelta(seconds=second) for second in (0.5, 3, 7, 30)]  # the last one after the end
    for each, time in zip(made.entries, settled, strict=True):
        object.__setattr__(each, "settled_at", time)
    speeds = pace(made, bins=8)
    assert sum(speeds) * 10 / 8 == pytest.approx(1 + 2 + 3 + 4)
    assert min(speeds) >= 0


@pytest.mark.parametrize("shape", [(3000, 2000, 3), (10, 4000, 3), (1, 1, 3)])
def test_thumbnails_are_small_jpegs_of_the_same_shape(shape: tuple[int, int, int]) -> None:
    from io import BytesIO

    from PIL import Image

    noise = np.random.default_rng(1).integers(0, 256, shape, np.uint8)  # the worst that JPEG can meet
    made = thumbnail(noise)
    assert len(made) <= html.THUMBNAIL_BYTES
    with Image.open(BytesIO(made)) as picture:
        assert picture.format == "JPEG"
        assert max(picture.size) <= 280


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.7, "1 min 00 s"),
        (185, "3 min 05 s"),
        (3599.9, "1 h 00 min"),
        (26000, "7 h 13 min"),
    ],
)
def test_time_spans_are_said_as_people_say_them(seconds: float, words: str) -> None:
    assert html.span(seconds) == words


def test_the_load_of_the_gpu_is_drawn_where_it_was_measured() -> None:
    made = run_report(entry("a.pdf", pages=2, seconds=4))
    assert made.gpu_busy() is None
    assert "GPU busy" not in report(made, Path("/data"))
    made.load += [(1.0, 1.0), (2.0, 0.5), (9.0, 0.0)]
    assert made.to_dict()["gpu_busy"] == {"mean": 0.5, "samples": [[1.0, 1.0], [2.0, 0.5], [9.0, 0.0]]}
    assert busy(made, bins=5) == [1.0, 0.5, None, None, 0.0]
    assert "50.0% over the run" in _Page(report(made, Path("/data"))).words


def test_a_long_night_keeps_few_samples_and_their_mean() -> None:
    made = run_report()
    made.load += [(5.0 * n, n % 2) for n in range(10_000)]
    told = made.gpu_busy()
    assert told is not None
    assert len(told["samples"]) <= SAMPLES
    assert told["mean"] == 0.5
