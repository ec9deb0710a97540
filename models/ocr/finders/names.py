"""Names of companies: issuers in the letterhead or the foot, buyers in their block, and any party behind a label."""

import re
from collections import Counter

from models.ocr import layout
from models.ocr.finders import plain, words
from models.ocr.labels import Wanted, party_of
from models.ocr.layout import Sheet, Span
from models.ocr.scene import Candidate, Scene, context, place
from pipeline.values import dates, texts
import itertools

TOP_ROWS, FOOT_ROWS, MOST_LINES = 40, 8, 3
_REGISTERED = re.compile(
    r"\s*[\(\[]?\s*(?:co(?:mpany)?[.-]?\s*(?:reg(?:istration)?)?\.?\s*(?:no)?\.?\s*[:.]?\s*|reg(?:istration)?\.?\s*no\.?\s*"
    r"[:.]?\s*|roc\s*[:.]?\s*)?[:.]?\s*[A-Z]{0,3}\s?[0-9]{5,12}\s?-?\s?[A-Z]?\s*[\)\]]?\s*$",
    re.IGNORECASE,
)
_BRACKETED = re.compile(r"\s*[\(\[][^()\[\]]*[0-9]{3,}[^()\[\]]*[\)\]]*\s*[A-Z]?\s*$")
_CODE_END = re.compile(r"\s+\(?[0-9]{5,}\s?-?\s?[A-Z]\)?\s*(\([A-Z0-9 ]{2,6}\))?\s*$")
_OPEN_END = re.compile(r"(&|,|-|\bof|\band|\bthe|\bund|\bet|\bde)\s*$", re.IGNORECASE)


def companies(scene: Scene, wanted: Wanted) -> list[Candidate]:
    """Runs of up to three lines at the top and the foot of the first page, and what stands beside the field's labels."""
    party = party_of(wanted)
    candidates: list[Candidate] = []
    seen: set[tuple[str, int, int]] = set()
    for labelled in plain.texts_of(scene, wanted):
        own = {f"key_{name}": value for name, value in labelled.features.items() if value}
        text = without_number(labelled.text)
        features = _looks(text, 1) | own | {"labelled": 1.0}
        seen.add((texts.squash(text), labelled.page, round(labelled.box.y / 10)))
        candidates.append(Candidate(text, text, labelled.page, labelled.box, labelled.score, features))
    if not scene.sheets:
        return candidates
    sheet = scene.sheets[0]
    counts = Counter(texts.squash(phrase.text) for page in scene.sheets[:4] for phrase in page.phrases)
    named = 0
    for phrase in sheet.phrases:
        if TOP_ROWS <= phrase.row < len(sheet.rows) - FOOT_ROWS:
            continue
        named += bool(words.LEGAL.search(phrase.text))
        chain = [phrase.index]
        while len(chain) <= MOST_LINES:
            span = [sheet.phrases[i] for i in chain]
            for text, stripped in _variants(" ".join(one.text for one in span)):
                features = _looks(text, len(span)) | _stands(scene, sheet, span, wanted, party)
                features |= {"stripped": float(stripped), "strippable": float(not stripped and without_number(text) != text)}
                features["repeated"] = min(counts[texts.squash(text)] - 1, 3) / 3
                features["later"] = min(named, 6) / 6
                for key in ("top", "down", "large", "right", "repeated", "over_address", "legal", "later", "rival", "section_own", "section_rival"):
                    features[f"{key}@{party}"] = features.get(key, 0.0)
                where = (texts.squash(text), scene.pages[0], round(span[0].box.y / 10))
                if text and where not in seen:
                    seen.add(where)
                    box = layout.around([one.box for one in span])
                    score = min(one.score for one in span)
                    candidates.append(Candidate(text, text, scene.pages[0], box, score, features))
            below = sheet.down[chain[-1]]
            if below is None or below in chain:
                break
            chain.append(below)
    return candidates


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
    if len(kept) > 3 and words.STREET.search(text) and not words.LEGAL.search(kept) and not words.TRADE.search(kept):
        return text.strip(" ,;:|")
    return kept if len(kept) > 3 else text.strip(" ,;:|")


def _variants(text: str) -> list[tuple[str, bool]]:
    whole = text.strip(" ,;:|")
    shorter = without_number(text)
    return [(whole, False)] if shorter == whole else [(whole, False), (shorter, True)]


def _looks(text: str, lines: int) -> dict[str, float]:
    """What the words alone say: is this a company's name?"""
    letters = sum(char.isalpha() for char in text)
    digits = sum(char.isdigit() for char in text)
    core = sum(char.isalpha() for char in words.LEGAL.sub("", words.TRADE.sub("", re.sub(r"\([^)]*\)", "", text))))
    legal, trade = bool(words.LEGAL.search(text)), bool(words.TRADE.search(text))
    streets = len(words.STREET.findall(text))
    tidy = text.casefold()
    return {
        "legal": float(legal),
        "trade": float(trade),
        "document": float(bool(words.DOCUMENT.search(text)) and not legal and not trade),
        "document_named": float(bool(words.DOCUMENT.search(text)) and (legal or trade)),
        "glued": float(bool(words.GLUED.search(text))),
        "street": float(streets >= 1 and not legal and not trade),
        "streets": float(streets >= 2 and not legal),
        "comma_digits": float("," in text and digits > 0),
        "postcode": float(bool(words.POSTCODE.match(text) or words.STATE_ZIP.search(text))),
        "away": float(bool(words.AWAY.search(text))),
        "number": float(bool(words.CALL.search(text) or words.AMOUNT.search(text) or dates.find(text))),
        "capitals": sum(char.isupper() for char in text) / max(1, letters),
        "digits": digits / max(1, len(text)),
        "few_letters": float(letters < 3),
        "core_small": float(core < 5) if not texts.is_cjk(text) else 0.0,
        "core_none": float(core < 3) if not texts.is_cjk(text) else 0.0,
        "lower": float(text.islower()),
        "web": float("@" in tidy or "www" in tidy or ".com" in tidy),
        "colon": float(":" in text),
        "long": min(1.0, max(0, len(text) - 45) / 40),
        "chinese_name": float(bool(re.search("公司|商店|超市|酒店", text))),
        "lines": float(lines - 1),
        "many_words": min(1.0, max(0, len(words.WORD.findall(text)) - 6) / 6),
    }


def section(scene: Scene, row: int, party: str) -> tuple[float, float]:
    """How strongly the heading over a row (up to nine rows up) says "this party", and how strongly it says another one."""
    sheet = scene.sheets[0]
    for above in range(row - 1, max(-1, row - 10), -1):
        if above < 0:
            break
        for mark in scene.in_row(0, above):
            names = set(scene.index.owners[mark.label])
            if mark.start > 1 or not names & {"@buyer", "@seller"} or len(sheet.rows[above]) > 2:
                continue
            if mark.end - mark.start >= 0.6 * len(mark.span.text.rstrip(" :")):
                weight = mark.quality * (1 - 0.07 * (row - above))
                return (weight, 0.0) if "@" + party in names else (0.0, weight)
    return 0.0, 0.0


def _stands(scene: Scene, sheet: Sheet, span: list[Span], wanted: Wanted, party: str) -> dict[str, float]:
    """What the place says: letterhead, block, labels above, and how well several lines belong together."""
    first, last = span[0], span[-1]
    segment = next((one for one in sheet.rows[first.row] if one.x0 >= first.x0 - 1), first)
    near = scene.near(0, segment, 0, len(segment.text))
    named = context(scene, wanted, [one for one in near if one.place != "after"])
    features = {f"near_{key}": value for key, value in named.items() if key in ("own", "own_above", "own_left", "own_header")}
    features["rival"] = max(
        (
            one.strength
            for one in near
            if one.place in ("above", "left", "header", "before")
            and {"@buyer", "@seller", "@agency", "@advertiser"} & set(scene.index.owners[one.mark.label])
            and not wanted.owners & set(scene.index.owners[one.mark.label])
        ),
        default=0.0,
    )
    own, rival = section(scene, first.row, party)
    features |= {"section_own": own, "section_rival": rival}
    features |= place(scene, 0, first)
    features["row"] = min(first.row, 10) / 10
    features["centred"] = 1 - min(1.0, 2 * abs(first.cx - (sheet.x0 + sheet.x1) / 2) / max(1.0, sheet.x1 - sheet.x0))
    following = [sheet.down[last.index]]
    for _ in range(2):
        following.append(sheet.down[following[-1]] if following[-1] is not None else None)
    below = [sheet.phrases[i].text for i in following if i is not None]
    features["over_address"] = float(any(words.STREET.search(t) or words.POSTCODE.search(t) for t in below))
    features["over_register"] = float(bool(below) and bool(words.REGISTER.search(below[0])))
    above = sheet.up[first.index]
    features["under_name"] = float(above is not None and bool(words.LEGAL.search(sheet.phrases[above].text)))
    if len(span) > 1:
        head = " ".join(one.text for one in span[:-1])
        rest = words.LEGAL.sub("", words.TRADE.sub("", re.sub(r"\([^)]*\)", "", last.text)))
        legal_end = bool(words.LEGAL.search(last.text)) and sum(char.isalpha() for char in rest) < 5
        open_end = last.text.lstrip().startswith("&") or head.count("(") > head.count(")") or bool(_OPEN_END.search(head))
        alike = all(abs(a.height - b.height) < 0.35 * max(a.height, b.height) for a, b in itertools.pairwise(span))
        features |= {
            "legal_end": float(legal_end),
            "open_end": float(open_end and not legal_end),
            "loose_end": float(not open_end and not legal_end),
            "unlike_lines": float(not alike),
            "digit_line": float(any(sum(char.isdigit() for char in one.text) > 3 for one in span)),
        }
    return features
