"""The labelled sets as the CPU engine meets them: a document, its labelled fields, their candidates, what is right."""

import hashlib
import json
import pickle
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from models.ocr import answer  # noqa: E402
from models.ocr.candidates import label_index  # noqa: E402
from models.ocr.candidates.context import Candidate, PageContext  # noqa: E402
from models.ocr.candidates.label_index import Wanted  # noqa: E402
from models.ocr.text import layout, lines, recognizer  # noqa: E402
from pipeline.engine import PageSpec  # noqa: E402
from pipeline.evaluation import comparison  # noqa: E402
from pipeline.parsing import normalize  # noqa: E402
from pipeline.preprocessing import document_reader, image, orientation, page_loader, pdf, pdf_text, preprocess  # noqa: E402
from pipeline.schema.fields import Field, LineReader, TextField  # noqa: E402
from pipeline.schema.job import load_jobs  # noqa: E402

SETS = ("sroie", "wildreceipt", "zugferd", "vrdu_adbuy", "xfund_zh", "kleister_nda", "funsd_keys", "xfund_zh_keys")
PAGES = 10  # of a document; longer ones are asked in windows
BOXES = set("□☐☑☒✓√口")


@dataclass
class Asked:
    """One field of one document: what was wanted, proposed, and right (None: not labelled; empty: there is none)."""

    wanted: Wanted
    candidates: list[Candidate]
    right: set[Any] | None
    tolerance: Decimal = Decimal(0)

    def agrees(self, key: Any) -> bool:
        """Whether a value (as `_key` gives it) is right by the rules that jobs are scored with."""
        expected = comparison.Expected(self.wanted.path, self.wanted.field, tuple(self.right or ()), "")
        return comparison.judge(expected, key, self.wanted.path, self.tolerance).verdict == "exact"


@dataclass
class Read:
    """One document of a set, asked for all its fields."""

    set_name: str
    file: str
    half: str
    fields: dict[str, Asked]
    label: Mapping[str, Any]


def lines_of(path: Path, kept_in: Path) -> list[tuple[int, int, list[lines.Line]]]:
    """Width, height and lines of the first pages, from the cache where the code of today read them before."""
    kept = kept_in / _readers_digest() / path.parent.parent.name / f"{path.name}.pkl"
    if kept.exists():
        found: list[tuple[int, int, list[lines.Line]]] = pickle.loads(kept.read_bytes())
        return found[:PAGES]
    plan = page_loader.PagePreparation(("orient", "deskew"), None, PageSpec(max_side_px=2600, text_layer=True))
    _, read = page_loader.read((path,), document_reader.Bounds(), plan, 1, PAGES)
    found = [(page.width, page.height, recognizer.read(page)) for page in read]
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_bytes(pickle.dumps(found))
    return found


@cache
def _readers_digest() -> str:
    """Of all code between a file and its lines: what another code read is read again."""
    parts = (document_reader, page_loader, pdf, image, preprocess, recognizer, lines, pdf_text, orientation)
    return hashlib.sha256(b"".join(Path(str(part.__file__)).read_bytes() for part in parts)).hexdigest()[:12]


def documents_of(data: Path, kept_in: Path, names: Sequence[str]) -> Iterator[Read]:
    """Every labelled document of the sets, with the candidates of every labelled field."""
    jobs = {job.name: job for job in load_jobs(ROOT / "benchmarks" / "accuracy")}
    for name in names:
        folder = data / name.removesuffix("_keys")
        rows = [json.loads(line) for line in (folder / "labels.jsonl").read_text("utf-8").splitlines()]
        rows.sort(key=lambda row: hashlib.sha1(row["file"].encode()).hexdigest())
        for number, row in enumerate(rows):
            fields: Mapping[str, Field] = _keys(row) if name.endswith("_keys") else jobs[name].fields
            wanteds = [label_index.wanted(path, field) for path, field in fields.items()]
            read = lines_of(folder / "img" / row["file"], kept_in)
            sheets = [(i, layout.page_layout(lines, wide, deep)) for i, (wide, deep, lines) in enumerate(read, 1)]
            scene = PageContext(sheets, label_index.index([(w.path, w.concept, w.labels) for w in wanteds]))
            tolerance = jobs[name].tolerance if name in jobs else Decimal(0)
            asked = {
                w.path: Asked(w, answer.candidates(scene, w), _right(w.field, w.path, row), tolerance) for w in wanteds
            }
            yield Read(name, row["file"], ("dev", "kept")[number % 2], asked, row["fields"])


def _keys(row: Mapping[str, Any]) -> dict[str, Field]:
    """A text field for every key of a form that has one plain answer."""
    plain = {
        key: value
        for key, value in row["fields"].items()
        if isinstance(value, str)
        and value
        and len(normalize.squash(key)) >= 2
        and len(key) <= 40
        and not BOXES & set(key)
    }
    return {key: TextField(labels=(key,)) for key in plain}


def _right(field: Field, path: str, row: Mapping[str, Any]) -> set[Any] | None:
    """All values that are right, in the form of `_key`; None where no label can be read."""
    if path not in row["fields"]:
        return None
    given = row["fields"][path]
    printed = [str(one) for one in (given if isinstance(given, list) else [given]) if one not in (None, "")]
    normal = row.get("norm", {}).get(path)
    if not printed:
        return set()
    reader = field.locator
    if isinstance(reader, LineReader):
        if normal is not None and field.finder == "money":
            return {key_of(field, normal)}
        found = {one.value for text in printed for one in reader.read(text)}
        return {key_of(field, one) for one in found} | ({normal} if normal else set()) or None
    return {key_of(field, text) for text in printed}


def key_of(field: Field, value: Any) -> Any:
    """A value as it is compared: numbers as numbers, telephone numbers by their digits, words by letters and digits."""
    return KEYS.get(field.finder or "", normalize.squash)(str(value))


KEYS: Mapping[str, Callable[[str], Any]] = {  # by the finder that a field names
    "money": Decimal,
    "date": str,
    "time": str,
    "phone": lambda text: "".join(char for char in text if char.isdigit()),
}
