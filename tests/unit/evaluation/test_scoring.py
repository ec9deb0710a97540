"""Accuracy: labels are read strictly, answers are held against them by type, and the confidence is held to its word."""

import json
import re
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.scripted.echo import EchoEngine
from pipeline.core.errors import ConfigError, ModelError
from pipeline.core.types import Record
from pipeline.evaluation.evaluate import evaluate
from pipeline.evaluation.labels import Label, read_labels
from pipeline.evaluation.scoring import Score, Tally, compare, write_html
from pipeline.preprocessing.page_loader import PageLoader
from pipeline.schema.fields.similarity import text_similarity
from pipeline.schema.job import Job, parse_job
from pipeline.schema.settings import Limits
from pipeline.system.process_pool import ProcessPool
from tests.support import builders
from tests.support.ear import Ear

INVOICE = b"""
name: invoice
fields:
  company: {type: text}
  date: {type: date, order: DMY}
  total: {type: money}
  currency: {type: choice, options: {EUR: [Euro], USD: []}}
  supplier: {type: group, fields: {name: {type: text}, vat: {type: text, pattern: "DE[0-9]{9}"}}}
  parties: {type: list, item: {type: text}}
  lines: {type: list, fields: {what: {type: text}, amount: {type: money}}}
"""


@pytest.fixture(scope="module")
def invoice() -> Job:
    return parse_job(INVOICE)


def label(fields: Mapping[str, Any], norm: Mapping[str, Any] | None = None, **more: Any) -> Label:
    return Label(more.pop("name", "a.pdf"), Path("a.pdf"), fields, norm or {}, **more)


def record(data: Mapping[str, Any], confidence: Mapping[str, float] | None = None, **more: Any) -> Record:
    return builders.record(data, "invoice", confidence=confidence or {}, **more)


def verdicts(job: Job, fields: Mapping[str, Any], data: Mapping[str, Any], norm: Any = None) -> dict[str, str]:
    score = compare(job, [label(fields, norm)], [record(data)])
    return {each.path: each.verdict for each in score.checks}


# --- label files


def labelled(tmp_path: Path, *lines: str) -> Path:
    (tmp_path / "img").mkdir(exist_ok=True)
    (tmp_path / "img" / "a.pdf").write_bytes(b"%PDF")
    (tmp_path / "b.pdf").write_bytes(b"%PDF")
    path = tmp_path / "labels.jsonl"
    path.write_text("\n".join(lines), "utf-8")
    return path


def test_a_label_file_names_files_under_img_or_beside_itself(tmp_path: Path) -> None:
    path = labelled(
        tmp_path,
        '{"file": "a.pdf", "fields": {"total": 9.30}, "norm": {"total": 9.3}, "meta": {"pages": 1}}',
        "",
        '{"file": "b.pdf", "fields": null, "job": "receipt", "page": 2}',
    )
    first, second = read_labels(path)
    assert (first.file, first.fields, first.line) == (tmp_path / "img" / "a.pdf", {"total": Decimal("9.30")}, 1)
    assert (second.file, second.fields, second.job, second.page) == (tmp_path / "b.pdf", {}, "receipt", 2)


def test_all_faults_of_a_label_file_are_told_at_once_with_line_and_key(tmp_path: Path) -> None:
    path = labelled(
        tmp_path,
        '{"file": "a.pdf", "fields": {}}',
        '{"file": "a.pdf", "fields": {}}',
        "{broken",
        "[1]",
        '{"fields": {}}',
        '{"file": "gone.pdf", "fields": {}}',
        '{"file": "b.pdf", "fields": [1], "norm": "x", "page": 0, "job": 3}',
    )
    with pytest.raises(ConfigError) as caught:
        read_labels(path)
    places = [(fault.line, fault.key) for fault in caught.value.faults]
    assert places == [
        (2, "file"), (3, ""), (4, ""), (5, "file"), (6, "file"), (7, "fields"), (7, "norm"), (7, "job"), (7, "page"),
    ]  # fmt: skip
    assert f'{path}:6: file: "gone.pdf" is neither in' in str(caught.value)


def test_amounts_within_the_tolerance_of_the_job_are_the_same() -> None:
    rounding = parse_job(b"name: till\ntolerance: 0.02\nfields: {total: {type: money}}\n")
    assert verdicts(rounding, {"total": "20.00"}, {"total": Decimal("19.98")}) == {"total": "exact"}
    assert verdicts(rounding, {"total": "20.00"}, {"total": Decimal("19.97")}) == {"total": "wrong"}
    assert verdicts(rounding, {"total": "0.01"}, {"total": Decimal("-0.02")}) == {"total": "wrong"}


@pytest.mark.parametrize("raw", [b"", b"\n\n", b"\xff\xfe\x00", None])
def test_an_empty_unreadable_or_absent_label_file_is_a_config_error(tmp_path: Path, raw: bytes | None) -> None:
    path = tmp_path / "labels.jsonl"
    if raw is not None:
        path.write_bytes(raw)
    with pytest.raises(ConfigError, match=r"labels\.jsonl"):
        read_labels(path)


# --- one value


@pytest.mark.parametrize(
    ("printed", "norm", "got", "verdict"),
    [
        ("17/03/2018", None, date(2018, 3, 17), "exact"),
        ("03/17/18", "2018-03-17", date(2018, 3, 17), "exact"),  # norm counts, not the job's order
        ("17/03/2018", None, date(2018, 3, 18), "wrong"),
        ("17/03/2018", None, None, "missing"),
        (None, None, date(2018, 3, 18), "invented"),
        ("", None, date(2018, 3, 18), "invented"),
        ("", None, None, "empty"),
        (["", ""], None, None, "empty"),
        (["01/02/2018", "17/03/2018"], None, date(2018, 3, 17), "exact"),  # any of several printings
    ],
)
def test_dates_are_compared_by_value(invoice: Job, printed: Any, norm: Any, got: Any, verdict: str) -> None:
    assert verdicts(invoice, {"date": printed}, {"date": got}, {"date": norm} if norm else {}) == {"date": verdict}


@pytest.mark.parametrize(
    ("printed", "norm", "got", "verdict"),
    [
        ("RM 9.50", None, "9.50", "exact"),
        ("-1.73", -1.73, "-1.73", "exact"),
        ("-1.73", -1.73, "1.73", "wrong"),
        ("1.73", None, "-1.73", "wrong"),
        (Decimal("286.52"), None, "286.52", "exact"),
        (["118.05"], None, "118.05", "exact"),
        ("118.05", None, "118.50", "wrong"),
    ],
)
def test_amounts_are_compared_with_their_sign(invoice: Job, printed: Any, norm: Any, got: str, verdict: str) -> None:
    norms = {"total": Decimal(str(norm))} if norm is not None else {}
    assert verdicts(invoice, {"total": printed}, {"total": Decimal(got)}, norms) == {"total": verdict}


@pytest.mark.parametrize(
    ("printed", "got", "verdict"),
    [
        ("SHIMBASHISOBA", "Shimbashi Soba", "exact"),
        ("290OrchardRoad#B1-41", "290 Orchard Road, #B1-41", "exact"),
        ("ＡＢＣ株式会社", "ABC 株式会社", "exact"),
        ("Nordwind GmbH & Co. KG", "Nordwlnd GmbH Co KG", "close"),
        ("Nordwind", "Sudwind AG", "wrong"),
        ("-12.50", "12.50", "wrong"),
        ("12.50-", "-12.50", "exact"),
        ("***", "***", "exact"),
        ("***", "###", "wrong"),
        ("None", "None", "exact"),
    ],
)
def test_texts_are_compared_by_letters_and_digits(invoice: Job, printed: str, got: str, verdict: str) -> None:
    assert verdicts(invoice, {"company": printed}, {"company": got}) == {"company": verdict}


def test_choices_and_groups_and_key_case(invoice: Job) -> None:
    found = verdicts(
        invoice,
        {"Currency": "Euro", "supplier": {"name": "Nord Wind", "vat": "no such form"}},
        {"currency": "EUR", "supplier": {"name": "NORDWIND", "vat": None}, "total": Decimal(1)},
    )
    assert found == {"currency": "exact", "supplier.name": "exact", "supplier.vat": "missing"}
    nothing = verdicts(invoice, {"supplier": None}, {"supplier": {"name": "Nord", "vat": None}})
    assert nothing == {"supplier.name": "invented", "supplier.vat": "empty"}


def test_a_label_that_does_not_read_as_its_type_is_told_and_not_counted(invoice: Job) -> None:
    score = compare(invoice, [label({"date": "02/235/20", "currency": "CHF", "total": "n/a"})], [record({})])
    assert [each.path for each in score.documents[0].unread] == ["date", "currency"]
    assert {each.path: each.verdict for each in score.checks} == {"total": "empty"}
    assert score.to_dict()["unread_labels"][0] == {"file": "a.pdf", "path": "date", "printed": "02/235/20"}


def test_several_choices_are_compared_as_a_set() -> None:
    job = parse_job(b"fields: {ticks: {type: choice, many: true, options: [oil, belt, filter]}}\nname: form")
    assert verdicts(job, {"ticks": ["belt", "oil"]}, {"ticks": ["oil", "belt"]}) == {"ticks": "exact"}
    assert verdicts(job, {"ticks": ["belt"]}, {"ticks": ["oil", "belt"]}) == {"ticks": "wrong"}
    assert verdicts(job, {"ticks": []}, {"ticks": ["oil"]}) == {"ticks": "invented"}
    assert verdicts(job, {"ticks": ["oil"]}, {"ticks": []}) == {"ticks": "missing"}


def test_measures_yes_and_no_and_numbers() -> None:
    job = parse_job(
        b"name: gauge\nfields: {p: {type: measure, unit: kPa}, ok: {type: yesno}, n: {type: integer, maximum: 5}}"
    )
    data = {"p": 1200.0, "ok": True, "n": 7}
    assert verdicts(job, {"p": "1.2 MPa", "ok": "是", "n": 7}, data) == {"p": "exact", "ok": "exact", "n": "exact"}
    assert verdicts(job, {"p": "1.2 kPa", "ok": False}, data) == {"p": "wrong", "ok": "wrong"}


# --- lists


def lines(*rows: tuple[str | None, str | None]) -> list[dict[str, Any]]:
    return [{"what": what, "amount": Decimal(amount) if amount else None} for what, amount in rows]


def test_rows_are_paired_in_order_so_that_one_extra_row_spoils_no_other(invoice: Job) -> None:
    truth = [{"what": "Paper", "amount": "4.00"}, {"what": "Ink", "amount": "9.00"}, {"what": "Pens", "amount": "4.00"}]
    got = lines(("Paper", "4.00"), ("Page 1 of 2", None), ("Ink", "9.00"), ("Pens", "4.01"))
    score = compare(invoice, [label({"lines": truth})], [record({"lines": got}, {"lines[1].what": 0.3})])
    tallies = score.fields
    assert tallies["lines.what"] == Tally(labelled=3, exact=3, close=3, invented=1)
    assert tallies["lines.amount"] == Tally(labelled=3, exact=2, close=2, wrong=1)
    extra = next(each for each in score.checks if each.verdict == "invented")
    assert (extra.path, extra.got, extra.confidence) == ("lines[1].what", "Page 1 of 2", 0.3)


def test_a_missing_row_is_missing_and_an_unlabelled_column_is_not_counted(invoice: Job) -> None:
    score = compare(
        invoice, [label({"lines": [{"amount": "1.00"}, {"amount": "2.00"}]})], [record({"lines": lines(("x", "2.00"))})]
    )
    assert score.fields == {"lines.amount": Tally(labelled=2, exact=1, close=1, missing=1)}
    assert "lines.what" in score.unlabelled


def test_rows_that_share_nothing_are_one_wrong_row(invoice: Job) -> None:
    found = verdicts(invoice, {"lines": [{"amount": "1.00"}]}, {"lines": lines((None, "2.00"))})
    assert found == {"lines[0].amount": "wrong"}


def test_an_empty_list_in_the_label_says_that_there_are_no_rows(invoice: Job) -> None:
    assert verdicts(invoice, {"lines": []}, {"lines": lines(("x", None))}) == {"lines[0].what": "invented"}


def test_plain_items_are_paired_in_any_order(invoice: Job) -> None:
    found = verdicts(invoice, {"parties": ["Acme Ltd", "Nordwind"]}, {"parties": ["NORDWIND", "Acme Ltd.", "Delaware"]})
    assert sorted(found.values()) == ["exact", "exact", "invented"]
    assert verdicts(invoice, {"parties": "Acme"}, {"parties": []}) == {"parties[0]": "missing"}


@given(st.lists(st.integers(0, 4), max_size=6), st.lists(st.integers(0, 4), max_size=6))
def test_the_counts_of_rows_always_add_up(truth: list[int], got: list[int]) -> None:
    job = parse_job(b"name: j\nfields: {lines: {type: list, fields: {n: {type: integer}}}}")
    tally = compare(
        job, [label({"lines": [{"n": n} for n in truth]})], [record({"lines": [{"n": n} for n in got]})]
    ).overall
    assert tally.labelled == tally.close + tally.wrong + tally.missing == len(truth)
    assert tally.answered == tally.exact + tally.wrong + tally.invented == len(got)
    assert tally.exact == _longest_common(truth, got)


def _longest_common(one: list[int], other: list[int]) -> int:
    if not one or not other:
        return 0
    if one[0] == other[0]:
        return 1 + _longest_common(one[1:], other[1:])
    return max(_longest_common(one[1:], other), _longest_common(one, other[1:]))


@given(st.text(max_size=20), st.text(max_size=20))
def test_likeness_is_even_handed_and_whole_only_for_equals(one: str, other: str) -> None:
    assert text_similarity(one, one) == 1
    assert text_similarity(one, other) == text_similarity(other, one)
    assert 0 <= text_similarity(one, other) <= 1


# --- the score


@pytest.fixture
def score(invoice: Job) -> Score:
    labels = [
        label({"company": "Nordwind", "total": "10.00", "date": None}, name="good.pdf"),
        label({"company": "Acme Ltd", "total": "20.00", "Tel": "1"}, name="bad.pdf"),
        label({"company": "Unread"}, name="lost.pdf"),
        label({"company": "not ours"}, name="other.pdf", job="receipt"),
    ]
    records = [
        record({"company": "NORDWIND", "total": Decimal("10.00")}, {"company": 0.95, "total": 0.9}),
        record(
            {"company": "Bcme Ltd.", "total": Decimal("2.00"), "date": date(2020, 1, 1)},
            {"company": 0.75, "total": 0.92},
        ),
        record({}, error=("encrypted", "")),
        None,
    ]
    return compare(invoice, labels, records)


def test_the_score_counts_exact_answers_against_answered_and_labelled(score: Score) -> None:
    assert score.overall == Tally(labelled=5, exact=2, close=2, wrong=2, missing=1)
    assert score.overall.f1 == pytest.approx(2 * 2 / (4 + 5))
    assert [document.error for document in score.documents] == [None, None, "encrypted"]
    assert score.unused == ("Tel",)
    assert list(score.fields) == ["company", "date", "total"]  # the order of the job


def test_the_calibration_tells_how_often_sure_values_are_right(score: Score) -> None:
    told = {(each.kind, each.threshold): (each.values, each.above, each.right) for each in score.calibration}
    assert told["all", 0.9] == (4, 3, 2)
    assert told["all", 0.7] == told["all", 0.5] == (4, 4, 2)
    assert told["money", 0.9] == (2, 2, 1)
    assert told["date", 0.5] == (0, 0, 0)
    assert sum(count for _, _, count in score.bins()) == 4


def test_the_tables_and_the_json_say_the_same(score: Score) -> None:
    rows = {row[0]: row for row in score.rows()}
    assert rows["all"][2:] == ["5", "2", "2", "1", "0", "2", "40.0%", "0.444"]
    assert len({len(row) for row in score.rows()}) == len({len(row) for row in score.calibration_rows()}) == 1
    told = json.loads(json.dumps(score.to_dict()))
    assert (told["scanmill"], told["documents"], told["not_read"], told["overall"]["f1"]) == (1, 3, 1, 0.4444)
    assert [each["file"] for each in told["worst"]] == ["bad.pdf", "lost.pdf"]
    assert told["worst"][0]["faults"][0]["expected"] == "Acme Ltd"


def test_a_job_that_the_engine_refuses_is_not_measured(invoice: Job) -> None:
    class Blind(EchoEngine):
        def unsupported_reason(self, job: Job) -> str | None:
            return "it has no eyes"

    pool = ProcessPool(1, seconds=60, memory_mib=1024)
    try:
        with pytest.raises(ModelError, match=f"{invoice.name} cannot be measured with this engine: it has no eyes"):
            evaluate(invoice, [label({})], Blind({}), PageLoader(pool, Limits()), Ear())
    finally:
        pool.close()


def test_no_label_for_the_job_is_no_crash(invoice: Job, tmp_path: Path) -> None:
    score = compare(invoice, [label({})], [record({})])
    assert (score.overall.f1, score.overall.share, score.bins()) == (None, None, [])
    assert score.rows()[-1][0] == "all"
    assert "No label names a field" in write_html(score, tmp_path / "e.html").read_text("utf-8")


def test_the_page_shows_the_worst_and_escapes_them(invoice: Job, tmp_path: Path) -> None:
    name = '<script>alert(1)</script>"\u202e\udcff.pdf'
    score = compare(
        invoice,
        [label({"company": "<b>Acme</b>", "<i>key": "x"}, name=name)],
        [record({"company": '<img src=x onerror="alert(1)">'}, {"company": 0.5})],
    )
    page = write_html(score, tmp_path / "eval.html", {name: b"\xff\xd8jpeg"}).read_text("utf-8")
    assert "&lt;b&gt;Acme&lt;/b&gt;" in page
    assert "data:image/jpeg;base64,/9hqcGVn" in page
    assert not re.search(r"<script|<img src=x|<b>Acme|<i>key|\u202e", page)
    assert "⟨202E⟩⟨FF⟩.pdf" in page


def test_labels_of_the_real_sets_are_read(shared: Path) -> None:
    read = {name: len(read_labels(shared / name / "labels.jsonl")) for name in ("sroie", "wildreceipt", "zugferd")}
    assert min(read.values()) >= 10


def test_a_perfect_answer_to_real_labels_scores_all(shared: Path) -> None:
    job = parse_job(
        b"name: ads\nfields: {contract_num: {type: text}, advertiser: {type: text}, gross_amount: {type: money},"
        b" flight_from: {type: date, order: MDY}, flight_to: {type: date, order: MDY}}"
    )
    labels = read_labels(shared / "vrdu_adbuy" / "labels.jsonl")
    answers = [
        record({name: job.fields[name].coerce(value).value for name, value in {**each.fields, **each.norm}.items()})
        for each in labels
    ]
    overall = compare(job, labels, answers).overall
    assert (overall.exact, overall.f1) == (overall.labelled, 1.0)
    assert overall.labelled > 4 * len(labels)


def test_boxes_are_compared_by_what_they_share_and_long_texts_as_texts() -> None:
    job = parse_job(
        b"name: look\nfields: {stamp: {type: box}, say: {type: prose}, "
        b"holes: {type: list, item: {type: box}}, finds: {type: list, fields: {label: {type: text}, at: {type: box}}}}"
    )

    def box(*corners: int, page: int = 1) -> dict[str, Any]:
        x1, y1, x2, y2 = corners
        return {"page": page, "x": float(x1), "y": float(y1), "width": float(x2 - x1), "height": float(y2 - y1)}

    told = {"stamp": [10, 10, 110, 110], "say": "A red pump.", "holes": [[0, 0, 10, 10], [50, 50, 60, 60]]}
    for corners, verdict in (((10, 10, 110, 108), "exact"), ((10, 10, 110, 70), "close"), ((300, 9, 310, 19), "wrong")):
        assert verdicts(job, {"stamp": told["stamp"]}, {"stamp": box(*corners)}) == {"stamp": verdict}
    assert verdicts(job, {"stamp": {"bbox_2d": [1, 1, 9, 9], "page": 2}}, {"stamp": box(1, 1, 9, 9)}) == {
        "stamp": "wrong"
    }
    assert verdicts(job, {"say": told["say"]}, {"say": "a red pump"}) == {"say": "exact"}
    holes = verdicts(job, {"holes": told["holes"]}, {"holes": [box(50, 50, 60, 60), box(0, 0, 10, 10)]})
    assert set(holes.values()) == {"exact"}
    finds = verdicts(
        job,
        {"finds": [{"label": "b", "at": [50, 50, 60, 60]}, {"label": "a", "at": [0, 0, 10, 10]}]},
        {"finds": [{"label": "b", "at": box(50, 50, 60, 60)}]},
    )
    assert sorted(finds.values()) == ["exact", "exact", "missing", "missing"]
