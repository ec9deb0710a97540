"""The registry of formats: recognised by content, told to people in one list, and open to installed packages."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from pipeline.inbox import grouping
from pipeline.plugins import formats
from pipeline.plugins.formats import FORMATS, detect, explain_error
from tests.support.packages import installed

PROJECT = Path(__file__).parents[3]
BEGINNINGS = {
    b"\xff\xd8\xff\xe0 and on": "jpeg",
    b"\x89PNG\r\n\x1a\n": "png",
    b"II*\x00": "tiff",
    b"MM\x00+": "tiff",
    b"RIFF\x00\x00\x00\x00WEBPVP8 ": "webp",
    b"BM6": "bmp",
    b"GIF89a": "gif",
    b"\0\0\0\x18ftypheic\0\0\0\0mif1heic": "heic",
    b"From: a mail gateway\r\n%PDF-1.7": "pdf",
}


@pytest.mark.parametrize(("head", "name"), BEGINNINGS.items(), ids=BEGINNINGS.values())
def test_a_format_is_recognised_by_its_beginning(head: bytes, name: str) -> None:
    assert detect(head) is FORMATS.get(name)
    assert detect(head[1:] if name != "pdf" else head.replace(b"%PDF", b"%pdf")) is None


def test_a_picture_that_speaks_of_a_pdf_is_a_picture() -> None:
    assert detect(b"\xff\xd8\xff\xe1 made from %PDF-1.4") is FORMATS.get("jpeg")


def test_no_suffix_and_no_magic_belongs_to_two_formats() -> None:
    kinds = FORMATS.all().values()
    for every in ([s for kind in kinds for s in kind.suffixes], [m for kind in kinds for m in kind.magic]):
        assert len(every) == len(set(every))


def test_people_read_the_same_list_everywhere() -> None:
    titles = {kind.title for kind in FORMATS.all().values()}
    assert explain_error("unsupported").cure == f"Save it as {formats.titles()} and drop it again."
    assert set(re.split(", | or ", formats.titles())) == titles
    (line,) = (
        line for line in (PROJECT / "README.md").read_text("utf-8").splitlines() if "data/inbox/invoices/  " in line
    )
    assert set(line.partition("# ")[2].partition(";")[0].split(", ")) == titles


def test_the_picture_of_a_question_ends_as_a_format_says() -> None:
    assert {suffix for kind in FORMATS.all().values() for suffix in kind.suffixes} == set(formats.picture_suffixes())
    for suffix in formats.picture_suffixes():
        assert grouping.named_picture(f"a{suffix.upper()}.txt") == f"a{suffix.upper()}"
    assert grouping.named_picture("notes.doc.txt") == ""


def test_knowing_the_formats_loads_no_decoder() -> None:
    program = (
        "import sys\nfrom pipeline.plugins.formats import FORMATS, titles\ntitles()\n"
        "print(sorted(name for name in sys.modules if name.split('.')[0] in ('pypdfium2', 'pillow_heif', 'cv2')"
        " or name.endswith('ImagePlugin')))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_broken_format_of_a_package_stops_a_run_before_any_document(tmp_path: Path) -> None:
    """Else each document would fail in its worker, and the person would blame the scan."""
    site = installed(
        tmp_path / "site",
        "acme-fax",
        {"scanmill.formats": {"fax": "acme_fax:Fax"}},
        {"acme_fax.py": "import nothing_at_all"},
    )
    inbox = tmp_path / "root" / "inbox" / "receipt"
    inbox.mkdir(parents=True)
    Image.new("RGB", (30, 40), "white").save(inbox / "a.png")
    (tmp_path / "c.yaml").write_text(f"engine: echo\nweights: none\nroot: {tmp_path / 'root'}\nsettle_s: 0\n")
    told = ["--config", tmp_path / "c.yaml", "--jobs", PROJECT / "jobs"]
    environment = {"PYTHONPATH": str(site), "PATH": "/usr/bin:/bin"}
    run, doctor = (
        subprocess.run(
            [sys.executable, PROJECT / "run_batch.py", verb, *told],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        for verb in ("run", "doctor")
    )
    fault = "package acme-fax 1.0: scanmill.formats: fax: acme_fax:Fax cannot be imported"
    assert run.returncode == 2, run.stderr
    assert fault in run.stderr
    assert "Traceback" not in run.stderr
    assert (inbox / "a.png").exists()
    assert not (tmp_path / "root" / "failed").exists()
    assert fault in " ".join((doctor.stdout + doctor.stderr).replace("│", " ").split())
