"""What a field is called on paper: the job's labels, the field's own name, and the shipped list of concepts
(labels.yaml).

All labels, of the job and of every concept, are found on a line in one pass: the line's words are looked up in an
index by the letters alone, whole words first, then with one letter missing on either side (which catches most OCR
slips).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, NamedTuple

from pipeline.parsing import label_match, normalize

if TYPE_CHECKING:
    from pipeline.schema.fields import Field

MAX_LABEL = 40  # squeezed letters; longer keys of forms are cut there
ROLES = {
    "from": ["from", "start", "begin", "begins", "since", "von", "ab", "du", "desde", "dari", "起", "开始", "起始"],
    "to": ["to", "end", "ends", "until", "till", "bis", "au", "hasta", "hingga", "止", "结束", "终止"],
}


@dataclass(frozen=True, slots=True)
class Concept:
    """One thing that documents name: `names` are squashed field names, `labels` what is printed."""

    name: str
    names: frozenset[str]
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    """One field as a finder sees it.

    `labels` are all that the field may be called, those of the job first (`given` of them); `concept` the shipped
    concept that its name means, "" where none does; `role` "from" or "to" for the ends of a period.
    """

    path: str
    field: "Field"
    kind: str
    concept: str
    role: str
    labels: tuple[str, ...]
    given: int

    @property
    def owners(self) -> set[str]:
        """The owners in the index whose labels are this field's."""
        return {self.path, "@" + self.concept}

    def preference(self, label: str) -> float:
        """1 for the first label that the job gives, less for the later ones, 0 for a label that only the list has."""
        squashed = normalize.squash(label)
        given = [normalize.squash(one) for one in self.labels[: self.given]]
        return 1 - 0.5 * given.index(squashed) / len(given) if squashed in given else 0.0


class Hit(NamedTuple):
    """A label on a line: `text[start:end]`, which label it is (its number in the index), and how well it reads."""

    start: int
    end: int
    label: int
    quality: float
    letters: int


@lru_cache(maxsize=1)
def concepts() -> Mapping[str, Concept]:
    """The shipped concepts by name."""
    import yaml

    read = yaml.safe_load(files("models.ocr.candidates").joinpath("labels.yaml").read_text("utf-8"))
    return {
        name: Concept(name, frozenset(map(normalize.squash, entry["names"])), tuple(dict.fromkeys(entry["labels"])))
        for name, entry in read.items()
    }


def _tokens(path: str) -> list[str]:
    """The words of a field's path: `supplier.vatId` gives supplier, vat, id."""
    return re.findall(r"[a-z0-9à-ÿ]+|[^\W_a-zà-ÿ0-9]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", path).casefold())


_SHORT = {"num": "number", "no": "number", "nr": "number", "addr": "address", "amt": "amount", "qty": "quantity"}


def concept_of(path: str) -> str:
    """The concept that a field's path means: the whole path, else the leaf, else its longest run of words; "" for
    none."""
    tokens = [_SHORT.get(token, token) for token in _tokens(path)]
    leaf = [_SHORT.get(token, token) for token in _tokens(path.rsplit(".", 1)[-1])]
    by_name = {name: concept.name for concept in reversed(list(concepts().values())) for name in concept.names}
    by_name |= {normalize.squash(concept.name): concept.name for concept in concepts().values()}
    runs = [(i, j) for i in range(len(leaf)) for j in range(i + 1, len(leaf) + 1)]
    runs.sort(key=lambda run: (run[0] - run[1], -run[1]))
    for words in (tokens, leaf, *(leaf[i:j] for i, j in runs)):
        if (name := "".join(words)) in by_name:
            return by_name[name]
    return ""


def _money_concept(given: Sequence[str]) -> str:
    """What an amount is, by the labels that a job gives it, where its name says nothing: the sums of a bill hang on
    it."""
    squashed = {normalize.squash(label) for label in given}
    kinds = ("total", "subtotal", "tax", "due", "tips")
    return next(
        (name for name in kinds if squashed & {normalize.squash(label) for label in concepts()[name].labels}), ""
    )


def wanted(path: str, field: "Field") -> Wanted:
    """What to look for, for a leaf of a job."""
    concept = concept_of(path) or (_money_concept(field.labels) if field.finder == "money" else "")
    tokens = _tokens(path.rsplit(".", 1)[-1])
    role = next((role for role, words in ROLES.items() if any(token in words for token in tokens)), "")
    shipped = concepts()[concept].labels if concept else ()
    own = " ".join(tokens)
    plain = () if concept and own in shipped else (own,)
    return Wanted(
        path, field, kind_of(field, concept), concept, role,
        tuple(dict.fromkeys((*field.labels, *plain, *shipped))), len(field.labels),
    )  # fmt: skip


_OF_TEXT = {  # the finder of a plain text whose name means a concept
    "seller": "company", "buyer": "company", "advertiser": "company", "agency": "company", "address": "address",
    "phone": "phone", "fax": "phone", "invoice_number": "id", "contract_number": "id", "other_number": "id",
    "tax_number": "id", "email": "email",
    "website": "url",
}  # fmt: skip


def kind_of(field: "Field", concept: str) -> str:
    """The family of candidates that serves a field: the one that it names, or what its concept says more exactly."""
    match field.finder:
        case "text":
            return _OF_TEXT.get(concept, "text")
        case "choice" if concept == "currency":
            return "currency"
    return field.finder or ""


class Index:
    """Labels by number, to be found on lines. `labels[i]` is the label, `owners[i]` what it names (paths and
    concepts)."""

    def __init__(self, named: Sequence[tuple[str, str]]) -> None:
        """`named` are (label, owner) pairs; a label may have several owners."""
        owners: dict[str, list[str]] = {}
        self.labels: list[str] = []
        by_letters: dict[str, int] = {}
        for label, owner in named:
            letters = label_match.squeeze(normalize.narrow(label)).shape[:MAX_LABEL]
            if not letters:
                continue
            if letters not in by_letters:
                by_letters[letters] = len(self.labels)
                self.labels.append(label)
            kept = owners.setdefault(letters, [])
            if owner not in kept:
                kept.append(owner)
        self.owners = [tuple(owners[letters]) for letters in by_letters]
        self._exact = by_letters
        self._near: dict[str, list[str]] = {}
        for letters, number in by_letters.items():
            if label_match.allowed_errors(self.labels[number]):
                for short in _one_less(letters):
                    self._near.setdefault(short, []).append(letters)
        self._longest = max(map(len, by_letters), default=0)

    def hits(self, text: str) -> list[Hit]:
        """Every label on a line, the longest first; of two that overlap in part, both."""
        plain = normalize.narrow(text)
        given = label_match.squeeze(plain)
        places, free = given.places, normalize.is_cjk(plain)
        # a border of words, or anywhere in Chinese
        starts = [
            i
            for i in range(len(places))
            if label_match.is_word_boundary(plain, places[i]) or (free and plain[places[i]] >= "⺀")
        ]
        ends = [
            i + 1
            for i in range(len(places))
            if label_match.is_word_boundary(plain, places[i] + 1) or (free and plain[places[i]] >= "⺀")
        ]
        found: dict[tuple[int, int], Hit] = {}
        for i in starts:
            for j in ends:
                if not i < j <= i + self._longest + 1:
                    continue
                for number, quality in self._lookup(given.shape[i:j], given.folded[i:j]):
                    hit = Hit(places[i], places[j - 1] + 1, number, quality, j - i)
                    found[i, number] = max(found.get((i, number), hit), hit, key=lambda h: h.quality)
        return sorted(found.values(), key=lambda hit: -hit.letters)

    def _lookup(self, shape: str, folded: str) -> Iterator[tuple[int, float]]:
        if (number := self._exact.get(shape)) is not None:
            same = label_match.squeeze(normalize.narrow(self.labels[number])).folded == folded
            yield number, 1.0 if same else 0.95
            return
        if len(shape) < 4 or not shape.isascii():
            return
        seen = {letters for short in (shape, *_one_less(shape)) for letters in self._near.get(short, ())}
        if seen:
            from rapidfuzz.distance import Levenshtein

            for letters in seen:
                number = self._exact[letters]
                allowed = label_match.allowed_errors(self.labels[number])
                if (wrong := Levenshtein.distance(shape, letters, score_cutoff=allowed)) <= allowed:
                    yield number, 0.95 - wrong / len(letters)


def _one_less(letters: str) -> set[str]:
    return {letters[:i] + letters[i + 1 :] for i in range(len(letters))}


def index(named: Sequence[tuple[str, str, tuple[str, ...]]]) -> Index:
    """One index of the fields' own labels (path, concept, labels; owner: the path) and of all concepts (owner:
    "@name")."""
    pairs = [(label, path) for path, _, own in named for label in own]
    pairs += [(label, "@" + concept.name) for concept in concepts().values() for label in concept.labels]
    return Index(pairs)


def party_of(wanted: Wanted) -> str:
    """Whose name or address a field asks for: "buyer", "seller" (also where nothing says), or "named" by its own
    label."""
    if wanted.concept in ("buyer", "seller"):
        return wanted.concept
    for part in wanted.path.split("."):
        for size in (2, 1):
            tokens = _tokens(part)
            for i in range(len(tokens) - size + 1):
                squeezed = "".join(tokens[i : i + size])
                for party in ("buyer", "seller"):
                    if squeezed in concepts()[party].names:
                        return party
    if wanted.kind == "address" or not wanted.given:
        return "seller"
    return "named"
