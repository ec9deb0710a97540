"""Learning what speaks for a candidate and how sure a pick is, and writing it down as the engine's data files."""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from accuracy_sets import Asked, Read, key_of

from models.ocr import answer
from models.ocr.candidates import calibration, ranker
from models.ocr.candidates.ranker import Example, Ranked, Weights

FOLDS = 5
# How much closer than others a kind is held to its start: what is thought of by hand carries over better.
FIRM = {"money": 8.0, "date": 5.0, "time": 4.0, "phone": 4.0, "company": 4.0}
LEAST_EXAMPLES = 25  # fewer than this, and a kind keeps the weights that it has


def right_ones(asked: Asked) -> list[bool]:
    """Which candidates are right; where none is, and it is words, those that are right but for a few letters."""
    from rapidfuzz import fuzz

    field, right = asked.wanted.field, asked.right or set()
    keys = [key_of(field, one.value) for one in asked.candidates]
    exact = [key in right for key in keys]
    if asked.wanted.kind == "money" and not any(exact):
        return [asked.agrees(key) for key in keys]
    if any(exact) or not right or field.close_from == field.exact_from:
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
            right = best is not None and asked.agrees(key_of(field, best.candidate.value))
            possible = any(asked.agrees(key_of(field, one.value)) for one in asked.candidates)
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
