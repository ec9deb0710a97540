"""Names of companies: in the letterhead, the foot or the block of a party, or behind a label."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from models.ocr.candidates.context import Candidate, PageContext, context, place
from models.ocr.candidates.finders import labelled_text, lexicon
from models.ocr.candidates.finders.party_sections import PARTIES, section
from models.ocr.candidates.label_index import Wanted, party_of
from models.ocr.text import layout
from models.ocr.text.layout import PageLayout, Span
from pipeline.core.geometry import Box
from pipeline.parsing import dates, normalize

TOP_ROWS, FOOT_ROWS, MOST_LINES = 40, 8, 3
_BY_PARTY = (
    "top", "down", "large", "right", "repeated", "over_address", "legal",
    "later", "row", "head", "rival", "section_own", "section_rival",
)  # fmt: skip
_REGISTERED = re.compile(
    r"\s*[\(\[]?\s*(?:co(?:mpany)?[.-]?\s*(?:reg(?:istration)?)?\.?\s*(?:no)?\.?\s*[:.]?\s*|reg(?:istration)?\.?\s*no\.?\s*"
    r"[:.]?\s*|roc\s*[:.]?\s*)?[:.]?\s*[A-Z]{0,3}\s?[0-9]{5,12}\s?-?\s?[A-Z]?\s*[\)\]]?\s*$",
    re.IGNORECASE,
)
_BRACKETED = re.compile(r"\s*[\(\[][^()\[\]]*[0-9]{3,}[^()\[\]]*[\)\]]*\s*[A-Z]?\s*$")
_CODE_END = re.compile(r"\s+\(?[0-9]{5,}\s?-?\s?[A-Z]\)?\s*(\([A-Z0-9 ]{2,6}\))?\s*$")
_OPEN_END = re.compile(
    r"(&|,|-|\b(?:of|and|the|und|et|de|du|del|el|la|le|los|las|von|zum|zur|am|im))\s*$", re.IGNORECASE
)
_NAME_KEY = re.compile(
    r"^\W*(?:(?:company |customer |supplier |firmen)?name|"
    r"firma|company|nom|raison sociale|nombre|razón social|naam|nama|"
    r"nazwa|"
    r"(?:单位|公司|企业|客户)?名\s?称|户名)\s*[:：]\s*",
    re.IGNORECASE,
)
_SENDER = re.compile(r"^(.{4,60}?)\s*(?:[·•|*]|\s[-–—,]\s|\s{3,})\s*(\S.*)$")
_PROSE = re.compile(r"\b[a-zà-ÿ]{2,}\b")


def companies(scene: PageContext, wanted: Wanted) -> list[Candidate]:
    """Runs of up to three lines at the top and the foot of the first page, and the values of the field's labels."""
    party = party_of(wanted)
    candidates = list(_labelled(scene, wanted, party))
    if scene.sheets:
        seen = {_where(one.text, one.page, one.box) for one in candidates}
        candidates += _runs(scene, wanted, party, seen)
    return candidates


def _where(text: str, page: int, box: Box) -> tuple[str, int, int]:
    """What makes two candidates the same: the text, the page and the height on the page."""
    return normalize.squash(text), page, round(box.y / 10)


def _labelled(scene: PageContext, wanted: Wanted, party: str) -> Iterator[Candidate]:
    """The values of the field's labels, with and without a register number."""
    for labelled in labelled_text.texts_of(scene, wanted):
        own = {f"key_{name}": value for name, value in labelled.features.items() if value}
        begun = _NAME_KEY.sub("", labelled.text)
        for text, stripped in _variants(begun):
            if _only_form(text):
                continue
            cut = {
                "name_key": float(begun != labelled.text),
                "cut_start": float(not (text[0].isalnum() or text[0] in "([\"'„“«") or bool(lexicon.LEGAL.match(text))),
                f"key_own@{party}": own["key_own"],
                "key_number": float(_words(text).number),
                "key_stripped": float(stripped),
                "key_strippable": float(not stripped and without_number(text) != text),
            }
            features = _looks(text, [text]) | own | cut | {"labelled": 1.0, "rival_start": _begins(scene, wanted, text)}
            yield Candidate(text, text, labelled.page, labelled.box, labelled.score, features)


def _runs(scene: PageContext, wanted: Wanted, party: str, seen: set[tuple[str, int, int]]) -> Iterator[Candidate]:
    """Runs of lines at the top and the foot of the first page; those in `seen` are left out."""
    sheet = scene.sheets[0]
    counts = Counter(normalize.squash(phrase.text) for page in scene.sheets[:4] for phrase in page.phrases)
    named = 0
    for phrase in sheet.phrases:
        if TOP_ROWS <= phrase.row < len(sheet.rows) - FOOT_ROWS:
            continue
        named += _words(phrase.text).legal
        if _words(phrase.text).number or sum(char.isalpha() for char in phrase.text) < 2:
            continue
        alone = _around(scene, sheet, phrase, wanted, party)
        for span in _chains(sheet, phrase):
            stands = alone | _foot(sheet, span)
            for one in _names_of(span):
                where = _where(one.text, scene.pages[0], span[0].box)
                if not one.text or where in seen or _only_form(one.text):
                    continue
                seen.add(where)
                features = _run_features(scene, wanted, span, one, stands)
                features["repeated"] = min(max(0, counts[where[0]] - 1), 3) / 3
                features["later"] = min(named, 6) / 6
                features |= {f"{key}@{party}": features.get(key, 0.0) for key in _BY_PARTY}
                box = layout.around([line.box for line in span])
                score = min(line.score for line in span)
                yield Candidate(one.text, one.text, scene.pages[0], box, score, features)


def _chains(sheet: PageLayout, first: Span) -> Iterator[list[Span]]:
    """A phrase alone, then with each line below it in its column."""
    chain = [first.index]
    while len(chain) <= MOST_LINES:
        yield [sheet.phrases[i] for i in chain]
        below = sheet.down[chain[-1]]
        if below is None or below in chain:
            return
        chain.append(below)


class _Name(NamedTuple):
    """One way to read a run of lines as a name."""

    text: str
    stripped: bool  # without a register number or an address
    sends: bool  # the name at the head of a line with its address
    keyed: bool  # a key such as "Name:" before it was cut off
    strippable: bool


def _names_of(span: Sequence[Span]) -> list[_Name]:
    """The ways to read a run of lines as a name."""
    whole = " ".join(one.text for one in span)
    begun = _NAME_KEY.sub("", whole)
    sender = sender_name(whole) if len(span) == 1 else ""
    keyed = begun != whole
    found = [
        _Name(text, stripped, False, keyed, not stripped and (bool(sender) or without_number(text) != text))
        for text, stripped in _variants(begun)
    ]
    return [*found, _Name(sender, True, True, keyed, False)] if sender else found


def _run_features(
    scene: PageContext, wanted: Wanted, span: Sequence[Span], name: _Name, stands: dict[str, float]
) -> dict[str, float]:
    """The features of one reading of a run of lines; `stands` are those of its place."""
    lines = [name.text] if name.stripped or name.keyed else [one.text for one in span]
    features = _looks(name.text, lines) | stands
    features["rival_start"] = _begins(scene, wanted, name.text)
    if name.sends:
        features |= {"sender": 1.0, "over_address": 1.0}
    if name.keyed:
        features["name_key"] = 1.0
    features["lines"] = len(span) - 1.0
    return features | {
        "stripped": float(name.stripped),
        "stripped_named": float(name.stripped and bool(features["named"])),
        "strippable": float(name.strippable),
    }


def without_number(text: str) -> str:
    """A name without the register number printed behind it; the text itself where too little would be left."""
    kept, before = text.strip(" ,;:|"), ""
    while kept != before:
        before = kept
        for pattern in (_REGISTERED, _BRACKETED, _CODE_END):
            kept = pattern.sub("", kept).rstrip(" -,:")
    opened = re.search(r"[\(\[](?=[^)]*[0-9]{3,}).*$", kept) or re.search(r"\s*[\(\[]\s*[0-9A-Z]{0,2}$", kept)
    if opened and opened.start() > 5:
        kept = kept[: opened.start()].rstrip(" -,:")
    if lexicon.STATE_ZIP.search(text) and not lexicon.LEGAL.search(kept):
        return text.strip(" ,;:|")  # a town with its postcode, no name with a number
    if (
        len(kept) > 3
        and lexicon.STREET.search(text)
        and not lexicon.LEGAL.search(kept)
        and not lexicon.TRADE.search(kept)
    ):
        return text.strip(" ,;:|")
    return kept if len(kept) > 3 else text.strip(" ,;:|")


def sender_name(text: str) -> str:
    """The name at the head of a line that goes on with the address, as over an address window; "" for others."""
    found = _SENDER.match(text)
    if found is None or not (said := _words(found[1])).legal or said.streets:
        return ""
    rest = _words(found[2])
    return found[1].strip(" ,;:|") if rest.streets or rest.postcode or lexicon.POSTCODE.search(found[2]) else ""


def _begins(scene: PageContext, wanted: Wanted, text: str) -> float:
    """1 where a text begins with the label of another party: `Remit to ...`, asked for the buyer."""
    for hit in scene.index.hits(text[:30]):
        owners = set(scene.index.owners[hit.label])
        if hit.start <= 1 and hit.letters >= 6 and PARTIES & owners and not wanted.owners & owners:
            return 1.0
    return 0.0


def _only_form(text: str) -> bool:
    """Whether a text is a company's legal form alone, such as GmbH: what is left where a label is part of a name."""
    rest = lexicon.LEGAL.sub("", text)
    return rest != text and sum(char.isalpha() for char in rest) < 2


def _variants(text: str) -> list[tuple[str, bool]]:
    whole = text.strip(" ,;:|")
    shorter = without_number(text)
    return [(whole, False)] if shorter == whole else [(whole, False), (shorter, True)]


class _Words(NamedTuple):
    """What the patterns say of one line, worked out once a line."""

    legal: bool
    trade: bool
    document: bool
    glued: bool
    streets: int
    postcode: bool
    away: bool
    number: bool
    core: int


@lru_cache(maxsize=4096)
def _words(text: str) -> _Words:
    core = lexicon.LEGAL.sub("", lexicon.TRADE.sub("", re.sub(r"\([^)]*\)", "", text)))
    digits = any(char.isdigit() for char in text)
    away = bool(lexicon.AWAY.search(lexicon.TRADE.sub(" ", text)))  # a store is a trade here
    return _Words(
        bool(lexicon.LEGAL.search(text)), bool(lexicon.TRADE.search(text)), bool(lexicon.DOCUMENT.search(text)),
        bool(lexicon.GLUED.search(text)), len(lexicon.STREET.findall(text)),
        digits and bool(lexicon.POSTCODE.match(text) or lexicon.STATE_ZIP.search(text)), away,
        digits and bool(lexicon.CALL.search(text) or lexicon.AMOUNT.search(text) or dates.find(text)),
        sum(char.isalpha() for char in core),
    )  # fmt: skip


def _looks(text: str, lines: Sequence[str]) -> dict[str, float]:
    """What the words alone say: is this a company's name? `lines` are the lines that make up the text."""
    letters = sum(char.isalpha() for char in text)
    digits = sum(char.isdigit() for char in text)
    said = [_words(line) for line in lines]
    legal, trade = any(one.legal for one in said), any(one.trade for one in said)
    document = any(one.document for one in said)
    streets, core = sum(one.streets for one in said), sum(one.core for one in said)
    tidy, chinese = text.casefold(), normalize.is_cjk(text)
    written = lexicon.WORD.findall(text)
    small = sum(bool(_PROSE.fullmatch(one)) for one in written)
    return {
        "legal": float(legal),
        "trade": float(trade),
        "named": float(legal or trade),
        "document": float(document and not legal and not trade),
        "document_named": float(document and (legal or trade)),
        "glued": float(any(one.glued for one in said)),
        "street": float(streets >= 1 and not legal and not trade),
        "streets": float(streets >= 2 and not legal),
        "comma_digits": float("," in text and digits > 0),
        "postcode": float(any(one.postcode for one in said)),
        "away": float(any(one.away for one in said)),
        "number": float(any(one.number for one in said)),
        "capitals": sum(char.isupper() for char in text) / max(1, letters),
        "digits": digits / max(1, len(text)),
        "few_letters": float(letters < 3),
        "core_small": float(core < 5 and not chinese),
        "core_none": float(core < 3 and not chinese),
        "lower": float(text.islower()),
        "web": float("@" in tidy or "www" in tidy or ".com" in tidy),
        "colon": float(":" in text),
        "long": min(1.0, max(0, len(text) - 45) / 40),
        "lines": float(len(lines) - 1),
        "many_words": min(1.0, max(0, len(written) - 6) / 6),
        "prose": float(small >= 4 and small > 0.6 * len(written)),
        "lower_start": float(text[:1].islower() or text[:1] in "’'"),
        "unclosed": float(text.count("(") > text.count(")")),
        "stop": float(text.endswith((".", "!", "?")) and not legal),
    }


def _around(scene: PageContext, sheet: PageLayout, first: Span, wanted: Wanted, party: str) -> dict[str, float]:
    """What the place of the first line says: letterhead or block, and the labels and headings over it."""
    segment = next((one for one in sheet.rows[first.row] if one.x0 >= first.x0 - 1), first)
    near = scene.near(0, segment, 0, len(segment.text))
    named = context(scene, wanted, [one for one in near if one.place != "after"])
    features = {
        f"near_{key}": value for key, value in named.items() if key in ("own", "own_above", "own_left", "own_header")
    }
    features["rival"] = max(
        (
            one.strength
            for one in near
            if one.place in ("above", "left", "header", "before")
            and PARTIES & set(scene.index.owners[one.mark.label])
            and not wanted.owners & set(scene.index.owners[one.mark.label])
        ),
        default=0.0,
    )
    own, rival = section(scene, first, party)
    above = sheet.up[first.index]
    attachment = [one for one in sheet.rows[first.row] if one.x1 <= segment.x0 and one is not segment]
    features |= {"section_own": own, "section_rival": rival}
    features["name_key"] = float(bool(attachment) and bool(_NAME_KEY.fullmatch(attachment[-1].text)))
    features |= place(scene, 0, first)
    features["row"] = min(first.row, 10) / 10
    features["head"] = float(first.row <= 1)
    features["centred"] = 1 - min(1.0, 2 * abs(first.cx - (sheet.x0 + sheet.x1) / 2) / max(1.0, sheet.x1 - sheet.x0))
    features["under_name"] = float(above is not None and _words(sheet.phrases[above].text).legal)
    return features


def _foot(sheet: PageLayout, span: list[Span]) -> dict[str, float]:
    """What follows the last line, and how well several lines belong together."""
    last = span[-1]
    following = [sheet.down[last.index]]
    for _ in range(2):
        following.append(sheet.down[following[-1]] if following[-1] is not None else None)
    below = [sheet.phrases[i].text for i in following if i is not None]
    features = {
        "over_address": float(any(_words(text).streets or _words(text).postcode for text in below)),
        "over_register": float(bool(below) and bool(lexicon.REGISTER.search(below[0]))),
    }
    if len(span) > 1:
        head = " ".join(one.text for one in span[:-1])
        legal_end = (_words(last.text).legal or _words(last.text).trade) and _words(last.text).core < 5
        open_end = (
            last.text.lstrip().startswith("&") or head.count("(") > head.count(")") or bool(_OPEN_END.search(head))
        )
        features |= {
            "legal_end": float(legal_end),
            "open_end": float(open_end and not legal_end),
            "loose_end": float(not open_end and not legal_end),
            "unlike_lines": float(
                any(abs(a.height - b.height) >= 0.35 * max(a.height, b.height) for a, b in pairwise(span))
            ),
            "digit_line": float(any(sum(char.isdigit() for char in one.text) > 3 for one in span)),
        }
    return features
