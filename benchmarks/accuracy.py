"""How well the CPU engine reads, on the labelled sets (SCANMILL_DATA, or ../shared/data beside the project).

    python benchmarks/accuracy.py measure        right values on the documents kept aside, and how far confidence holds
    python benchmarks/accuracy.py learn          learns weights.yaml and calibration.yaml from the other half
    python benchmarks/accuracy.py calibrate      learns calibration.yaml alone
    python benchmarks/accuracy.py learn --kinds company     learns the weights of one kind; all else stays as it is

Every set is split in two halves by the hash of the file names: `dev` to develop and learn on, `kept` to measure with.
Lines are read once and kept in --cache until the code that reads them changes, so a second run takes a minute. Jobs are
those of benchmarks/accuracy/*.yaml; the forms of funsd and xfund_zh are also asked for each of their own keys (sets
`funsd_keys` and `xfund_zh_keys`).
"""

import argparse
import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml
from accuracy_learning import Picked, curves, learn, pick, write, write_curves, write_kinds
from accuracy_sets import ROOT, SETS, documents_of

from models.ocr import answer
from models.ocr.candidates import calibration, ranker
from pipeline.parsing import normalize

START = ROOT / "benchmarks" / "weights_start.yaml"  # what was thought of before anything was learned


def report(picked: Sequence[Picked], tables: Mapping[str, Mapping[str, float]]) -> None:
    """Right values by set and field, vendors seen and unseen, and how often confident values are right."""
    rows: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    sure: dict[str, list[tuple[float, bool]]] = defaultdict(list)
    for one in picked:
        name = one.read.set_name
        row = rows[name, "(every key)" if name.endswith("_keys") else one.path]
        chance = calibration.confidence(one.kind, one.best, tables) if one.best else 0.0
        given = chance >= answer.LEAST_CONFIDENCE
        row.update(n=one.known, right=one.right and given, given=given, possible=one.possible, none=not one.known)
        row.update(invented=given and not one.known)
        if given:
            sure[name].append((chance, one.right))
            sure["all"].append((chance, one.right))
    print(f"{'set':14}{'field':18}{'n':>5}{'right':>8}{'given':>8}{'possible':>9}{'none':>6}{'invented':>9}")
    for (name, path), row in rows.items():
        n = max(1, row["n"])
        shares = f"{row['right'] / n:8.3f}{(row['given'] - row['invented']) / n:8.3f}{row['possible'] / n:9.3f}"
        print(f"{name:14}{path:18}{row['n']:5}{shares}{row['none']:6}{row['invented']:9}")
    for name in dict.fromkeys(name for name, _ in rows):
        total: Counter[str] = sum((row for (of, _), row in rows.items() if of == name), Counter())
        print(f"{name:14}F1 {2 * total['right'] / max(1, total['n'] + total['given']):.3f} over {total['n']} values")
    print("\nconfidence at least: share of the values that are right (share of the values given that have it)")
    for name, found in sure.items():
        cells = []
        for least in (0.9, 0.7, 0.5):
            kept = [right for chance, right in found if chance >= least]
            cells.append(
                f"{least}: {sum(kept) / len(kept):.3f} ({len(kept) / len(found):.2f})" if kept else f"{least}: none"
            )
        print(f"{name:14}" + "   ".join(cells))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("measure", "learn", "calibrate"))
    parser.add_argument("--data", type=Path, default=os.environ.get("SCANMILL_DATA", ROOT.parent / "shared" / "data"))
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "scanmill-accuracy")
    parser.add_argument("--half", choices=("kept", "dev"), default="kept")
    parser.add_argument("--sets", nargs="*", default=SETS)
    parser.add_argument(
        "--kinds", nargs="*", default=(), help="learn only the weights of these kinds, and leave all else as it is"
    )
    parser.add_argument(
        "--pull", type=float, default=1.0, help="how strongly learned weights are held to the ones of before"
    )
    given = parser.parse_args()
    reads = list(documents_of(Path(given.data), given.cache, given.sets))
    dev = [read for read in reads if read.half == "dev"]
    if given.what == "calibrate":
        # from the start, not from the shipped weights: those have seen every fold
        write_curves(curves(dev, yaml.safe_load(START.read_text("utf-8")), given.pull), ROOT / "models" / "ocr")
        print("wrote models/ocr/candidates/calibration.yaml")
        return
    if given.what == "learn":
        start = yaml.safe_load(START.read_text("utf-8"))
        if given.kinds:
            write_kinds(
                learn(dev, start, given.pull, given.kinds), given.kinds, ROOT / "models" / "ocr" / "weights.yaml"
            )
            print(f"wrote {', '.join(given.kinds)} in models/ocr/candidates/weights.yaml")
            return
        write(learn(dev, start, given.pull), curves(dev, start, given.pull), ROOT / "models" / "ocr")
        print("wrote models/ocr/candidates/weights.yaml and models/ocr/candidates/calibration.yaml")
        return
    picked = list(pick([read for read in reads if read.half == given.half], ranker.shipped()))
    report(picked, calibration.shipped())
    seen = {normalize.squash(str(read.label.get("company", ""))) for read in dev if read.set_name == "sroie"}
    for name, of in (("seen", True), ("new", False)):
        some = [
            p
            for p in picked
            if p.read.set_name == "sroie" and (normalize.squash(str(p.read.label["company"])) in seen) is of
        ]
        right = sum(one.right for one in some)
        print(f"sroie, vendors {name}: {right / max(1, len(some)):.3f} right of {len(some)} values")


if __name__ == "__main__":
    main()
