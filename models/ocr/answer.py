"""Answer a job: finders propose values for each field, the ranker picks one, the calibration gives its confidence."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from models.ocr import page_text
from models.ocr.candidates import calibration, label_index, ranker
from models.ocr.candidates.context import Candidate, PageContext
from models.ocr.candidates.families import family
from models.ocr.candidates.finders import FINDERS
from models.ocr.candidates.label_index import Index, Wanted
from models.ocr.candidates.ranker import Ranked
from models.ocr.tables import header_table
from models.ocr.text.layout import PageLayout
from pipeline.core.types import Evidence
from pipeline.parsing import normalize
from pipeline.schema.data_path import put
from pipeline.schema.fields import ITEM, Field, ListField, MarkdownField, leaves, map_leaves

if TYPE_CHECKING:
    from pipeline.schema.job import Job

LEAST_CONFIDENCE = 0.3  # below this no value: null beats a guess
LIST_CONFIDENCE = 0.5  # of one value in a list
MOST_SURE = 0.95  # of a long text: recognition scores say nothing about the order of its lines
ANY_ROWS = frozenset({"rows", "table", "table_rows", "行", "表格"})  # lists of text that mean the rows of any table


@dataclass(frozen=True, slots=True)
class OcrAnswer:
    """`text` is JSON in the job's shape; `evidence` and `confidence` have a key for every leaf that has a value."""

    text: str
    evidence: Mapping[str, Evidence] = field(default_factory=dict)
    confidence: Mapping[str, float] = field(default_factory=dict)


class _Findings:
    """The values found so far, by leaf path. `rows` is the number of rows of each list."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.rows: dict[str, int] = {}
        self.evidence: dict[str, Evidence] = {}
        self.confidence: dict[str, float] = {}

    def add(self, path: str, value: Any, evidence: Evidence, confidence: float) -> None:
        self.values[path] = value
        self.evidence[path] = evidence
        self.confidence[path] = round(confidence, 4)

    def data(self, fields: Mapping[str, Field]) -> dict[str, Any]:
        """The values in the shape of the fields; null for what was not found."""
        hollow: dict[str, Any] = {}
        for path, count in self.rows.items():
            put(hollow, path, [None] * count)
        return map_leaves(fields, hollow, lambda path, *_: self.values.get(path))


Sheets = Sequence[tuple[int, PageLayout]]


def answer(sheets: Sheets, job: "Job") -> OcrAnswer:
    """The values of a job's fields on `sheets` (page number, layout). Never raises, whatever is printed there."""
    asked = list(leaves(job.fields, whole_lists=True))
    findings = _Findings()
    _add_texts(findings, sheets, asked)
    if job.questions:  # the page shows the text beside the picture, each line in a box
        texts = [path for path, _ in asked if path in findings.evidence]
        findings.evidence |= {
            f"{path}[{at}]": line for path in texts for at, line in enumerate(page_text.lines(sheets))
        }
    asked = [(path, leaf) for path, leaf in asked if not _is_text(path, leaf)]
    wanteds = [label_index.wanted(path, leaf) for path, leaf in asked if not leaf.repeats]
    items = [label_index.wanted(path, _named_item(leaf)) for path, leaf in asked if ITEM in leaf.children]
    scene = PageContext(sheets, _index(tuple((one.path, one.concept, one.labels) for one in (*wanteds, *items))))
    _add_values(findings, scene, wanteds)
    _add_rows(findings, sheets, asked)
    for one in items:
        if not findings.rows[one.path]:
            findings.rows[one.path] = _add_items(findings, one, _ranked(scene, one))
    return OcrAnswer(json.dumps(findings.data(job.fields), ensure_ascii=False), findings.evidence, findings.confidence)


def _is_text(path: str, leaf: Field) -> bool:
    """Whether a field is answered with the text as printed: long texts, and the rows of any table."""
    if not leaf.repeats:
        return family(leaf.finder).whole_page
    item = leaf.children.get(ITEM)
    plain = item is not None and family(item.finder).cell == "text" and not leaf.labels
    return plain and path.rsplit(".", 1)[-1].casefold() in ANY_ROWS


def _add_texts(findings: _Findings, sheets: Sheets, asked: Sequence[tuple[str, Field]]) -> None:
    for path, leaf in asked:
        if not _is_text(path, leaf):
            continue
        if isinstance(leaf, ListField):
            rows = page_text.rows(sheets)[: leaf.answer_items]
            for number, (row, evidence, score) in enumerate(rows):
                findings.add(f"{path}[{number}]", row, evidence, min(MOST_SURE, score))
            findings.rows[path] = len(rows)
            continue
        page = WHOLE_PAGES[label_index.kind_of(leaf, "")](sheets, leaf)
        if page.evidence is not None:
            findings.add(path, page.text, page.evidence, min(MOST_SURE, page.score))


def _prose(sheets: Sheets, field: Field) -> page_text.Text:
    return page_text.verbatim(sheets)


def _markdown(sheets: Sheets, field: Field) -> page_text.Text:
    assert isinstance(field, MarkdownField)
    return page_text.markdown(sheets, field.tables_only)


WHOLE_PAGES: dict[str, Callable[[Sheets, Field], page_text.Text]] = {"prose": _prose, "markdown": _markdown}


def _add_values(findings: _Findings, scene: PageContext, wanteds: Sequence[Wanted]) -> None:
    """Single values above the least confidence; one printed value serves only one of two fields that exclude each
    other."""
    ranked = {one.path: (one.kind, _ranked(scene, one)) for one in wanteds}
    settled = apart_sums(apart_parties(ranked), {one.path: one.concept for one in wanteds if one.kind == "money"})
    for one in wanteds:
        if one.field.list_valued:
            _add_options(findings, one, settled[one.path])
        elif settled[one.path]:
            best = settled[one.path][0]
            sure = calibration.confidence(one.kind, best)
            if sure >= LEAST_CONFIDENCE:
                findings.add(one.path, best.candidate.value, _evidence(best.candidate), sure)


def _add_rows(findings: _Findings, sheets: Sheets, asked: Sequence[tuple[str, Field]]) -> None:
    for path, leaf in asked:
        if not isinstance(leaf, ListField):
            continue
        others = tuple(label for other, field in asked if other != path for label in _printed_names(other, field))
        rows = header_table.rows(sheets, leaf, path.rsplit(".", 1)[-1], others)
        for number, row in enumerate(rows):
            for inner, cell in row.items():
                at = f"{path}[{number}]" + (f".{inner}" if inner else "")
                findings.add(at, cell.value, cell.evidence, cell.confidence)
        findings.rows[path] = len(rows)


def _ranked(scene: PageContext, wanted: Wanted) -> list[Ranked]:
    return ranker.rank(candidates(scene, wanted), ranker.shipped().get(wanted.kind, {}))


def _evidence(one: Candidate) -> Evidence:
    return Evidence(one.page, one.box, one.text)


def _printed_names(path: str, leaf: Field) -> tuple[str, ...]:
    """The printed names of a field: its labels, and its own name where that is not an ASCII key."""
    name = path.rsplit(".", 1)[-1]
    return leaf.labels if name.isascii() else (*leaf.labels, name)


def _named_item(leaf: Field) -> Field:
    """The item of a plain list, with the labels of the list."""
    item = leaf.children[ITEM]
    return item.model_copy(update={"labels": (*leaf.labels, *item.labels)})


def _add_options(findings: _Findings, wanted: Wanted, ranked: Sequence[Ranked]) -> None:
    """A choice of several: every option that is ticked, or printed where none is ticked, on its own."""
    ticked = [one for one in ranked if one.candidate.features.get("ticked")]
    chosen = ticked or [
        one for one in ranked if not one.candidate.features.get("empty") and _belief(one) >= LIST_CONFIDENCE
    ]
    order = list(wanted.field.rule_type.options) if wanted.field.rule_type else []
    chosen = sorted(chosen, key=lambda one: order.index(str(one.candidate.value)))
    if chosen:
        best = max(chosen, key=_belief)
        findings.add(wanted.path, [one.candidate.value for one in chosen], _evidence(best.candidate), _belief(best))


def _add_items(findings: _Findings, wanted: Wanted, ranked: Sequence[Ranked]) -> int:
    """The values of a plain list that are likelier than no value, in the order of the page."""
    kept = [one for one in ranked if _belief(one) >= LIST_CONFIDENCE]
    kept.sort(key=lambda one: (one.candidate.page, one.candidate.box.y, one.candidate.box.x))
    for number, one in enumerate(kept):
        findings.add(f"{wanted.path}[{number}]", one.candidate.value, _evidence(one.candidate), _belief(one))
    return len(kept)


def _belief(one: Ranked) -> float:
    """The belief in one value against no value, at most 0.9 because it is not calibrated."""
    return min(0.9, one.belief / max(1e-9, one.belief + one.nothing))


def apart_parties(ranked: Mapping[str, tuple[str, list[Ranked]]]) -> dict[str, list[Ranked]]:
    """Give two company fields different names: the field with the higher belief keeps a name, the other takes its next.

    `ranked` is kind and ranking by path.
    """
    settled = {path: ranking for path, (_, ranking) in ranked.items()}
    taken: set[str] = set()
    parties = [path for path, (kind, ranking) in ranked.items() if kind == "company" and ranking]
    for path in sorted(parties, key=lambda path: -settled[path][0].belief):
        free = [one for one in settled[path] if normalize.squash(str(one.candidate.value)) not in taken]
        settled[path] = free
        taken.update(normalize.squash(str(one.candidate.value)) for one in free[:1])
    return settled


SUMS = ("total", "subtotal", "tax")
_PROOF = {"tax": "is_tax@tax", "subtotal": "is_net@subtotal"}


def apart_sums(ranked: Mapping[str, list[Ranked]], concepts: Mapping[str, str]) -> dict[str, list[Ranked]]:
    """Give the tax and the sums different printed amounts: one field keeps a place, the others take their next.

    Fields whose amount arithmetic proves choose first, then those with the stronger label. `concepts` are those of the
    amounts by path. Where nothing was taxed the total and the sum before tax may be one print.
    """
    settled = dict(ranked)
    taken: dict[tuple[int, float, float], bool] = {}
    sums = [path for path, concept in concepts.items() if concept in SUMS and settled.get(path)]

    def turn(path: str) -> tuple[float, float, float]:
        best = settled[path][0]
        proof = best.candidate.features.get(_PROOF.get(concepts[path], ""), 0.0)
        return -proof, -round(best.candidate.features["own"], 2), -best.belief

    for path in sorted(sums, key=turn):
        is_tax = concepts[path] == "tax"
        free = [one for one in settled[path] if taken.get(_place(one.candidate), is_tax) == is_tax]
        lost = sum(one.belief for one in settled[path]) - sum(one.belief for one in free)
        if lost and free:
            free = [replace(one, belief=one.belief / max(1e-9, 1 - lost)) for one in free]
        settled[path] = free
        for one in free[:1]:
            taken[_place(one.candidate)] = is_tax
    return settled


def _place(one: Candidate) -> tuple[int, float, float]:
    return one.page, one.box.x, one.box.y


def candidates(scene: PageContext, wanted: Wanted) -> list[Candidate]:
    """What the finder of a field's kind proposes, inside the field's region where it has one."""
    found = FINDERS[wanted.kind](scene, wanted)
    region = wanted.field.region
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
    return label_index.index(named)
