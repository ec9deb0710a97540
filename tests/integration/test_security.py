"""What strangers drop or write stays data: no way out of the root, no code, no markup, nothing for others to see."""

import ast
import os
import stat
import threading
import time
from pathlib import Path

import pytest
from PIL import Image

from models.scripted.echo import EchoEngine
from pipeline.core.errors import ConfigError
from pipeline.engine import PageSpec
from pipeline.preprocessing.page_loader import PageLoader, PagePreparation, warm_up
from pipeline.reporting.run_report import RunReport
from pipeline.schema.job import parse_job
from pipeline.schema.settings import Limits, load_settings
from pipeline.system.process_pool import ProcessPool
from tests.support.builders import file_document, run_batch

PROJECT = Path(__file__).parents[2]
NOTE = parse_job(b"name: note\npreprocess: []\nfields: {number: {type: text}}\n")
NAMES = (
    "<script>alert(1)<script>.png",
    "..",
    "'; rm -rf ~; '.png",
    "a\nb\u202egnp.exe.png",
    "-rf.png",
    "%2e%2e%2fetc.png",
    "{{ 7*7 }}.png",
    "Scan.png",
    "SCAN.png",
    "😀" * 60 + ".png",
)


def batch(root: Path, settle_s: float = 0) -> RunReport:
    settings = load_settings(None, root=root, workers=1, settle_s=settle_s)
    return run_batch(settings, EchoEngine({"*": '{"number": "<b>&\\""}'}), NOTE)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root" / "inbox" / "note").mkdir(parents=True)
    return tmp_path / "root"


def test_names_are_text_wherever_they_go(root: Path) -> None:
    names = [name for name in NAMES if name != ".."] + [os.fsdecode(b"caf\xe9.png")]
    for number, name in enumerate(names):
        Image.new("RGB", (30, 20), (number, 9, 9)).save(root / "inbox" / "note" / "x.png")
        (root / "inbox" / "note" / "x.png").rename(root / "inbox" / "note" / name)
    before = {path.name for path in root.parent.iterdir()}
    run_report = batch(root)
    assert run_report.faults() == []
    assert run_report.summary()["done"] == len(names)
    assert {path.name for path in (root / "done").rglob("*.png")} == set(names)
    assert {path.name for path in root.parent.iterdir()} == before
    (page,) = (root / "runs").glob("*.html")
    text = page.read_text()
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert" in text
    assert "{{ 7*7 }}" in text
    assert "\u202e" not in text


def test_new_folders_are_for_their_owner_alone(root: Path) -> None:
    Image.new("RGB", (30, 20)).save(root / "inbox" / "note" / "a.png")
    (root / "inbox" / "note" / "torn.pdf").write_bytes(b"%PDF-1.4\n")
    given = {root, root / "inbox", root / "inbox" / "note"}
    old = os.umask(0)
    try:
        batch(root)
    finally:
        os.umask(old)
    made = [path for path in root.rglob("*") if path.is_dir() and path not in given]
    assert len(made) > 8
    assert {stat.S_IMODE(path.stat().st_mode) for path in made} == {0o700}


@pytest.mark.parametrize(
    "text",
    [
        "fields: !!python/object/apply:os.system ['touch hacked']",
        "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(f"b{n}: &b{n} [*a, *a, *a, *a]\n" for n in range(9)),
        "fields: " + "[" * 20_000,
        "name: ../../etc/passwd\nfields: {a: {type: text}}",
        "inbox: /etc\nfields: {a: {type: text}}",
        "fields: {a: {type: text, pattern: '(a+)+$', max_length: -1}}",
        "fields: {a: {type: text}}\nrules: [\"__import__('os').system('touch hacked') == 0\"]",
        "fields: {a: {type: integer}}\nrules: ['a ** 99999999 > 1']",
    ],
)
def test_yaml_is_data_and_rules_are_a_small_grammar(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    begun = time.process_time()
    with pytest.raises(ConfigError):
        parse_job(text.encode(), "evil.yaml")
    assert time.process_time() - begun < 5
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", ["9" * 5000, "1.0e999", "-1.0e-999"])
def test_huge_numbers_are_only_numbers(number: str) -> None:
    begun = time.process_time()
    job = parse_job(f"fields: {{total: {{type: money, minimum: {number}}}}}".encode(), "huge.yaml")
    job.fields["total"].coerce("12.50")
    assert time.process_time() - begun < 1


def test_nothing_is_ever_run_that_was_read() -> None:
    """No eval, exec, shell or unsafe loader in the program. What `compile` makes is thrown away where it is made."""
    found = []
    for top in ("pipeline", "commands", "models", "operations", "web"):
        for path in (PROJECT / top).rglob("*.py"):
            tree = ast.parse(path.read_text("utf-8"))
            thrown_away = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
            for node in ast.walk(tree):
                if not isinstance(node, ast.Call):
                    continue
                name = ast.unparse(node.func)
                if name == "compile" and id(node) in thrown_away:
                    continue
                shell = any(word.arg == "shell" and ast.unparse(word.value) != "False" for word in node.keywords)
                if name in ("eval", "exec", "compile", "os.system", "os.popen", "yaml.load", "pickle.load") or shell:
                    found.append(f"{path.name}:{node.lineno} {name}")
    assert found == []


def test_a_file_that_grows_is_taken_once_and_whole(root: Path, start_s: float) -> None:
    """As over a slow network: in pieces, each well within the time in which a file must lie still."""
    Image.effect_noise((300, 300), 50).save(root.parent / "whole.png")
    data = (root.parent / "whole.png").read_bytes()
    target = root / "inbox" / "note" / "slow.png"

    def copy() -> None:
        with target.open("wb", buffering=0) as file:
            for start in range(0, len(data), len(data) // 10 + 1):
                file.write(data[start : start + len(data) // 10 + 1])
                time.sleep(0.15)

    writer = threading.Thread(target=copy)
    writer.start()
    run_reports = []
    while writer.is_alive() or target.exists():
        run_reports.append(batch(root, settle_s=max(1.0, start_s)).summary())
    writer.join()
    assert sum(each["taken"] for each in run_reports) == 1
    (done,) = (root / "done").rglob("*.png")
    assert done.read_bytes() == data


@pytest.mark.parametrize("kind", ["png", "tiff", "jpeg"])
def test_a_scan_of_an_a0_sheet_passes_the_default_limits(tmp_path: Path, kind: str) -> None:
    """841 x 1189 mm at 300 dpi: 139 megapixels."""
    path = tmp_path / f"plan.{kind}"
    sheet = Image.new("L" if kind == "jpeg" else "1", (9933, 14043), 1)
    sheet.save(path, **({"compression": "group4"} if kind == "tiff" else {}))
    limits = Limits()
    with ProcessPool(1, seconds=limits.seconds, memory_mib=limits.memory_mib, start=warm_up) as pool:
        pages = PageLoader(pool, limits)
        ticket = pages.ask(
            file_document(path), PagePreparation(("orient", "deskew"), None, PageSpec(max_side_px=2000)), 1, 1
        )
        assert pages.ready(120) == [ticket]
        (page,) = ticket.result().pages
        assert page.fault is None
        assert max(page.width, page.height) == 2000
