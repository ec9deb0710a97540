"""The registry of engines: what is known of them before one is started, and what every user of it says of them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.core.errors import ConfigError, ModelError
from pipeline.plugins import engines
from pipeline.schema.job import parse_job
from pipeline.schema.settings import Settings, load_settings
from tests.support.packages import installed

PROJECT = Path(__file__).parents[3]
LOOKS = parse_job(b"name: look\nfields: {seen: {type: prose}}\n")
READS = parse_job(b"name: read\nfields: {total: {type: money}}\n")


def test_listing_the_engines_imports_neither_torch_nor_onnxruntime() -> None:
    program = (
        "import sys\nfrom pipeline.plugins.engines import ENGINES\n"
        "assert {'ocr', 'qwen_vl', 'echo'} <= set(ENGINES.all()), ENGINES.names\n"
        "print(sorted({'torch', 'transformers', 'onnxruntime', 'rapidocr', 'cv2'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("name", ["ocr", "qwen_vl", "echo"])
def test_a_factory_says_the_name_under_which_it_is_listed(name: str) -> None:
    assert engines.ENGINES.get(name).name == name


def test_auto_takes_the_first_engine_that_is_available(tmp_path: Path) -> None:
    factory, why = engines.choose(Settings(weights=tmp_path / "none"))
    assert (factory.name, why) == ("ocr", f"there are no weights at {tmp_path / 'none'}")
    assert not engines.ENGINES.get("qwen_vl").available(Settings(weights=tmp_path / "none"))
    factory, why = engines.choose(Settings(engine="echo"))
    assert (factory.name, why) == ("echo", "the config asks for it")


def test_what_an_engine_cannot_answer_is_known_before_it_is_started() -> None:
    ocr, qwen = engines.ENGINES.get("ocr"), engines.ENGINES.get("qwen_vl")
    assert "GPU engine" in str(ocr.unsupported_reason(LOOKS))
    assert ocr.unsupported_reason(READS) is None
    assert qwen.unsupported_reason(LOOKS) is None


def test_the_page_knows_which_engine_only_reads() -> None:
    asked = {name: engines.only_reads(name) for name in ("ocr", "qwen_vl", "echo", "gone", None)}
    assert asked == {"ocr": True, "qwen_vl": False, "echo": False, "gone": False, None: False}


def test_auto_goes_on_where_an_engine_turns_out_not_to_be_available(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two engines of a package: the first seems to be there, and its `open` finds that it is not."""
    module = """
from models.scripted.echo import EchoEngine
from pipeline.plugins.engines import EngineFactory, Unavailable
class First(EngineFactory):
    name = "first"
    @classmethod
    def open(cls, settings):
        raise Unavailable("its device is switched off")
class Second(EngineFactory):
    name = "second"
    @classmethod
    def open(cls, settings):
        return EchoEngine({})
"""
    points = {"scanmill.engines": {"first": "acme_two:First", "second": "acme_two:Second"}}
    monkeypatch.syspath_prepend(installed(tmp_path, "acme-two", points, {"acme_two.py": module}))
    known = engines.ENGINES
    monkeypatch.setattr(
        engines, "ENGINES", engines.Registry(known.what, known.group, engines.EngineFactory, {})
    )  # made anew: it has looked for packages already
    monkeypatch.setattr(engines, "AUTO_ORDER", ("first", "second"))
    _, line = engines.load(Settings())
    assert line == "The engine second reads, because its device is switched off."
    monkeypatch.setattr(engines, "AUTO_ORDER", ("first",))
    with pytest.raises(ModelError, match="No engine can run here: its device is switched off"):
        engines.load(Settings())


def test_a_clash_of_engines_stops_the_settings_with_both_packages(tmp_path: Path) -> None:
    site = installed(tmp_path / "site", "acme-ocr", {"scanmill.engines": {"ocr": "acme:Ocr"}}, {}, "3.2")
    (tmp_path / "c.yaml").write_text(json.dumps({"engine": "ocr", "root": str(tmp_path)}))
    done = subprocess.run(
        [sys.executable, PROJECT / "run_batch.py", "run", "--config", tmp_path / "c.yaml", "--jobs", PROJECT / "jobs"],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(site), "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 2, done.stderr
    assert "package acme-ocr 3.2: scanmill.engines: ocr: scanmill itself (models.ocr.factory:OcrFactory)" in done.stderr
    assert "Traceback" not in done.stderr


def test_settings_name_the_nearest_engine(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match='"eco" is not allowed; did you mean echo'):
        load_settings(None, engine="eco")
