"""How well the CPU engine reads, on the labelled sets (SCANMILL_DATA, or ../shared/data beside the project).

    python benchmarks/accuracy.py measure        right values on the documents kept aside, and how far confidence holds
    python benchmarks/accuracy.py learn          learns weights.yaml and calibration.yaml from the other half
    python benchmarks/accuracy.py calibrate      learns calibration.yaml alone
    python benchmarks/accuracy.py learn --kinds company     learns the weights of one kind; all else stays as it is

Every set is split in two halves by the hash of the file names: `dev` to develop and learn on, `kept` to measure with.
Lines are read once and kept in --cache, so a second run takes seconds. Jobs are those of benchmarks/accuracy/*.yaml;
the forms of funsd and xfund_zh are also asked for each of their own keys (sets `funsd_keys` and `xfund_zh_keys`).
"""

import argparse
import hashlib
import json
import os
import pickle
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from models.ocr import answer, calibration, labels, layout, ranker, reading  # noqa: E402
from models.ocr.labels import Wanted  # noqa: E402
from models.ocr.ranker import Example, Ranked, Weights  # noqa: E402
from models.ocr.scene import Candidate, Scene  # noqa: E402
from pipeline import checks, documents, pages  # noqa: E402
from pipeline.fields import Field, TextField  # noqa: E402
from pipeline.job import load_jobs  # noqa: E402
from pipeline.types import Page, Wants  # noqa: E402
from pipeline.values import dates, numbers, texts, times  # noqa: E402

SETS = ("sroie", "wildreceipt", "zugferd", "vrdu_adbuy", "xfund_zh", "kleister_nda", "funsd_keys", "xfund_zh_keys")
PAGES = 10  # of a document; longer ones are asked in windows
FOLDS = 5
START = ROOT / "benchmarks" / "weights_start.yaml"  # what was thought of before anything was learned
FIRM = {
    "money": 8.0,
    "date": 5.0,
    "time": 4.0,
    "phone": 4.0,
    "company": 4.0,
}  # what is thought of by hand carries over better
LEAST_EXAMPLES = 25  # fewer than this, and a kind keeps the weights that it has
BOXES = set("□☐☑☒✓√口")


@dataclass
class Asked:
    """One field of one document: what was wanted, proposed, and right (None: not labelled; empty: there is none)."""

    wanted: Wanted
    candidates: list[Candidate]
    right: set[Any] | None
    tolerance: Decimal = Decimal(0)

    def agrees(self, key: Any) -> bool:
        """Whether a value (as `_key` gives it) is right by the rules that jobs are scored with."""
        expected = checks.Expected(self.wanted.path, self.wanted.field, tuple(self.right or ()), "")
        return checks.judge(expected, key, self.wanted.path, self.tolerance).verdict == "exact"


@dataclass
class Read:
    """One document of a set, asked for all its fields."""

    set_name: str
    file: str
    half: str
    fields: dict[str, Asked]
    label: Mapping[str, Any]


def lines_of(path: Path, cache: Path) -> list[tuple[int, int, list[reading.Line]]]:
    """Width, height and lines of the first pages, from the cache where they were read before."""
    kept = cache / path.parent.parent.name / f"{path.name}.pkl"
    if kept.exists():
        found: list[tuple[int, int, list[reading.Line]]] = pickle.loads(kept.read_bytes())
        return found[:PAGES]
    plan = pages.Plan(("orient", "deskew"), None, Wants(max_side_px=2600, text_layer=True))
    _, sheets = pages.read((path,), documents.Bounds(), plan, 1, PAGES)
    found = []
    for sheet in sheets:
        page = Page(
            None, sheet.number, sheet.width, sheet.height, sheet.to_source, sheet.image, sheet.words, sheet.fault,
             # type: ignore[arg-type]
        )  # fmt: skip
        found.append((sheet.width, sheet.height, reading.read(page)))
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_bytes(pickle.dumps(found))
    return found


def documents_of(data: Path, cache: Path, names: Sequence[str]) -> Iterator[Read]:
    """Every labelled document of the sets, with the candidates of every labelled field."""
    jobs = {job.name: job for job in load_jobs(ROOT / "benchmarks" / "accuracy")}
    for name in names:
        folder = data / name.removesuffix("_keys")
        rows = [json.loads(line) for line in (folder / "labels.jsonl").read_text("utf-8").splitlines()]
        rows.sort(key=lambda row: hashlib.sha1(row["file"].encode()).hexdigest())
        for number, row in enumerate(rows):
            fields: Mapping[str, Field] = _keys(row) if name.endswith("_keys") else jobs[name].fields
            wanteds = [labels.wanted(path, field) for path, field in fields.items()]
            read = lines_of(folder / "img" / row["file"], cache)
            sheets = [(i, layout.sheet(lines, wide, deep)) for i, (wide, deep, lines) in enumerate(read, 1)]
            scene = Scene(sheets, labels.index([(w.path, w.concept, w.labels) for w in wanteds]))
            tolerance = jobs[name].tolerance if name in jobs else Decimal(0)
            asked = {
                w.path: Asked(w, answer.candidates(scene, w), _right(w.field, w.path, row), tolerance) for w in wanteds
            }
            yield Read(name, row["file"], ("dev", "kept")[number % 2], asked, row["fields"])


def _keys(row: Mapping[str, Any]) -> dict[str, Field]:
    """A text field for every key of a form that has one plain answer."""
    plain = {
        key: value
        for key, value in row["fields"].items()
        if isinstance(value, str) and value and len(texts.squash(key)) >= 2 and len(key) <= 40 and not BOXES & set(key)
    }
    return {key: TextField(labels=(key,)) for key in plain}


def _right(field: Field, path: str, row: Mapping[str, Any]) -> set[Any] | None:
    """All values that are right, in the form of `_key`; None where no label can be read."""
    if path not in row["fields"]:
        return None
    given = row["fields"][path]
    printed = [str(one) for one in (given if isinstance(given, list) else [given]) if one not in (None, "")]
    normal = row.get("norm", {}).get(path)
    if not printed:
        return set()
    if field.type == "date":
        order = getattr(field, "order", "DMY")
        found = {one.value.isoformat() for text in printed for one in dates.find(text, order)}
        return found | ({normal} if normal else set()) or None
    if field.type == "time":
        return {one.value.isoformat() for text in printed for one in times.find(text)} or None
    if field.type == "money":
        if normal is not None:
            return {Decimal(str(normal))}
        return {one.value for text in printed for one in numbers.find(text)} or None
    return {_key(field, text) for text in printed}


def _key(field: Field, value: Any) -> Any:
    """A value as it is compared: numbers as numbers, telephone numbers by their digits, words by letters and digits."""
    if field.type == "money":
        return Decimal(str(value))
    if field.type in ("date", "time"):
        return value
    if getattr(field, "kind", "") == "phone":
        return "".join(char for char in str(value) if char.isdigit())
    return texts.squash(str(value))


def right_ones(asked: Asked) -> list[bool]:
    """Which candidates are right; where none is, and it is words, those that are right but for a few letters."""
    from rapidfuzz import fuzz

    field, right = asked.wanted.field, asked.right or set()
    keys = [_key(field, one.value) for one in asked.candidates]
    exact = [key in right for key in keys]
    if field.type == "money" and not any(exact):
        return [asked.agrees(key) for key in keys]
    if any(exact) or not right or field.type != "text":
        return exact
    alike = [max(fuzz.ratio(str(key), str(one)) for one in right) for key in keys]
    best = max(alike, default=0.0)
    return [one >= best - 0.01 for one in alike] if best >= 80 else exact


def learn(
    reads: Sequence[Read], start: Weights, pull: float, kinds: Sequence[str] = ()
) -> dict[str, Mapping[str, float]]:
    """Weights of all `kinds` (none: of every kind) with enough examples, pulled towards `start`; the other kinds as
    they were."""
    examples: dict[str, list[Example]] = defaultdict(list)
    for read in reads:
        for asked in read.fields.values():
            if asked.right is not None and asked.candidates:
                examples[asked.wanted.kind].append(Example(asked.candidates, right_ones(asked)))
    learned = {
        kind: ranker.fit(found, start.get(kind, {}), pull * FIRM.get(kind, 1.0))
        for kind, found in examples.items()
        if len(found) >= LEAST_EXAMPLES and (not kinds or kind in kinds)
    }
    return {**start, **learned}


@dataclass
class Picked:
    """The value picked for a labelled field, and whether it is right."""

    read: Read
    path: str
    kind: str
    best: Ranked | None
    right: bool
    possible: bool

    @property
    def known(self) -> bool:
        """Whether the label gives a value at all."""
        return bool(self.read.fields[self.path].right)


def pick(reads: Sequence[Read], weights: Weights) -> Iterator[Picked]:
    """What the engine would answer with these weights."""
    for read in reads:
        ranked = answer.apart_parties(
            {
                p: (a.wanted.kind, ranker.rank(a.candidates, weights.get(a.wanted.kind, {})))
                for p, a in read.fields.items()
            }
        )
        sums = {path: asked.wanted.concept for path, asked in read.fields.items() if asked.wanted.kind == "money"}
        ranked = answer.apart_sums(ranked, sums)
        for path, asked in read.fields.items():
            if asked.right is None:
                continue
            field, best = asked.wanted.field, ranked[path][0] if ranked[path] else None
            right = best is not None and asked.agrees(_key(field, best.candidate.value))
            possible = any(asked.agrees(_key(field, one.value)) for one in asked.candidates)
            yield Picked(read, path, asked.wanted.kind, best, right, possible)


def curves(reads: Sequence[Read], start: Weights, pull: float) -> dict[str, dict[str, float]]:
    """Calibration learned on picks for documents that the weights had not seen: in five folds, and set by set.

    The second half of the picks comes from weights that never saw a document of the set, so confidence carries over to
    kinds of documents that nobody has labelled.
    """
    picked: list[Picked] = []
    parts = [[read for i, read in enumerate(reads) if i % FOLDS == fold] for fold in range(FOLDS)]
    parts += [
        [read for read in reads if read.set_name == name] for name in dict.fromkeys(read.set_name for read in reads)
    ]
    for part in parts:
        asked = {id(read) for read in part}
        picked += pick(part, learn([read for read in reads if id(read) not in asked], start, pull))
    by_kind: dict[str, list[Picked]] = defaultdict(list)
    for one in picked:
        if one.best is not None:
            by_kind[one.kind].append(one)
            by_kind["other"].append(one)
    return {
        kind: calibration.fit([calibration.signs(one.best) for one in found if one.best], [one.right for one in found])
        for kind, found in by_kind.items()
        if len(found) >= LEAST_EXAMPLES
    }


def report(picked: Sequence[Picked], curves: Mapping[str, Mapping[str, float]]) -> None:
    """Right values by set and field, vendors seen and unseen, and how often confident values are right."""
    rows: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    sure: dict[str, list[tuple[float, bool]]] = defaultdict(list)
    for one in picked:
        name = one.read.set_name
        row = rows[name, "(every key)" if name.endswith("_keys") else one.path]
        chance = calibration.confidence(one.kind, one.best, curves) if one.best else 0.0
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


def _section(kind: str, table: Mapping[str, float]) -> list[str]:
    ordered = sorted(table.items(), key=lambda pair: -abs(pair[1]))
    return [f"{kind}:", *(f"  {json.dumps(name, ensure_ascii=False)}: {value}" for name, value in ordered)]


def write_kinds(weights: Weights, kinds: Sequence[str], path: Path) -> None:
    """The weights of some kinds in a file that holds them already; every other line of it stays as it is."""
    kept: list[str] = []
    kind = ""
    for line in path.read_text("utf-8").splitlines():
        if line[:1].isalpha():
            kind = line.split(":")[0]
            kept += _section(kind, weights[kind]) if kind in kinds else []
        if kind not in kinds:
            kept.append(line)
    path.write_text("\n".join(kept) + "\n", "utf-8")


def write(weights: Weights, curves: Mapping[str, Mapping[str, float]], folder: Path) -> None:
    """The data files of the engine, readable: the strongest weights of a kind first."""
    command = "python benchmarks/accuracy.py learn"
    lines = [
        "# What speaks for a candidate (positive) and against it (negative), by kind of field",
        "# The kinds stand in finders/__init__.py, the features are named where each finder makes them.",
        f"# Learned on the dev halves of the labelled sets, from benchmarks/weights_start.yaml, by: {command}",
    ]
    for kind, table in weights.items():
        lines += _section(kind, table)
    (folder / "weights.yaml").write_text("\n".join(lines) + "\n", "utf-8")
    write_curves(curves, folder)


def write_curves(curves: Mapping[str, Mapping[str, float]], folder: Path) -> None:
    """calibration.yaml, as it is learned."""
    lines = [
        "# The chance that a picked value is right: a logistic curve a kind of field (signs: see calibration.py).",
        "# Learned on picks for documents unseen by the weights (five folds, and set by set), by:",
        "#   python benchmarks/accuracy.py calibrate",
        "curves:",
    ]
    for kind, curve in curves.items():
        lines.append(f"  {kind}: {{{', '.join(f'{name}: {value}' for name, value in curve.items())}}}")
    (folder / "calibration.yaml").write_text("\n".join(lines) + "\n", "utf-8")


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
        print("wrote models/ocr/calibration.yaml")
        return
    if given.what == "learn":
        start = yaml.safe_load(START.read_text("utf-8"))
        if given.kinds:
            write_kinds(
                learn(dev, start, given.pull, given.kinds), given.kinds, ROOT / "models" / "ocr" / "weights.yaml"
            )
            print(f"wrote {', '.join(given.kinds)} in models/ocr/weights.yaml")
            return
        write(learn(dev, start, given.pull), curves(dev, start, given.pull), ROOT / "models" / "ocr")
        print("wrote models/ocr/weights.yaml and models/ocr/calibration.yaml")
        return
    picked = list(pick([read for read in reads if read.half == given.half], ranker.shipped()))
    report(picked, calibration.shipped())
    seen = {texts.squash(str(read.label.get("company", ""))) for read in dev if read.set_name == "sroie"}
    for name, of in (("seen", True), ("new", False)):
        some = [
            p
            for p in picked
            if p.read.set_name == "sroie" and (texts.squash(str(p.read.label["company"])) in seen) is of
        ]
        right = sum(one.right for one in some)
        print(f"sroie, vendors {name}: {right / max(1, len(some)):.3f} right of {len(some)} values")


if __name__ == "__main__":
    main()
