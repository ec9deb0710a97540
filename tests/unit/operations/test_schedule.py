"""The nightly start: a line that cron runs as meant, units that systemd takes, and a block that is never doubled."""

import os
import shlex
import shutil
import subprocess
from datetime import datetime
from pathlib import Path

import pytest

from operations import install_schedule
from operations.schedule import ScheduledTask, checked, cron_line, search_path, units
from pipeline.core.errors import ConfigError

PROJECT = Path(__file__).parents[3]
ODD = "scans of 50% $HOME 'q' \"d\" \\ ä"


def plan(root: Path, at: str | None = "02:00", until: str | None = "06:00", name: str = "scanmill") -> ScheduledTask:
    command = (shutil.which("python3") or "", "-c", "import sys; print(sys.argv[1:])", "--root", str(root))
    return checked(ScheduledTask(name, at, until, command, root, (root,), 600, "Europe/Berlin"))


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    (tmp_path / ODD).mkdir()
    return tmp_path / ODD


def test_cron_runs_the_very_words_from_the_very_folder(odd: Path) -> None:
    when, _, line = cron_line(plan(odd)).partition("  ")
    assert when == "0 2 * * *"
    assert "%" not in line.replace("\\%", "")
    shell = line.replace("\\%", "%")  # what cron hands to the shell
    subprocess.run(["/bin/sh", "-c", shell], env={}, check=True)
    date, said = (odd / "cron.log").read_text().splitlines()
    assert str(datetime.now().year) in date
    assert said == repr(["--root", str(odd)])


def test_a_watch_starts_with_the_machine(tmp_path: Path) -> None:
    assert cron_line(plan(tmp_path, None, None)).startswith("@reboot  umask 077; cd ")
    (service,) = units(plan(tmp_path, None, None)).values()
    for line in ("Type=notify", "WatchdogSec=2400", "Restart=on-failure", "WantedBy=default.target"):
        assert line in service.splitlines()


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
@pytest.mark.parametrize("at", ["02:00", None])
def test_systemd_takes_the_units(odd: Path, tmp_path: Path, at: str | None) -> None:
    folder = tmp_path / "units"
    folder.mkdir()
    for name, text in units(plan(odd, at, at and "06:00")).items():
        (folder / name).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *sorted(map(str, folder.iterdir()))],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    ours = [line for line in done.stderr.splitlines() if "scanmill" in line]
    assert ours == []
    assert done.returncode == 0, done.stderr


def test_the_units_are_walled_in(odd: Path) -> None:
    lines = units(plan(odd))["scanmill.service"].splitlines()
    for line in ("NoNewPrivileges=yes", "PrivateNetwork=yes", "ProtectSystem=strict", "KillMode=mixed"):
        assert line in lines
    (writes,) = (line for line in lines if line.startswith("ReadWritePaths="))
    assert shlex.split(writes.partition("=")[2].replace("%%", "%")) == [str(odd)]


def test_every_fault_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        checked(ScheduledTask("my name", "25:00", "6", ("python",), tmp_path, (tmp_path / "a\nb",), 600))
    assert len(caught.value.faults) == 4
    with pytest.raises(ConfigError, match="not UTF-8"):
        plan(tmp_path / os.fsdecode(b"latin-\xe9"))
    with pytest.raises(ConfigError, match="a watch always runs"):
        plan(tmp_path, None, "06:00")


def test_the_path_begins_with_the_environment_s_own_programs() -> None:
    assert search_path(Path("/srv/scanmill/.venv/bin/python")).startswith("/srv/scanmill/.venv/bin:/usr/local/sbin:")


@pytest.fixture
def cron(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A crontab program that keeps its table in a file, and no systemd for the user."""
    programs, table = tmp_path / "bin", tmp_path / "table"
    programs.mkdir()
    script = f'#!/bin/sh\nif [ "$1" = -l ]; then test -f {table} && cat {table} || {{ echo "no crontab for you" >&2; exit 1; }}; else cat > {table}; fi\n'  # noqa: E501
    (programs / "crontab").write_text(script)
    (programs / "crontab").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "none"))
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    return table


def test_the_crontab_keeps_its_own_lines_and_has_ours_once(cron: Path, tmp_path: Path) -> None:
    mine = "MAILTO=me\n# >>> scanmill other: somebody else's\n\n5 5 * * *  true"
    cron.write_text(mine + "\n")
    install_schedule.install(plan(tmp_path))
    install_schedule.install(plan(tmp_path, at="03:30"))
    install_schedule.install(plan(tmp_path, name="second"))
    lines = cron.read_text().splitlines()
    assert lines[:4] == mine.split("\n")
    assert [line.split("  ")[0] for line in lines if "--root" in line] == ["30 3 * * *", "0 2 * * *"]
    assert install_schedule.remove("scanmill") == ["the crontab line was removed"]
    assert install_schedule.remove("scanmill") == []
    install_schedule.remove("second")
    assert cron.read_text() == mine + "\n"


def test_a_crontab_that_is_not_there_yet_is_made(cron: Path, tmp_path: Path) -> None:
    assert "has the line" in install_schedule.install(plan(tmp_path))[0]
    install_schedule.remove("scanmill")
    assert cron.read_text() == ""


def test_without_cron_and_systemd_it_says_so(cron: Path, tmp_path: Path) -> None:
    (tmp_path / "bin" / "crontab").unlink()
    if shutil.which("crontab"):
        pytest.skip("this machine has a crontab of its own")
    with pytest.raises(install_schedule.ScheduleInstallError, match="Neither a systemd"):
        install_schedule.install(plan(tmp_path))


def test_systemd_is_told_and_the_units_go_away_again(cron: Path, tmp_path: Path) -> None:
    """With a systemctl that notes what it is told: there is no service manager in a container."""
    heard = tmp_path / "heard"
    for program in ("systemctl", "loginctl"):
        (tmp_path / "bin" / program).write_text(f'#!/bin/sh\necho {program} "$@" >> {heard}\n')
        (tmp_path / "bin" / program).chmod(0o755)
    units_at = tmp_path / "home" / ".config" / "systemd" / "user"
    done = install_schedule.install(plan(tmp_path))
    assert sorted(os.listdir(units_at)) == ["scanmill.service", "scanmill.timer"]
    assert "systemctl --user enable --now scanmill.timer" in heard.read_text()
    assert any("while the user is not logged in (" in line for line in done)
    install_schedule.install(plan(tmp_path, None, None))  # from a night to a watch: the timer must not stay
    assert os.listdir(units_at) == ["scanmill.service"]
    assert "systemctl --user disable --now scanmill.timer" in heard.read_text()
    install_schedule.remove("scanmill")
    assert os.listdir(units_at) == []
    assert not cron.exists()
