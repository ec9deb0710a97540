"""Prove that nothing needs a network: a bundle, installed and run where there is no route to anywhere.

    python tests/stress/offline.py

Gathers a bundle of the base install, installs it in a network namespace of its own (`unshare -n`: not even loopback is
up), reads the samples there, and asks the doctor. Skipped, with the reason, where such a namespace is not allowed or
the packages cannot be fetched.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from operations.bundle_manifest import NAME, Manifest
from tests.stress.verdict import Skipped, Trial, exit_code, held

PROJECT = Path(__file__).resolve().parents[2]
NO_ROUTE = ["unshare", "--map-root-user", "--net"]  # a namespace of one's own, for anybody
LEAST_RIGHT = 0.9  # of the labelled values of the samples


def run(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in words], cwd=cwd, capture_output=True, text=True, check=False)


def gathered(bundle: Path) -> tuple[str, list[str]]:
    done = run(sys.executable, "run_batch.py", "bundle", bundle, "--json", cwd=PROJECT)
    if done.returncode == 3 and "pip could not" in done.stderr:
        raise Skipped("the packages cannot be fetched: " + done.stderr.strip().splitlines()[-1])
    if done.returncode:
        return "", [done.stderr]
    told = json.loads(done.stdout)
    return f"{told['files']} files, {told['bytes'] / 1e6:,.0f} MB", unpinned(bundle)


def unpinned(bundle: Path) -> list[str]:
    """Packages of the bundle whose version is not the one in constraints.txt."""
    pinned = (PROJECT / "constraints.txt").read_text("utf-8").split()
    packages = Manifest.read(bundle / NAME).packages
    packages.pop("setuptools")  # which builds the project, within the bounds of pyproject.toml
    return [f"{name} {version} is no pin" for name, version in packages.items() if f"{name}=={version}" not in pinned]


def installed(bundle: Path, place: Path) -> tuple[str, list[str]]:
    needs_namespace()
    if not bundle.is_dir():
        raise Skipped("there is no bundle")
    done = run(*NO_ROUTE, "sh", bundle / "install.sh", place)
    return done.stderr.splitlines()[0] if done.stderr else "", [done.stderr] if done.returncode else []


def demo_read(place: Path) -> tuple[str, list[str]]:
    done = offline(place, "demo", "--json")
    if not done.stdout:
        return "", [f"exit code {done.returncode}: {done.stderr}"]
    told = json.loads(done.stdout)
    faults = [str(fault) for fault in told["faults"]]
    scores = [each["overall"] for each in told["truth"].values()]
    right, labelled = (sum(each[key] for each in scores) for key in ("exact", "labelled"))
    if right < LEAST_RIGHT * labelled:
        faults.append("too little is right")
    return (
        f"{told['counts']['done']} of {told['counts']['taken']} documents, {right} of {labelled} values right",
        faults,
    )


def doctor_content(bundle: Path, place: Path) -> tuple[str, list[str]]:
    done = offline(place, "doctor", "--json", "--root", "demo", "--bundle", bundle)
    if not done.stdout:
        return "", [f"exit code {done.returncode}: {done.stderr}"]
    findings = json.loads(done.stdout)["findings"]
    faults = [f"{each['check']}: {each['seen']}" for each in findings if each["state"] == "fault"]
    if done.returncode != bool(faults):
        faults.append(f"exit code {done.returncode}")
    return f"{len(findings)} lines", faults


def offline(place: Path, *words: object) -> subprocess.CompletedProcess[str]:
    if not (place / ".venv").is_dir():
        raise Skipped("nothing is installed")
    return run(*NO_ROUTE, place / ".venv/bin/python", "run_batch.py", *words, cwd=place)


def needs_namespace() -> None:
    try:
        done = run(*NO_ROUTE, sys.executable, "-c", "import socket; socket.create_connection(('192.0.2.1', 9), 1)")
    except FileNotFoundError:
        raise Skipped("there is no unshare here") from None
    if "Network is unreachable" not in done.stderr:
        raise Skipped(f"no network namespace may be made here: {done.stderr.strip().splitlines()[-1]}")


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bundle, place = Path(folder) / "bundle", Path(folder) / "scan mill"
        trials: list[Trial] = [
            ("bundle", partial(gathered, bundle)),
            ("install without a route", partial(installed, bundle, place)),
            ("demo without a route", partial(demo_read, place)),
            ("doctor without a route", partial(doctor_content, bundle, place)),
        ]
        raise SystemExit(exit_code(held(trials)))


if __name__ == "__main__":
    main()
