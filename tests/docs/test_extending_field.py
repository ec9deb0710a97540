"""docs/extending.md: its field type, installed as a package of its own, in every stage that knows of types."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageDraw, ImageFont

from tests.support.extending import block, module

PROJECT = Path(__file__).parents[2]
TITLE = "A field type"
RIGHT, WRONG = "DE89 3704 0044 0532 0130 00", "DE88 3704 0044 0532 0130 00"
FORM = """
import json, sys
from pathlib import Path
from pipeline.storage.corrections import check, open_draft
from pipeline.schema.job import load_jobs
from web.components.record_form import form

root, jobs, name = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
(job,) = load_jobs(jobs)
drafts = [open_draft(root, job, path.stem, None) for path in sorted((root / "records" / job.name).glob("*.json"))]
(draft,) = [each for each in drafts if each.record.document.name == name]
problems = [dict(check(draft, {"account": typed}).problems) for typed in sys.argv[4:]]
print(json.dumps({"form": form(draft), "problems": problems}))
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package as pip installs it (its module and its entry point), a job, and two scans."""
    place = tmp_path_factory.mktemp("iban")
    project = tomllib.loads(block(TITLE, "toml"))["project"]
    site = place / "site"
    info = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir(parents=True)
    (site / module(TITLE)).write_text(block(TITLE, "python"))
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    points = project["entry-points"]
    (info / "entry_points.txt").write_text(
        "".join(f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in each.items()) for group, each in points.items())
    )
    (place / "jobs").mkdir()
    (place / "jobs" / "payment.yaml").write_text(block(TITLE, "yaml"))
    (place / "root" / "inbox" / "payment").mkdir(parents=True)
    for name, number in (("right.png", RIGHT), ("wrong.png", WRONG)):
        scan(place / "root" / "inbox" / "payment" / name, number)
    return place


def scan(path: Path, number: str) -> None:
    image = Image.new("L", (1240, 900), 255)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(size=36)
    rows = (
        "Remittance advice",
        "Pay to: Fernhollow Instruments",
        f"IBAN: {number}",
        "BIC: COBADEFFXXX",
        "Amount: 120.50",
    )
    for row, text in enumerate(rows):
        draw.text((120, 100 + 110 * row), text, fill=0, font=font)
    image.save(path, dpi=(150, 150))


def run(place: Path, *arguments: object, expected: int = 0) -> str:
    """What a process prints that starts outside of the project, with the package on its path."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=place,
        env={"PATH": "/usr/bin:/bin", "HOME": str(place), "PYTHONPATH": f"{place / 'site'}:{PROJECT}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == expected, done.stderr
    return done.stdout


def command(place: Path, name: str, *arguments: object) -> dict[str, Any]:
    jobs = ("--jobs", place / "jobs", "--config", PROJECT / "configs" / "cpu.yaml", "--json")
    told: dict[str, Any] = json.loads(run(place, PROJECT / "run_batch.py", name, *arguments, *jobs))
    return told


@pytest.fixture(scope="module")
def records(place: Path) -> dict[str, dict[str, Any]]:
    """The records of the two scans, read by the CPU engine, by the name of the scan."""
    assert command(place, "run", "--root", place / "root")["faults"] == []
    found = [json.loads(path.read_text("utf-8")) for path in (place / "root/records/payment").glob("*.json")]
    return {each["document"]["name"]: each for each in found}


def test_the_job_is_checked_and_shown(place: Path) -> None:
    assert command(place, "check")["jobs"][0]["job"] == "payment"
    view = command(place, "show", "payment")
    assert '- account: an IBAN; printed near "IBAN"' in view["question"]
    assert view["schema"]["properties"]["account"]["type"] == ["string", "null"]
    assert view["columns"]["account"] == "string"


def test_the_cpu_engine_reads_it_with_its_place(records: dict[str, dict[str, Any]]) -> None:
    right = records["right.png"]
    assert (right["status"], right["data"]) == ("ok", {"account": RIGHT.replace(" ", ""), "amount": 120.5})
    found = right["fields"]["account"]
    assert found["printed"].replace(" ", "") == RIGHT.replace(" ", "")
    assert found["confidence"] > 0.5
    left, top, _, _ = found["box"]
    assert left > 120
    assert 300 < top < 380


def test_wrong_check_digits_are_no_value(records: dict[str, dict[str, Any]]) -> None:
    wrong = records["wrong.png"]
    assert (wrong["status"], wrong["data"]["account"]) == ("review", None)
    assert [(issue["code"], issue["path"]) for issue in wrong["issues"]] == [("missing", "account")]


@pytest.mark.usefixtures("records")
def test_it_is_a_column_of_the_table(place: Path) -> None:
    (file,) = (place / "root/results/payment").glob("*.parquet")
    rows = {row["source"]: row["account"] for row in pq.read_table(file).to_pylist()}
    assert rows == {"right.png": RIGHT.replace(" ", ""), "wrong.png": None}


@pytest.mark.usefixtures("records")
def test_the_review_form_shows_it_and_checks_what_is_typed(place: Path) -> None:
    told = json.loads(run(place, "-c", FORM, place / "root", place / "jobs", "right.png", RIGHT, WRONG, "no number"))
    entry = told["form"]["fields"][0]
    assert {key: entry[key] for key in ("path", "kind", "type", "value", "required")} == {
        "path": "account", "kind": "line", "type": "iban", "value": RIGHT.replace(" ", ""), "required": True,
    }  # fmt: skip
    good, bad, none = told["problems"]
    assert good == {}
    assert "has wrong check digits" in bad["account"]
    assert "does not read as an IBAN" in none["account"]


@pytest.mark.usefixtures("records")
def test_it_is_measured(place: Path) -> None:
    labels = [{"file": name, "fields": {"account": RIGHT}} for name in ("right.png", "wrong.png")]
    for name in ("right.png", "wrong.png"):
        scan(place / name, RIGHT if name == "right.png" else WRONG)
    (place / "labels.jsonl").write_text("".join(json.dumps(each) + "\n" for each in labels))
    told = command(place, "eval", "payment", place / "labels.jsonl", "--html", place / "eval.html")
    counts = told["fields"]["account"]
    assert (counts["type"], counts["labelled"], counts["exact"], counts["missing"]) == ("iban", 2, 1, 1)
