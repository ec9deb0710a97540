"""Amounts of money, numbers and measures."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from models.ocr.candidates.context import Candidate, Near, PageContext, context, place
from models.ocr.candidates.finders.bill_arithmetic import MOST_TAX, PROOFS, ROUND, Sums
from models.ocr.candidates.label_index import Wanted
from models.ocr.text.layout import PageLayout, Span
from pipeline.parsing import Found, numbers, quantities
from pipeline.parsing.normalize import narrow
from pipeline.schema.fields import MeasureField
from pipeline.schema.fields.number import Numeric

_PERCENT = re.compile(r"\s?%")
_RATE = re.compile(r"(?<![0-9.,])([0-9]{1,2}(?:[.,][0-9]{1,2})?)\s?%")
_AFTER_AT = re.compile(r"(?:@|[xX*×]|%)\s?$")
_AGAINST = frozenset(
    {
        "sub", "subtotal", "tax", "gst", "sst", "vat", "tva", "btw", "mwst", "ust", "cgst", "sgst", "discount",
        "disc", "qty", "quantity", "item", "items", "change", "cash", "tender", "tendered", "received", "paid",
        "rounding", "round", "adj", "excl", "excluding", "exclude", "exc", "excluded", "before", "saving",
        "savings", "saved", "point", "points", "balance", "visa", "master", "mastercard", "card", "ht", "hors",
        "netto", "exclusief", "deposit", "count",
    }
)  # fmt: skip
_FOR = frozenset(
    {
        "incl", "inclusive", "including", "grand", "rounded", "payable", "due", "nett", "after", "ttc", "brutto",
        "gross", "final", "amount", "inkl",
    }
)  # fmt: skip
_INCLUSIVE = frozenset({"incl", "inclusive", "including", "ttc", "inkl"})
_TAXES = frozenset({"tax", "gst", "sst", "vat", "tva", "btw", "mwst", "ust"})
_WORD = re.compile(r"[^\W\d_]+")
_SUMMARY = re.compile(r"summary| code|zusammenfassung|récapitul", re.IGNORECASE)
_A_BILL = 3  # amounts with decimals or a currency that make a page a bill, where an amount needs no label


@dataclass(frozen=True, slots=True)
class _Amount:
    number: int
    span: Span
    found: Found
    near: list[Near]
    concepts: frozenset[str]
    decimals: bool
    currency: bool

    @property
    def value(self) -> Decimal:
        value: Decimal = self.found.value
        return value

    @property
    def at(self) -> tuple[int, int]:
        """The sheet and the row."""
        return self.number, self.span.row

    @property
    def as_money(self) -> bool:
        """Whether it is printed as money is."""
        return self.decimals or self.currency


def _amounts(scene: PageContext, decimal: str | None) -> list[_Amount]:
    """Every amount of the document, in reading order, with the concepts of the labels beside it."""
    listed = []
    for number, sheet in enumerate(scene.sheets):
        for span in sheet.segments:
            plain = narrow(span.text)
            if not any(char.isdigit() for char in plain):
                continue
            for one in numbers.find(plain, decimal):
                if _PERCENT.match(plain[one.end :]):
                    continue
                printed = plain[one.start : one.end]
                near = scene.near(number, span, one.start, one.end)
                decimals = bool(re.search(r"[.,]\s?[0-9OoDQ]{2}(?![0-9])", printed))
                coin = bool(numbers.CURRENCY.search(printed) or numbers.CURRENCY.match(plain[one.end :].lstrip()))
                listed.append(_Amount(number, span, one, near, _concepts(scene, near), decimals, coin))
    return listed


def _concepts(scene: PageContext, near: list[Near]) -> frozenset[str]:
    """The shipped concepts of the label that speaks most strongly for an amount."""
    best = max(
        (one for one in near if one.place in ("line", "left", "above")), key=lambda one: one.strength, default=None
    )
    if best is None or best.strength < 0.35:
        return frozenset()
    same = [one for one in near if one.mark.span is best.mark.span]
    longest = max(same, key=lambda one: (one.mark.letters, one.strength))
    return frozenset(owner[1:] for owner in scene.index.owners[longest.mark.label] if owner.startswith("@"))


class _Bill:
    """All amounts of a document, and what they are to each other."""

    def __init__(self, scene: PageContext, decimal: str | None) -> None:
        self.listed = _amounts(scene, decimal)
        printed_as_money = [one for one in self.listed if one.as_money]
        self.solid = sorted({abs(one.value) for one in printed_as_money})
        self.counts = Counter(one.value for one in printed_as_money)
        self.is_bill = len(printed_as_money) >= _A_BILL
        self.with_decimals = sum(one.decimals for one in self.listed)
        self.decimals_of_row = Counter(one.at for one in self.listed if one.decimals)
        by_concept: dict[str, set[Decimal]] = {}
        for one in self.listed:
            for concept in one.concepts:
                by_concept.setdefault(concept, set()).add(one.value)
        rates = {Decimal(rate[1].replace(",", ".")) for sheet in scene.sheets for rate in _rates(sheet)}
        self.sums = Sums(by_concept, set(self.solid), {rate for rate in rates if 0 < rate <= 100 * MOST_TAX})
        self.totals = [(one.value, one.at) for one in self.listed if "total" in one.concepts or "due" in one.concepts]
        self.summaries = {
            (number, row)
            for number, sheet in enumerate(scene.sheets)
            for start in range(len(sheet.rows))
            if _SUMMARY.search(sheet.row_text(start))
            for row in range(start + 1, start + 6)
        }

    def print_features(self, scene: PageContext, one: _Amount) -> dict[str, float]:
        """How an amount is printed, and its rank among all of them."""
        value, sheet, span = one.value, scene.sheets[one.number], one.span
        words = sum(char.isalpha() for char in sheet.row_text(span.row)) > 2
        below = sum(other <= abs(value) for other in self.solid)
        return {
            "quality": one.found.quality,
            "decimals": float(one.decimals),
            "whole": float(not one.decimals and self.with_decimals >= 3),
            "currency": float(one.currency),
            "negative": float(value < 0),
            "zero": float(value == 0),
            "largest": float(bool(self.solid) and abs(value) == self.solid[-1]),
            "rank": below / len(self.solid) if self.solid else 0.0,
            "repeated": min(self.counts[value] - 1, 3) / 3 if self.counts[value] else 0.0,
            "crowded": float(self.decimals_of_row[one.at] >= 2 and words),
            "factor": float(bool(_AFTER_AT.search(narrow(span.text[: one.found.start])))),
            "rightmost": float(sheet.rows[span.row][-1] is span),
            "long": float(len(str(abs(value)).partition(".")[0]) >= 7),
        }

    def word_features(self, scene: PageContext, one: _Amount, own: float, own_words: set[str]) -> dict[str, float]:
        """What the words beside an amount say for and against it; `own` is the strength of the field's own label."""
        said = _said(scene, one)
        against = said & _AGAINST - own_words
        if said & _INCLUSIVE:
            against -= _TAXES
        if said & {"after", "rounded"}:
            against -= {"rounding", "round", "adj"}
        return {
            "against": min(len(against), 3) * (1.0 if own else 0.5),
            "against_only": float(bool(against) and not own),
            "for": min(len(said & _FOR), 3) * float(own > 0),
            "in_summary": float(one.at in self.summaries),
        }

    def sum_features(self, one: _Amount) -> dict[str, float]:
        """Which sums an amount closes."""
        value, sums = one.value, self.sums
        near_above = any(0 < abs(value - total) < ROUND for total, at in self.totals if at < one.at)
        return {
            "is_rounded_below": float(value in sums.rounded and near_above),
            "is_paid_below": float(near_above and (value in sums.cash or value in sums.tendered)),
            "is_only_paid": float(not self.totals and value in sums.cash and not sums.tendered),
            **{key: float(holds) for key, holds in sums.closed_by(value).items()},
        }

    def may_stand_alone(self, one: _Amount, name: str) -> bool:
        """Whether an amount without the field's label can be meant: a year on a greeting card is no total."""
        return one.as_money and (self.is_bill or one.currency) and name != "amount"


def money(scene: PageContext, wanted: Wanted) -> list[Candidate]:
    """Every amount, with its labels, its rank among the amounts, and the sums that it closes."""
    field = wanted.field
    assert isinstance(field, Numeric)
    bill = _Bill(scene, field.decimal)
    name = wanted.concept if wanted.concept in ("total", "subtotal", "tax", "due", "tips") else "amount"
    own_words = {word for label in wanted.labels for word in _WORD.findall(label.casefold())}
    candidates = []
    for one in bill.listed:
        features = context(scene, wanted, one.near) | place(scene, one.number, one.span)
        features |= bill.print_features(scene, one)
        for key in ("rank", "largest", "zero", "negative", "down", "repeated", "large"):
            features[f"{key}@{name}"] = features.get(key, 0.0)
        features |= bill.word_features(scene, one, features["own"], own_words)
        closed = bill.sum_features(one)
        features |= {f"{key}@{name}": holds for key, holds in closed.items()}
        proven = any(closed[key] for key in PROOFS)
        if not features["own"] and not proven and not bill.may_stand_alone(one, name):
            continue
        printed = one.span.text[one.found.start : one.found.end]
        box = one.span.part(one.found.start, one.found.end)
        told = field.spelled(one.value, printed)
        candidates.append(Candidate(printed, told, scene.pages[one.number], box, one.span.score, features))
    _order(candidates, "own")
    return candidates


def _rates(sheet: PageLayout) -> Iterator[re.Match[str]]:
    for span in sheet.segments:
        yield from _RATE.finditer(span.text)


def _said(scene: PageContext, one: _Amount) -> set[str]:
    """The words left of an amount on its row, else those right over it, folded."""
    row = scene.sheets[one.number].rows[one.span.row]
    left = " ".join(span.text for span in row if span.x0 < one.span.x0) + " " + one.span.text[: one.found.start]
    words = set(_WORD.findall(numbers.CURRENCY.sub(" ", left).casefold()))
    if not words:
        words = {
            word for near in one.near if near.place == "above" for word in _WORD.findall(near.mark.span.text.casefold())
        }
    return words


def _order(candidates: list[Candidate], key: str) -> None:
    """Mark the last and the first of the candidates that carry the field's own label: totals come after subtotals."""
    named = [one for one in candidates if one.features[key] > 0.4 and not one.features["zero"]]
    for i, one in enumerate(named):
        one.features["labelled_last"] = (i + 1) / len(named)
        one.features["labelled_first"] = float(i == 0)


def numbers_of(scene: PageContext, wanted: Wanted) -> list[Candidate]:
    """Every number, with its labels."""
    field = wanted.field
    assert isinstance(field, Numeric)
    whole = wanted.kind == "integer"
    candidates = []
    for number, sheet in enumerate(scene.sheets):
        for span in sheet.segments:
            plain = narrow(span.text)
            for one in numbers.find(plain, field.decimal):
                if whole and one.value != one.value.to_integral_value():
                    continue
                near = scene.near(number, span, one.start, one.end)
                features = context(scene, wanted, near) | place(scene, number, span)
                features |= {
                    "quality": one.quality,
                    "percent": float(bool(_PERCENT.match(plain[one.end :]))),
                    "alone": float(one.end - one.start >= len(plain.strip()) - 1),
                    "decimals": float(one.value != one.value.to_integral_value()),
                }
                printed = span.text[one.start : one.end]
                value = int(one.value) if whole else field.spelled(one.value, printed)
                box = span.part(one.start, one.end)
                candidates.append(Candidate(printed, value, scene.pages[number], box, span.score, features))
    return candidates


def measures_of(scene: PageContext, wanted: Wanted) -> list[Candidate]:
    """Every number with a unit of the field's kind, and numbers beside the field's label with another unit, or none.

    A candidate is all that is printed of the measure: only so the field can tell "5 kg", "12 ber" and "0~1.6 MPa" from
    what it asks for.
    """
    field = wanted.field
    assert isinstance(field, MeasureField)
    candidates = []
    for number, sheet in enumerate(scene.sheets):
        for span in sheet.segments:
            if not any(char.isdigit() for char in span.text):
                continue
            with_unit = quantities.find(span.text, field.unit)
            bare = [
                one
                for one in numbers.find(span.text, field.decimal)
                if all(one.end <= m.start or m.end <= one.start for m in with_unit)
            ]
            for one in (*with_unit, *bare):
                features = context(scene, wanted, scene.near(number, span, one.start, one.end))
                features |= place(scene, number, span)
                features |= {"quality": one.quality, "unit": float(one in with_unit)}
                start, end = quantities.whole(span.text, one.start, one.end)
                printed = span.text[start:end].strip()
                value = printed
                if one in bare and (start, end) == (one.start, one.end):
                    named = _headed(scene, wanted, scene.near(number, span, one.start, one.end))
                    value = printed if numbers.read(printed) is not None else field.spelled(one.value)
                    value = f"{value} {named}".strip()
                box = span.part(start, end)
                candidates.append(Candidate(printed, value, scene.pages[number], box, span.score, features))
    return candidates


def _headed(scene: PageContext, wanted: Wanted, near: list[Near]) -> str:
    """The unit behind the field's own label, or ""."""
    own = [one for one in near if wanted.owners.intersection(scene.index.owners[one.mark.label])]
    best = max(own, key=lambda one: one.strength, default=None)
    return quantities.unit_in_heading(best.mark.span.text[best.mark.end :]) if best else ""
