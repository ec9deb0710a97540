"""The samples are what they say: the files, the truth, the jobs and the description they are drawn from agree."""

import json
import sys
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import pypdfium2
import pytest
from PIL import Image

from pipeline.parsing import normalize
from pipeline.schema.fields import ChoiceField, leaf_values
from pipeline.schema.job import Job, load_jobs
from pipeline.schema.rules import check
from pipeline.schema.settings import Settings, load_settings

PROJECT = Path(__file__).parents[2]
SAMPLES = PROJECT / "samples"
LINES = [json.loads(line, parse_float=Decimal) for line in (SAMPLES / "truth.jsonl").read_text("utf-8").splitlines()]
READABLE = [line for line in LINES if line["meta"]["expected"] == "ok"]
NAMES = [line["file"] for line in READABLE]


@pytest.fixture(scope="module")
def make() -> Iterator[ModuleType]:
    """samples/make.py, which imports its neighbours by their bare names."""
    before = set(sys.modules)
    sys.path.insert(0, str(SAMPLES))
    try:
        import make

        yield make
    finally:
        sys.path.remove(str(SAMPLES))
        for name in set(sys.modules) - before:
            if str(getattr(sys.modules[name], "__file__", "")).startswith(str(SAMPLES)):
                del sys.modules[name]


@pytest.fixture(scope="module")
def jobs() -> dict[str, Job]:
    return {job.name: job for job in load_jobs(PROJECT / "jobs")}


def text_of(path: Path) -> str:
    with pypdfium2.PdfDocument(path) as document:
        return " ".join(document[number].get_textpage().get_text_range() for number in range(len(document)))


def test_every_file_has_its_line_and_every_line_its_file() -> None:
    lying = {path.relative_to(SAMPLES).as_posix() for path in SAMPLES.glob("[!._]*/*")}
    questions = {f"{line['file']}.txt" for line in LINES if line["job"] == "ask"}
    assert lying == {line["file"] for line in LINES} | questions
    assert len(LINES) >= 14
    assert sum((SAMPLES / line["file"]).stat().st_size for line in LINES) < 6 * 2**20


def test_samples_lie_in_the_inbox_of_their_job(jobs: dict[str, Job]) -> None:
    for line in LINES:
        assert line["file"].split("/")[0] == jobs[line["job"]].inbox
    assert {line["job"] for line in LINES} == set(jobs)


def test_the_truth_is_made_from_what_is_drawn(make: ModuleType) -> None:
    drawn = [
        json.loads(make.simplejson.dumps(make.truth(sample()), use_decimal=True), parse_float=Decimal)
        for sample in make.SAMPLES
    ]
    assert drawn == LINES, "run `python samples/make.py` again"


def test_the_readme_lists_every_sample(make: ModuleType) -> None:
    readme = (SAMPLES / "README.md").read_text("utf-8")
    assert readme.endswith(make.table([sample() for sample in make.SAMPLES])), "run `python samples/make.py` again"


@pytest.mark.parametrize("file", NAMES)
def test_every_true_value_stands_on_the_paper(make: ModuleType, file: str) -> None:
    """Word by word: an address may stand in three rows, and a choice is true as it is printed."""
    sample = next(sample for sample in (each() for each in make.SAMPLES) if sample.file == file)
    paper = {word for sheet in sample.sheets for row in sheet.words() for word in pieces(row)}
    rows = normalize.squash(" ".join(row for sheet in sample.sheets for row in sheet.words()))
    printed = sys.modules["printed"]
    for value in printed.leaves(sample.fields):
        assert normalize.squash(value.text) in rows or pieces(value.text) <= paper, value.text


def pieces(words: str) -> set[str]:
    return {normalize.squash(word) for word in words.split()} - {""}


@pytest.mark.parametrize("line", READABLE, ids=NAMES)
def test_the_truth_has_the_fields_of_its_job_and_reads_without_a_fault(
    jobs: dict[str, Job], line: dict[str, Any]
) -> None:
    """What is printed, read as the job says, gives the typed truth: so a perfect reader scores in full."""
    job = jobs[line["job"]]
    assert set(line["fields"]) == set(job.fields)
    typed = line["fields"] | line["norm"]
    for name, field in job.fields.items():
        want = field.coerce(typed[name])
        assert not want.problems, (name, want.problems)
        if field.type not in ("choice", "list"):  # a choice may be printed as part of something else: VISA **** 0417
            assert field.coerce(line["fields"][name]) == want, name
        assert field.type != "list" or len(line["fields"][name]) == len(want.value)


@pytest.mark.parametrize("line", READABLE, ids=NAMES)
def test_the_rules_of_the_job_hold_for_the_truth(jobs: dict[str, Job], line: dict[str, Any]) -> None:
    job = jobs[line["job"]]
    typed = line["fields"] | line["norm"]
    data = {name: field.coerce(typed[name]).value for name, field in job.fields.items()}
    today = date(2026, 1, 1)
    assert [issue for rule in job.rules for issue in check(rule, job.fields, data, job.tolerance, today)] == []


def test_choices_of_the_truth_are_options_of_the_job(jobs: dict[str, Job]) -> None:
    for line in READABLE:
        typed = line["fields"] | line["norm"]
        for path, field, value in leaf_values(jobs[line["job"]].fields, typed):
            if isinstance(field, ChoiceField) and value is not None:
                assert value in field.options, (line["file"], path)


def test_three_invoices_have_lines_on_two_pages() -> None:
    for file, pages in (("english_two_pages.pdf", 2), ("german_scan.pdf", 2)):
        with pypdfium2.PdfDocument(SAMPLES / "invoices" / file) as document:
            assert len(document) == pages
    with Image.open(SAMPLES / "invoices/chinese_two_pages.tiff") as image:
        assert (image.format, image.n_frames, image.mode) == ("TIFF", 2, "1")
    for line in LINES[:3]:
        assert len(line["fields"]["lines"]) >= 16


def test_the_born_digital_pdf_says_its_truth_and_the_scan_has_no_text() -> None:
    said = normalize.squash(text_of(SAMPLES / "invoices/english_two_pages.pdf"))
    fields = LINES[0]["fields"]
    for value in (fields["invoice_number"], fields["total"], *(line["description"] for line in fields["lines"])):
        assert normalize.squash(value) in said
    assert text_of(SAMPLES / "invoices/german_scan.pdf").strip() == ""


def test_the_telephone_picture_lies_on_its_side_until_its_tag_is_obeyed() -> None:
    with Image.open(SAMPLES / "invoices/phone_exif.jpg") as image:
        assert image.getexif()[0x0112] == 6
        assert image.width > image.height


@pytest.mark.parametrize("file", ["invoices/upside_down.jpg", "delivery_notes/turned_90.png"])
def test_nothing_in_a_turned_scan_says_that_it_is_turned(file: str) -> None:
    with Image.open(SAMPLES / file) as image:
        assert 0x0112 not in image.getexif()


def test_pictures_are_of_the_kind_that_their_names_say() -> None:
    kinds = {".jpg": "JPEG", ".png": "PNG", ".webp": "WEBP", ".tiff": "TIFF"}
    seen = set()
    for line in LINES:
        path = SAMPLES / line["file"]
        if path.suffix != ".pdf":
            with Image.open(path) as image:
                assert image.format == kinds[path.suffix], path
                seen.add((image.format, image.mode))
    assert {("PNG", "P"), ("JPEG", "L"), ("WEBP", "RGB"), ("TIFF", "1")} <= seen


def test_the_blank_page_has_no_ink_and_the_broken_pdf_does_not_open() -> None:
    with Image.open(SAMPLES / "invoices/blank_page.jpg") as image:
        grey = image.convert("L").resize((image.width // 4, image.height // 4))
        assert sum(grey.histogram()[:128]) < grey.width * grey.height / 1000
    with pytest.raises(pypdfium2.PdfiumError):
        pypdfium2.PdfDocument(SAMPLES / "invoices/broken.pdf")


def test_the_shipped_configs_say_what_holds_without_them() -> None:
    """A newcomer may trust the files: default.yaml is the defaults, and cpu.yaml differs in the engine only."""
    assert load_settings(PROJECT / "configs/default.yaml") == Settings()
    assert load_settings(PROJECT / "configs/cpu.yaml") == load_settings(None, engine="ocr")


@pytest.mark.parametrize("name", ["default", "cpu"])
def test_every_setting_of_a_shipped_config_is_explained(name: str) -> None:
    from pipeline.schema.settings import Limits

    text = (PROJECT / f"configs/{name}.yaml").read_text("utf-8")
    wanted = (set(Settings.model_fields) if name == "default" else {"engine", "workers"}) | set(Limits.model_fields)
    for key in wanted - {"limits"}:
        row = next((row for row in text.splitlines() if row.strip().startswith(f"{key}:")), "")
        assert row, key
        assert "#" in row or key == "pages", f"{key} has no comment"
