"""How the trials report: one line each, and an exit code."""

import argparse
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

Trial = tuple[str, Callable[[], tuple[str, list[str]]]]


class Skipped(Exception):
    """The trial cannot be held here; its words say what is missing."""


class Verdict(NamedTuple):
    """What came of one trial. `faults` is empty where all went as it should."""

    trial: str
    said: str
    faults: tuple[str, ...] = ()
    skipped: bool = False


def chosen(about: str | None, trials: Sequence[Trial]) -> list[Trial]:
    """Those that the command line names, by their first word or in full; all where it names none."""
    words = list(dict.fromkeys(_word(name) for name, _ in trials))
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trial", nargs="*", metavar="TRIAL", help=f"only these: {', '.join(words)}")
    asked = parser.parse_args().trial
    if unknown := [word for word in asked if word not in (*words, *(name for name, _ in trials))]:
        parser.error(f"there is no trial {unknown[0]}; there are {', '.join(words)}")
    return [trial for trial in trials if not asked or _word(trial[0]) in asked or trial[0] in asked]


def _word(name: str) -> str:
    return name.split()[0].strip(",")


def held(trials: Iterable[Trial]) -> list[Verdict]:
    """Holds each trial, which gives what was said and the faults that were found."""
    found = []
    for name, trial in trials:
        try:
            said, faults = trial()
            found.append(Verdict(name, said, tuple(faults)))
        except Skipped as reason:
            found.append(Verdict(name, str(reason), skipped=True))
        print(_line(found[-1]), flush=True)
    return found


def exit_code(verdicts: list[Verdict]) -> int:
    """Prints the sum, and what was found; 1 where anything was."""
    broken = [verdict for verdict in verdicts if verdict.faults]
    skipped = sum(verdict.skipped for verdict in verdicts)
    print(f"{len(verdicts)} trials, {len(broken)} violations, {skipped} skipped")
    for verdict in broken:
        print("\n".join(f"  {verdict.trial}: {fault}" for fault in verdict.faults[:20]))
    return 1 if broken else 0


def _line(verdict: Verdict) -> str:
    word = "skipped" if verdict.skipped else "BROKEN" if verdict.faults else "ok"
    return f"{word:8}{verdict.trial:34}{verdict.said}"
