"""Kill a run at every change that it makes to its folder, and at random moments; start it again; compare.

    python tests/stress/crash.py [--every N] [--kills N] [--documents N]

A run over a mixed batch (good, doubtful, broken and refused documents, twins, links and pipes, two jobs on one inbox,
a job that answers by page) is left alone once. Then it is killed with SIGKILL before each change in turn, and the run
that repairs it is killed too, somewhere; and at `--kills` random moments, up to three times in a row. After the next
whole run every document has one end, and records, tables and notes are those of the run that was left alone. Rows go to
Parquet, and to DuckDB where it is installed.
"""

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.stress import launch
from tests.stress.night import Night, copied, lay_out
from tests.stress.outcome import contents, differences, outcome, unsettled

OK_CODES = (0, 1)  # 1: some documents failed, as they should
AGAIN = 7  # the repair is killed at every change of its own in turn, in steps that share no factor with `--every`


@dataclass
class Trials:
    """The night as it should end, and what was found instead."""

    place: Path
    documents: int
    faults: list[str] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)

    def begin(self) -> None:
        sinks = ("parquet", "duckdb") if find_spec("duckdb") else ("parquet",)
        whole = self._fresh(lay_out(self.place / "template", self.documents, sinks=sinks))
        self.dropped = contents(whole.root / "inbox")
        begun = time.monotonic()
        run = launch.start(whole.words, self.place / "said.txt")
        code = run.wait()
        self.seconds = time.monotonic() - begun
        self.expected = outcome(whole.root)
        found = unsettled(whole.root, self.dropped)
        if code not in OK_CODES or found:
            raise SystemExit(f"the run that was left alone ended with {code}: {found}\n{run.said.read_text()}")

    def at_change(self, number: int) -> bool:
        """Kills before change `number`; False where a run makes fewer changes."""
        night, told = self._fresh(), self.place / "told.txt"
        told.unlink(missing_ok=True)
        run = launch.start(night.words, self.place / "said.txt", launch.die_at(number, night.root, told))
        run.wait()
        self._no_orphans(run, f"change {number}")
        if not told.exists():
            return False
        what = told.read_text()
        self.kinds[what] += 1
        told.unlink()
        second = 1 + number * AGAIN % 40
        launch.start(night.words, self.place / "said.txt", launch.die_at(second, night.root, told)).wait()
        self._settle(night, f"killed before change {number} ({what}), and the repair before change {second}")
        return True

    def at_random(self, chance: random.Random) -> None:
        night = self._fresh()
        moments = [chance.uniform(0, self.seconds) for _ in range(chance.choice((1, 1, 2, 3)))]
        for moment in moments:
            run = launch.start(night.words, self.place / "said.txt")
            time.sleep(moment)
            launch.kill(run)
            self._no_orphans(run, f"{moment:.3f} s")
        self._settle(night, f"killed after {', '.join(f'{moment:.3f}' for moment in moments)} s")

    def _settle(self, night: Night, story: str) -> None:
        said = self.place / "said.txt"
        said.unlink(missing_ok=True)
        code = launch.start(night.words, said).wait()
        found = unsettled(night.root, self.dropped) + differences(self.expected, outcome(night.root))
        if code not in OK_CODES:
            found.append(f"exit code {code}: {said.read_text()}")
        self.faults += [f"{story}: {fault}" for fault in found]

    def _no_orphans(self, run: launch.Run, story: str) -> None:
        if left := run.orphans():
            self.faults.append(f"killed at {story}: {len(left)} processes went on: {left}")

    def _fresh(self, template: Night | None = None) -> Night:
        if template:
            self.template = template
        shutil.rmtree(self.place / "root", ignore_errors=True)
        return copied(self.template, self.place / "root")


def _changes(every: int) -> Iterator[int]:
    number = 1
    while True:
        yield number
        number += every


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1, help="kill at every N-th change only")
    parser.add_argument("--kills", type=int, default=300, help="random moments")
    parser.add_argument("--documents", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    launch.load()
    chance, begun = random.Random(given.seed), time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        trials = Trials(Path(place), given.documents)
        trials.begin()
        for number in _changes(given.every):
            if not trials.at_change(number):
                break
        for _ in range(given.kills):
            trials.at_random(chance)
    for what, count in sorted(trials.kinds.items()):
        print(f"{count:6} killed before: {what}")
    print(f"{given.kills:6} killed at random moments within {trials.seconds:.2f} s")
    print(f"{len(trials.faults):6} violations, {given.documents} documents, {time.monotonic() - begun:.0f} s")
    for fault in trials.faults[:50]:
        print(f"  {fault}")
    raise SystemExit(1 if trials.faults else 0)


if __name__ == "__main__":
    main()
