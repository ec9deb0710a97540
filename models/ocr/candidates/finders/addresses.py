"""Postal addresses: runs of lines that look like one, and the values of the field's labels."""

import itertools
import re

from models.ocr.candidates.context import Candidate, PageContext, place
from models.ocr.candidates.finders import labelled_text, lexicon
from models.ocr.candidates.finders.party_sections import section
from models.ocr.candidates.label_index import Wanted, party_of
from models.ocr.text import layout
from models.ocr.text.layout import PageLayout
from pipeline.parsing import dates, normalize

TOP_ROWS, FOOT_ROWS, MOST_LINES = 40, 12, 7
_TAIL = re.compile(
    r"[\s,;.(|-]*\b(?:tel|telephone|phone|ph|fax|hp|h/p|gst|e-?mail|website|www|telefon|tél)\b.*$|电话.*$",
    re.IGNORECASE,
)
_HEAD = re.compile(r"^\s*(?:address|addr|alamat|adresse|anschrift|地址|住址)\s*[:.：]?\s*", re.IGNORECASE)
_NUMBERED = re.compile(r"\s*(?:no\.?|lot|unit|suite|#)?\s*[0-9]+[A-Z]?\b.*[A-Za-z]{3}", re.IGNORECASE)
_STARTS = re.compile(r"\W*(?:no\b|lot\b|[0-9]|unit|level|block|suite|shop\b|#)", re.IGNORECASE)
_TO = re.compile(r"\b(?:bill to|ship to|deliver to|sold to|customer|attn|to)\b\s*:?\s*$", re.IGNORECASE)


def addresses_of(scene: PageContext, wanted: Wanted) -> list[Candidate]:
    """Runs of up to seven lines on the first page, scored line by line, and the values of the field's labels."""
    party = party_of(wanted)
    candidates: list[Candidate] = []
    for labelled in labelled_text.texts_of(scene, wanted):
        own = {f"key_{name}": value for name, value in labelled.features.items() if value}
        text = _TAIL.sub("", labelled.text)
        if len(text) > 3:
            looks = {"labelled": 1.0, "key_like": max(-2.0, min(2.0, _like(text)))}
            candidates.append(Candidate(text, text, labelled.page, labelled.box, labelled.score, own | looks))
    if not scene.sheets:
        return candidates
    sheet = scene.sheets[0]
    like = _Likeness(sheet)
    for phrase in sheet.phrases:
        if TOP_ROWS <= phrase.row < len(sheet.rows) - FOOT_ROWS or like.of(phrase.index) < -1.7:
            continue
        chain = [phrase.index]
        while len(chain) <= MOST_LINES:
            features = _features(scene, sheet, like, chain, party)
            span = [sheet.phrases[i] for i in chain]
            joiner = "" if normalize.is_cjk("".join(one.text for one in span)) else " "
            whole = joiner.join(one.text for one in span)
            variants = list(dict.fromkeys((whole, _TAIL.sub("", whole), _HEAD.sub("", _TAIL.sub("", whole)))))
            for i, text in enumerate(variants):
                text = text.strip(" ,;:-|")
                if len(text) > 7:
                    more = {"stripped": float(i > 0), "strippable": float(i < len(variants) - 1)}
                    box, score = layout.around([one.box for one in span]), min(one.score for one in span)
                    candidates.append(Candidate(text, text, scene.pages[0], box, score, features | more))
            below = sheet.down[chain[-1]]
            if below is None or below in chain or like.of(below) < -2.5:
                break
            chain.append(below)
    return candidates


def _like(text: str) -> float:
    """How much one line looks like a part of an address; about -1 for any words, above 0 for a likely part."""
    streets = len(lexicon.STREET.findall(text))
    bare = lexicon.CALL.sub(" ", text)
    postcode = bool(lexicon.POSTCODE.search(bare) or lexicon.STATE_ZIP.search(bare))
    score = -1.1 + 1.1 * min(streets, 2) + 1.3 * postcode + 0.7 * ("," in text)
    score -= 1.5 * (bare != text)
    score -= 1.0 * bool(re.search(r"[A-Za-z]{3,}\s?:", text) and not re.match(r"\W*(no|address|addr)", text, re.I))
    score += 0.6 * bool(_NUMBERED.match(bare))
    score -= 2.5 * bool(lexicon.AWAY.search(text) or lexicon.GLUED.search(text))
    score -= 2.0 * bool(lexicon.AMOUNT.search(text) or dates.find(text) or lexicon.CLOCK.search(text))
    score -= 1.0 * bool(lexicon.REGISTER.search(text) and not postcode)
    score -= 1.0 * bool((lexicon.LEGAL.search(text) or lexicon.TRADE.search(text)) and not postcode and streets == 0)
    score += 0.5 * text.rstrip().endswith((",", "-"))
    return score - (sum(char.isalpha() for char in text) < 3)


class _Likeness:
    """`_like` for every phrase of a sheet, once each, with what its row and the lines below add."""

    def __init__(self, sheet: PageLayout) -> None:
        self.sheet = sheet
        self._known: dict[int, float] = {}

    def of(self, i: int) -> float:
        if i not in self._known:
            sheet, phrase = self.sheet, self.sheet.phrases[i]
            score = _like(phrase.text) - 1.5 * any(lexicon.AMOUNT.search(one.text) for one in sheet.rows[phrase.row])
            self._known[i] = score + 0.7 * self._leads_to_postcode(i)
        return self._known[i]

    def _leads_to_postcode(self, i: int) -> bool:
        """Whether the lines below lead to a line with a postcode, as place names do."""
        at: int | None = i
        for _ in range(3):
            text = self.sheet.phrases[at].text if at is not None else ""
            stops = (lexicon.AWAY, lexicon.DOCUMENT, lexicon.LEGAL, lexicon.TRADE, lexicon.CALL)
            if at is None or any(pattern.search(text) for pattern in stops):
                return False
            at = self.sheet.down[at]
            if at is not None:
                below = self.sheet.phrases[at].text
                if (lexicon.POSTCODE.search(below) or lexicon.STATE_ZIP.search(below)) and not lexicon.AWAY.search(
                    below
                ):
                    return True
        return False


def _goes_on(sheet: PageLayout, upper: int, lower: int) -> bool:
    """Whether a short line of letters is the town, state or country that ends the address: it stands under a postcode
    or a comma, or between the street and the telephone."""
    first, second = sheet.phrases[upper], sheet.phrases[lower]
    text = second.text
    codes = list(lexicon.POSTCODE.finditer(first.text))
    tail = first.text[codes[-1].end() :] if codes else ""
    comma = first.text.rstrip().endswith(",")
    open_end = comma or bool(codes and len([part for part in tail.split(",") if part.strip(" .")]) < 2)
    if not open_end and not codes and (below := sheet.down[lower]) is not None:
        after = sheet.phrases[below].text
        open_end = bool(lexicon.CALL.search(after) or lexicon.AWAY.search(after)) and bool(
            lexicon.STREET.search(first.text)
        )
    names = not any(char.isdigit() for char in text) and 1 <= len(lexicon.WORD.findall(text)) <= 7
    stops = [lexicon.AWAY, lexicon.DOCUMENT, lexicon.LEGAL, lexicon.GLUED, *([] if comma else [lexicon.TRADE])]
    near = second.y0 - first.y1 < sheet.height and 0.65 < second.height / first.height < 1.5
    return bool(
        open_end and names and near and ":" not in text and "*" not in text and not any(s.search(text) for s in stops)
    )


def _features(scene: PageContext, sheet: PageLayout, like: _Likeness, chain: list[int], party: str) -> dict[str, float]:
    span = [sheet.phrases[i] for i in chain]
    first, last = span[0], span[-1]
    scores = [like.of(i) for i in chain]
    joined = 0.0
    for upper, lower in itertools.pairwise(chain):
        if _goes_on(sheet, upper, lower):
            joined += 1.5 - min(0.0, like.of(lower) + 1.1)
    below, above = sheet.down[chain[-1]], sheet.up[chain[0]]
    text = " ".join(one.text for one in span)
    segment = next((one for one in sheet.rows[first.row] if one.x0 >= first.x0 - 1), first)
    parties = {"own": 0.0, "rival": 0.0}
    other = "@buyer" if party == "seller" else "@seller"
    for one in scene.near(0, segment, 0, len(segment.text)):
        if one.place in ("above", "header", "left", "before"):
            names = scene.index.owners[one.mark.label]
            for key, owner in (("own", "@" + party), ("rival", other)):
                if owner in names:
                    parties[key] = max(parties[key], one.strength)
    own, rival = section(scene, first, party)
    head = sheet.phrases[above].text if above is not None else ""
    features = {
        "lines_like": sum(scores) / 3,
        "worst_line": min(0.0, min(scores)),
        "goes_on": joined,
        "cut_short": float(below is not None and _goes_on(sheet, chain[-1], below)),
        "like_below": max(0.0, like.of(below) - 0.3) if below is not None else 0.0,
        "like_above": max(0.0, like.of(above) - 0.3) if above is not None else 0.0,
        "bracketed": float(first.text.startswith(("(", "[")) and first.text.endswith((")", "]"))),
        "starts": float(bool(_STARTS.match(first.text))),
        "postcode": float(bool(lexicon.POSTCODE.search(text) or lexicon.STATE_ZIP.search(text))),
        "ends_postcode": float(bool(lexicon.POSTCODE.search(last.text) or lexicon.STATE_ZIP.search(last.text))),
        "under_name": float(bool(lexicon.LEGAL.search(head) or lexicon.REGISTER.search(head))),
        "under_to": float(bool(_TO.search(head))),
        "section_own": own,
        "section_rival": rival,
        "party_own": parties["own"],
        "party_rival": parties["rival"],
        "away": float(any(lexicon.AWAY.search(one.text) for one in span)),
        "lines": min(len(chain), 5) / 5,
        "one_line": float(len(chain) == 1),
        "name_first": float(bool(lexicon.LEGAL.search(first.text)) and not lexicon.POSTCODE.search(first.text)),
        "unlike_lines": max(one.height for one in span) / min(one.height for one in span) - 1,
        "gap": max((b.y0 - a.y1 for a, b in itertools.pairwise(span)), default=0.0) / sheet.height,
    }
    for key, value in place(scene, 0, first).items():
        if key in ("down", "top", "large", "right"):
            features[key] = features[f"{key}@{party}"] = value
    return features
