"""Codes: numbers of invoices and contracts, telephone numbers, e-mail and web addresses."""

import re
from collections import Counter

from models.ocr.candidates.context import Candidate, PageContext, context, place
from models.ocr.candidates.label_index import Wanted
from models.ocr.text.layout import Span
from pipeline.parsing import dates, times
from pipeline.parsing.normalize import narrow

_CODE = re.compile(
    r"(?<![\w@.])(?:[A-Za-z]{1,4}[ ])?[A-Za-z0-9][A-Za-z0-9]*(?:[-/._#]+[A-Za-z0-9]+)*(?:\s?/\s?[0-9]{1,4}(?![0-9/.]))?"
)
_PHONE = re.compile(
    r"(?<![0-9A-Za-z.,/-])\+?(?:\([0-9+ ]{1,6}\)\s?)?[0-9]"
    r"(?:[0-9]|[ .\-/–]{1,3}(?=[0-9(])|\([0-9]+\)\s?){5,18}(?![0-9])"
)
_EMAIL = re.compile(r"[A-Za-z0-9._%+-]+\s?@\s?[A-Za-z0-9.-]+\.[A-Za-z]{2,12}")
_URL = re.compile(
    r"(?:https?://|www\.)[^\s,;]+|(?<![@\w.])[a-z0-9-]+(?:\.[a-z0-9-]+)*\.(?:com|org|net|de|fr|cn|my|co|eu|io)(?:/[^\s,;]*)?(?![\w@])",
    re.I,
)
_AMOUNT = re.compile(r"[0-9][.,][0-9]{2}(?![0-9])")


def ids(scene: PageContext, wanted: Wanted) -> list[Candidate]:
    """Every token with a digit, with its labels; dates, times, amounts and telephone numbers speak against it."""
    pattern = wanted.field.value_pattern
    found: list[tuple[int, Span, int, int]] = []
    for number, sheet in enumerate(scene.sheets):
        for span in sheet.segments:
            plain = narrow(span.text)
            if not any(char.isdigit() for char in plain):
                continue
            for match in _CODE.finditer(plain):
                start, end = match.span()
                head = re.match(r"[A-Za-z]{1,4} ", match[0])
                for begin in {start, start + (len(head[0]) if head else 0)}:
                    if begin != start or not head or (head[0].isupper() and pattern is None):
                        for stop in {end, begin + len(re.sub(r"\s?/\s?[0-9]{1,4}$", "", plain[begin:end]))}:
                            if any(char.isdigit() for char in plain[begin:stop]) and stop - begin > 1:
                                found.append((number, span, begin, stop))
    counts = Counter(narrow(span.text)[start:end].replace(" ", "") for _, span, start, end in found)
    candidates = []
    for number, span, start, end in found:
        plain = narrow(span.text)
        printed = plain[start:end]
        inside = any(mark.start <= start and end <= mark.end for mark in scene.in_segment(number, span))
        features = context(scene, wanted, scene.near(number, span, start, end)) | place(scene, number, span)
        digits = sum(char.isdigit() for char in printed)
        following = plain[end : end + 3]
        features |= {
            "digits": min(digits, 10) / 10,
            "short": float(len(printed) < 4),
            "long": float(len(printed) > 20),
            "letters": float(any(char.isalpha() for char in printed)),
            "word": float(sum(char.isalpha() for char in printed) > 3 * digits),
            "blank": float(" " in printed),
            "slash": float(" / " in printed),
            "cut": float(bool(re.match(r"\s?/\s?[0-9]|[A-Za-z0-9]", following))),
            "date": float(any(one.start < end and start < one.end for one in dates.find(plain))),
            "time": float(any(one.start < end and start < one.end for one in times.find(plain) if one.quality > 0.5)),
            "amount": float(bool(_AMOUNT.search(printed)) or following[:1] == "%"),
            "phone": float(
                bool(re.search(r"\b(tel|fax|phone|ph|hp|mobile)\b", plain[max(0, start - 12) : start], re.I))
            ),
            "label": float(inside),
            "repeated": min(counts[printed.replace(" ", "")] - 1, 3) / 3,
            "alone": float(end - start >= len(plain.strip())),
            "pattern": float(bool(pattern and re.fullmatch(pattern, printed))),
            "no_pattern": float(bool(pattern and not re.fullmatch(pattern, printed.replace(" ", "")))),
        }
        text = span.text[start:end]
        candidates.append(Candidate(text, text, scene.pages[number], span.part(start, end), span.score, features))
    return candidates


def phones(scene: PageContext, wanted: Wanted) -> list[Candidate]:
    """Everything that looks like a telephone number, with its labels."""
    candidates: list[Candidate] = []
    for number, sheet in enumerate(scene.sheets):
        for span in sheet.segments:
            plain = narrow(span.text)
            for match in _PHONE.finditer(plain):
                start, end = match.span()
                digits = sum(char.isdigit() for char in match[0])
                if not 6 <= digits <= 15:
                    continue
                features = context(scene, wanted, scene.near(number, span, start, end)) | place(scene, number, span)
                features |= {
                    "digits": digits / 10,
                    "usual": float(8 <= digits <= 13),
                    "grouped": float(bool(re.search(r"[0-9)][ .\-][0-9]", match[0]))),
                    "bracket": float("(" in match[0]),
                    "plus": float("+" in match[0]),
                    "date": float(any(one.start < end and start < one.end for one in dates.find(plain))),
                    "amount": float(bool(_AMOUNT.search(match[0]))),
                    "first": float(not candidates),
                    "alone": float(end - start >= len(plain.strip()) - 1),
                    "letters_before": float(bool(re.search(r"[A-Za-z]{3}", plain[:start]))),
                }
                text = span.text[start:end].strip()
                candidates.append(
                    Candidate(text, text, scene.pages[number], span.part(start, end), span.score, features)
                )
    return candidates


def emails(scene: PageContext, wanted: Wanted) -> list[Candidate]:
    """Everything with an @ between names."""
    return _matches(scene, wanted, _EMAIL)


def urls(scene: PageContext, wanted: Wanted) -> list[Candidate]:
    """Everything that looks like a web address."""
    return _matches(scene, wanted, _URL)


def _matches(scene: PageContext, wanted: Wanted, pattern: re.Pattern[str]) -> list[Candidate]:
    candidates: list[Candidate] = []
    for number, sheet in enumerate(scene.sheets):
        for span in sheet.segments:
            for match in pattern.finditer(narrow(span.text)):
                start, end = match.span()
                features = context(scene, wanted, scene.near(number, span, start, end)) | place(scene, number, span)
                features |= {"shape": 1.0, "first": float(not candidates)}
                text = span.text[start:end].replace(" ", "")
                candidates.append(
                    Candidate(text, text, scene.pages[number], span.part(start, end), span.score, features)
                )
    return candidates
