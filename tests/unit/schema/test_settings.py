"""Settings: defaults, a file, what the command line overrides, and faults that say what is allowed."""

from pathlib import Path

import pytest

from pipeline.core.errors import ConfigError
from pipeline.schema.settings import Settings, load_settings


def test_without_a_file_the_defaults_hold() -> None:
    assert load_settings(None) == Settings()
    assert Settings().limits.pages == 5000


def test_the_command_line_goes_before_the_file_and_the_file_before_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("root: /srv/scans\nengine: ocr\nworkers: null\nlimits: {pages: 9}\nsettle_s: 0.5\n")
    settings = load_settings(file, root=tmp_path, jobs=None, workers=3)
    assert (settings.root, settings.jobs, settings.engine, settings.workers) == (tmp_path, Path("jobs"), "ocr", 3)
    assert (settings.limits.pages, settings.limits.seconds, settings.settle_s) == (9, 120, 0.5)


def test_all_faults_at_once(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("rot: x\nengine: qwen\nlimits:\n  page: 3\n  seconds: 0\npoll: maybe\nworkers: none\n")
    with pytest.raises(ConfigError) as caught:
        load_settings(file)
    assert [str(fault).removeprefix(f"{file}:") for fault in caught.value.faults] == [
        "1: rot: unknown key; did you mean root?",
        '2: engine: "qwen" is not allowed; did you mean qwen_vl?',
        "4: limits.page: unknown key; did you mean pages?",
        "5: limits.seconds: should be greater than 0",
        "6: poll: must be true or false",
        "7: workers: must be a whole number",
    ]


def test_a_fault_of_the_command_line_does_not_blame_the_file(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("engine: ocr\n")
    with pytest.raises(ConfigError) as caught:
        load_settings(file, workers=0)
    (fault,) = caught.value.faults
    assert (fault.file, fault.line, fault.key) == ("command line", None, "workers")


def test_a_missing_file_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_settings(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    "file", sorted((Path(__file__).parents[3] / "configs").glob("*.yaml")), ids=lambda file: file.name
)
def test_the_shipped_configs_are_good(file: Path) -> None:
    assert load_settings(file).limits.pages > 0


def test_an_empty_file_means_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("# nothing yet\n")
    assert load_settings(file) == Settings()
