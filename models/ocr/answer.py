"""From sheets to an answer: for every field the finder proposes, the ranker picks, the calibration says how sure it is."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from models.ocr import calibration, labels, ranker
from models.ocr.finders import FINDERS
from models.ocr.labels import Index, Wanted
from models.ocr.layout import Sheet
from models.ocr.ranker import Ranked
from models.ocr.scene import Candidate, Scene
from pipeline.types import Evidence
from pipeline.values import texts

if TYPE_CHECKING:
    from pipeline.fields import Field
    from pipeline.job import Job

LEAST_CONFIDENCE = 0.2  # below this no value: null beats a guess


@dataclass(frozen=True, slots=True)
class Answer:
    """`text` is JSON in the job's shape; `evidence` and `confidence` have a key for every leaf that has a value."""

    text: str
    evidence: Mapping[str, Evidence] = field(default_factory=dict)
    confidence: Mapping[str, float] = field(default_factory=dict)


def answer(sheets: Sequence[tuple[int, Sheet]], job: "Job") -> Answer:
    """What the sheets (page number, sheet) say for a job's fields."""
    wanteds = [labels.wanted(path, leaf) for path, leaf in _leaves(job.fields)]
    scene = Scene(sheets, _index(tuple((w.path, w.concept, w.labels) for w in wanteds)))
    evidence: dict[str, Evidence] = {}
    confidence: dict[str, float] = {}
    values = {}
    proposed = {w.path: (w.kind, ranker.rank(candidates(scene, w), ranker.shipped().get(w.kind, {}))) for w in wanteds}
    settled = apart_parties(proposed)
    for wanted in wanteds:
        ranked = settled[wanted.path]
        if not ranked:
            continue
        sure = calibration.confidence(wanted.kind, ranked[0])
        if sure < LEAST_CONFIDENCE:
            continue
        best = ranked[0].candidate
        values[wanted.path] = best.value
        evidence[wanted.path] = Evidence(best.page, best.box, best.text)
        confidence[wanted.path] = sure
    data = _shape(job.fields, "", values)
    return Answer(json.dumps(data, ensure_ascii=False), evidence, confidence)


def apart_parties(ranked: Mapping[str, tuple[str, list[Ranked]]]) -> dict[str, list[Ranked]]:
    """Two companies of one document have two names: the surer field keeps a name, the other goes on to its next one.

    `ranked` is kind and ranking by path.
    """
    settled = {path: ranking for path, (_, ranking) in ranked.items()}
    taken: set[str] = set()
    parties = [path for path, (kind, ranking) in ranked.items() if kind == "company" and ranking]
    for path in sorted(parties, key=lambda path: -settled[path][0].belief):
        free = [one for one in settled[path] if texts.squash(str(one.candidate.value)) not in taken]
        settled[path] = free
        taken.update(texts.squash(str(one.candidate.value)) for one in free[:1])
    return settled


def candidates(scene: Scene, wanted: Wanted) -> list[Candidate]:
    """What the finder of a field's kind proposes, inside the field's region where it has one."""
    found = FINDERS[wanted.kind](scene, wanted)
    region = getattr(wanted.field, "region", None)
    if region is None:
        return found
    sizes = {page: (sheet.width, sheet.depth) for page, sheet in zip(scene.pages, scene.sheets, strict=True)}
    return [one for one in found if _inside(one, *sizes[one.page], region)]


def _inside(one: Candidate, width: float, depth: float, region: Any) -> bool:
    x, y = (one.box.x + one.box.width / 2) / width, (one.box.y + one.box.height / 2) / depth
    across: bool = region.left <= x <= region.left + region.width
    return across and bool(region.top <= y <= region.top + region.height)


@lru_cache(maxsize=16)
def _index(named: tuple[tuple[str, str, tuple[str, ...]], ...]) -> Index:
    return labels.index(named)


def _leaves(fields: "Mapping[str, Field]", prefix: str = "") -> "list[tuple[str, Field]]":
    found: list[tuple[str, Field]] = []
    for name, one in fields.items():
        if one.type == "group":
            found += _leaves(one.fields, f"{prefix}{name}.")  # type: ignore[attr-defined]
        elif one.type != "list":
            found.append((prefix + name, one))
    return found


def _shape(fields: "Mapping[str, Field]", prefix: str, values: Mapping[str, Any]) -> dict[str, Any]:
    shaped: dict[str, Any] = {}
    for name, one in fields.items():
        if one.type == "group":
            shaped[name] = _shape(one.fields, f"{prefix}{name}.", values)  # type: ignore[attr-defined]
        elif one.type == "list":
            shaped[name] = []
        else:
            shaped[name] = values.get(prefix + name)
    return shaped


__all__ = ["Answer", "Ranked", "answer", "candidates"]
