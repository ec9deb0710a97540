"""Choices: which of the job's options is ticked or printed, yes or no, and the currency."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from models.ocr.candidates.context import Candidate, PageContext, context, place
from models.ocr.candidates.finders import labelled_text
from models.ocr.candidates.label_index import Wanted
from models.ocr.text.layout import PageLayout, Span
from pipeline.parsing import Found, label_match, numbers
from pipeline.parsing.normalize import fold, narrow, squash
from pipeline.schema.fields import ChoiceField, YesNoField

TICKED = "☑☒✓✔√■▣✗✘▽仏☆"
EMPTY = "□☐口○〇"
_APART = re.compile(r"[\s/|,，、;；·.()（）]*(?:or|oder|ou|或)?[\s/|,，、;；·.()（）]*", re.IGNORECASE)
_BOX = re.compile(f"[{TICKED}{EMPTY}]")
YES = [
    "yes", "y", "ja", "oui", "si", "sí", "ya", "true", "x", "是", "有", "对", "ok",
    "pass", "passed", "合格", "正常", "√", "✓", "✔", "☑", "✗", "☒",
]  # fmt: skip
NO = [
    "no", "n", "nein", "non", "tidak", "false", "否", "无", "没有", "不是",
    "fail", "failed", "不合格", "异常", "不正常", "□", "☐",
]  # fmt: skip


def _spelled(wanted: Wanted) -> Mapping[str, tuple[str, ...]]:
    """The options of the field, each with the words that may be printed for it."""
    assert isinstance(wanted.field, ChoiceField)
    return wanted.field.options


def options(scene: PageContext, wanted: Wanted) -> list[Candidate]:
    """Every place where an option is printed, ticked or not, beside the field's label or anywhere."""
    spelled = _spelled(wanted)
    return _options(scene, wanted, {option: (option, *said) for option, said in spelled.items()})


def yes_or_no(scene: PageContext, wanted: Wanted) -> list[Candidate]:
    """Yes and no as words or ticks beside the field's label; a lone tick beside it is yes, an empty box no."""
    field = wanted.field
    assert isinstance(field, YesNoField)
    said_yes, said_no = (*field.yes, *YES), (*field.no, *NO)
    candidates = []
    for one in labelled_text.texts_of(scene, wanted):
        ticked = [word for word, mark in ticks(one.text) if mark]
        asked = [squash(word) or word for word in (ticked or [_BOX.sub("", one.text)])]
        value: bool | None = None
        for word in asked:
            folded = squash(word) or fold(word)
            if folded in {squash(w) or w for w in said_no}:
                value = False
            elif folded in {squash(w) or w for w in said_yes}:
                value = True
        alone = one.text.strip()
        if value is None and alone and all(char in TICKED + EMPTY for char in alone):
            value = any(char in TICKED for char in alone)
        if value is not None:
            features = one.features | {"ticked": float(bool(ticked)), "clear": float(len(asked) == 1)}
            candidates.append(Candidate(one.text, value, one.page, one.box, one.score, features))
    return candidates + _boxed_label(scene, wanted)


def _boxed_label(scene: PageContext, wanted: Wanted) -> list[Candidate]:
    """A box right before the field's own label: ☑ 已检查."""
    found = []
    for number, marks in enumerate(scene.marks):
        for mark in marks:
            head = mark.span.text[: mark.start].rstrip()
            if head[-1:] and head[-1] in TICKED + EMPTY and wanted.owners.intersection(scene.index.owners[mark.label]):
                start = len(head) - 1
                features = {"own": mark.quality, "line": 1.0, "ticked": float(head[-1] in TICKED), "clear": 1.0}
                found.append(
                    Candidate(
                        mark.span.text[start : mark.end], head[-1] in TICKED, scene.pages[number],
                        mark.span.part(start, mark.end), mark.span.score, features,
                    )
                )  # fmt: skip
    return found


def ticks(text: str) -> list[tuple[str, bool]]:
    """The words behind (or, where the line ends in a box, before) each tick box, and whether it is ticked."""
    boxes = [match.start() for match in _BOX.finditer(text)]
    if not boxes:
        return []
    if boxes[0] > 0 and boxes[-1] == len(text.rstrip()) - 1:  # words come first: 是☑ 否□
        starts = [0, *(at + 1 for at in boxes[:-1])]
        return [(text[start:at].strip(" ,，、"), text[at] in TICKED) for start, at in zip(starts, boxes, strict=True)]
    ends = [*boxes[1:], len(text)]
    return [(text[at + 1 : end].strip(" ,，、"), text[at] in TICKED) for at, end in zip(boxes, ends, strict=True)]


class _Printed(NamedTuple):
    """A word of an option where it is printed; `state` is "ticked", "empty" or "" for no box."""

    number: int
    span: Span
    start: int
    end: int
    option: str
    quality: float
    state: str


def _inside(one: _Printed, other: _Printed) -> bool:
    """合格 in 不合格."""
    longer = other.end - other.start > one.end - one.start
    return longer and other.start <= one.start and one.end <= other.end


def _to_be_marked(scene: PageContext, found: Sequence[_Printed]) -> set[_Printed]:
    """Options that are printed only to be chosen from: empty boxes, and "pass / fail" without a tick.

    Which one a pen has ringed or struck out cannot be read.
    """
    by_row: dict[tuple[int, int], list[_Printed]] = {}
    for one in found:
        by_row.setdefault((one.number, one.span.row), []).append(one)
    unmarked = {one for one in found if one.state == "empty"}
    for (number, row), printed in by_row.items():
        spans = scene.sheets[number].rows[row]
        places = sorted(printed, key=lambda one: (one.span.x0, one.start))
        for one, other in pairwise(places):
            between = "".join(
                span.text[one.end if span is one.span else 0 : other.start if span is other.span else None]
                for span in spans
                if one.span.x0 <= span.x0 <= other.span.x0
            )
            if one.option != other.option and not one.state and not other.state and _APART.fullmatch(between):
                unmarked |= {one, other}
    return unmarked


def _state(sheet: PageLayout, span: Span, option: Found, said: Sequence[str]) -> str:
    """ "ticked" or "empty" by the box beside an option, in its own run of print or left of it; "" for no box."""
    state = ""
    boxed = ticks(span.text)
    exact = [one for one in boxed if squash(one[0]) in {squash(word) for word in said}]
    for word, ticked in exact or boxed:
        if label_match.find(word, option.value):
            state = "ticked" if ticked else "empty"
    if not state and option.start == 0:
        left = next((one for one in reversed(sheet.rows[span.row]) if one.x1 <= span.x0), None)
        mark = left.text.strip() if left is not None else ""
        if mark in (*tuple(TICKED + EMPTY), "X", "x"):
            state = "empty" if mark in EMPTY else "ticked"
    return state


def _options(scene: PageContext, wanted: Wanted, spelled: Mapping[str, tuple[str, ...]]) -> list[Candidate]:
    candidates = []
    found: list[_Printed] = []
    for number, sheet in enumerate(scene.sheets):
        for span in sheet.segments:
            here: list[_Printed] = []
            for option, said in spelled.items():
                best = max(
                    (hit for word in said if (hit := label_match.find(span.text, word)) is not None),
                    key=lambda hit: (hit.quality, hit.end - hit.start),
                    default=None,
                )
                if best is None:
                    continue
                state = _state(sheet, span, best, said)
                here.append(_Printed(number, span, best.start, best.end, option, best.quality, state))
            found += [one for one in here if not any(_inside(one, other) for other in here)]
    counts = Counter(one.option for one in found)
    rows = Counter((number, row) for number, row, _ in {(one.number, one.span.row, one.option) for one in found})
    several = wanted.field.list_valued
    unmarked = set() if several else _to_be_marked(scene, found)
    for one in found:
        if one in unmarked:
            continue
        number, span, start, end, option, quality, state = one
        features = context(scene, wanted, scene.near(number, span, start, end)) | place(scene, number, span)
        features |= {
            "quality": quality,
            "ticked": float(state == "ticked"),
            "empty": float(state == "empty"),
            "listed": float(not state and rows[number, span.row] > 1),
            "alone": (end - start) / max(1, len(narrow(span.text).strip())),
            "share": counts[option] / len(found),
        }
        text = span.text[start:end]
        candidates.append(Candidate(text, option, scene.pages[number], span.part(start, end), span.score, features))
    behind_label = [one for one in candidates if one.features.get("own_line")]  # 结果：合格 in one run of print
    return candidates if several else behind_label or candidates


def currencies(scene: PageContext, wanted: Wanted) -> list[Candidate]:
    """The job's options that are ISO codes, by code, sign or word, wherever amounts are printed."""
    spelled = _spelled(wanted)
    found: list[tuple[int, Span, int, int, str]] = []
    for number, sheet in enumerate(scene.sheets):
        for span in sheet.segments:
            for match in numbers.CURRENCY.finditer(narrow(span.text)):
                code = numbers.currency(match[0])
                if code is not None and code in spelled:
                    found.append((number, span, match.start(), match.end(), code))
    counts = Counter(code for *_, code in found)
    candidates = []
    for number, span, start, end, code in found:
        plainly = narrow(span.text)
        features = context(scene, wanted, scene.near(number, span, start, end)) | place(scene, number, span)
        features |= {
            "share": counts[code] / len(found),
            "code": float(plainly[start:end].upper() == code),
            "by_amount": float(bool(re.search(r"[0-9]\s?$", plainly[:start]) or re.match(r"\s?[0-9]", plainly[end:]))),
            "quality": 1.0,
        }
        text = span.text[start:end]
        candidates.append(Candidate(text, code, scene.pages[number], span.part(start, end), span.score, features))
    return candidates or _options(scene, wanted, {code: (code, *said) for code, said in spelled.items()})
