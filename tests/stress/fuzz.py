"""Coverage-guided nonsense for everything that reads what strangers wrote: only the errors it promises, and no hang.

    python tests/stress/fuzz.py TARGET… --seconds 60        (TARGET: all, or some of those below)

job       a job file                       answer    what an engine wrote, down to typed values
rule      a rule, and working it out       record    a JSON record
date, time, money, measure, label          printed values in noisy text
sniff     the first bytes of a file

Needs atheris (pip install '.[fuzz]'), which has wheels for Linux on Python 3.11 to 3.13. Inputs that break something
are kept in --keep.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import date
from decimal import Decimal
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT))

SLOW_S = 5  # an input that takes longer is a hang
MEMORY_MIB = 2048
JOB = b"""
name: fuzz
fields:
  number: {type: text, kind: id, required: true, pattern: "[A-Z]-[0-9]+"}
  day: {type: date, order: DMY}
  at: {type: time}
  total: {type: money, minimum: 0}
  weight: {type: measure, unit: kg}
  paid: {type: yesno}
  colour: {type: choice, options: {red: [rouge], blue: [bleu]}}
  supplier: {type: group, fields: {name: {type: text}}}
  remarks: {type: markdown}
  marks: {type: list, fields: {box: {type: box}, word: {type: text}}}
  lines: {type: list, fields: {count: {type: integer}, amount: {type: money}}}
rules:
  - sum(lines.amount) == total
"""


class Target(NamedTuple):
    read: Callable[[bytes], object]
    seeds: tuple[bytes, ...]


@cache
def _job() -> Any:
    from pipeline.schema.job import parse_job

    return parse_job(JOB, "fuzz.yaml")


def job(data: bytes) -> None:
    from pipeline.core.errors import ConfigError
    from pipeline.schema.job import parse_job

    try:
        parse_job(data, "fuzz.yaml").digest  # noqa: B018
    except ConfigError as error:
        _must(bool(error.faults), "a ConfigError without faults")


def rule(data: bytes) -> None:
    from pipeline.schema import rules

    fields = _job().fields
    try:
        parsed = rules.parse(_text(data))
    except rules.RuleError:
        return
    if list(rules.faults(parsed, fields)):
        return
    rows = [{"count": 2, "amount": Decimal("1.50")}, {"count": None, "amount": None}]
    full = {"number": "A-1", "day": date(2024, 2, 29), "total": Decimal("3.00"), "weight": Decimal(2), "paid": True}
    for data_ in ({**full, "at": None, "colour": "red", "supplier": {"name": "Ulm"}, "lines": rows}, {}):
        rules.check(parsed, fields, {**dict.fromkeys(fields), **data_}, Decimal("0.02"), date(2024, 6, 15))


def answer(data: bytes) -> None:
    from pipeline.engine import Reply
    from pipeline.extraction import reply_parser

    fields = _job().fields
    request: Any = None
    for finish in ("stop", "length"):
        reply = Reply(request, _text(data), finish)
        rows = reply_parser.ListShape("lines", frozenset({"count", "amount"}))
        for found in (reply_parser.parse(reply, fields, rows), reply_parser.parse(reply, fields)):
            for name, field in fields.items():
                field.coerce(found.values.get(name))
        reply_parser.parse_text(reply, "number")


def record(data: bytes) -> None:
    from pipeline.storage.record_json import from_json, to_json

    try:
        read = from_json(_text(data), _job())
    except (ValueError, KeyError, TypeError):
        return
    to_json(read)


def dates(data: bytes) -> None:
    from pipeline.parsing import dates as values

    text = _text(data)
    for order in ("DMY", "MDY", "YMD"):
        _within(values.find(text, order), text)
        values.read(text, order)


def times(data: bytes) -> None:
    from pipeline.parsing import times as values

    text = _text(data)
    _within(values.find(text), text)
    values.read(text)


def money(data: bytes) -> None:
    from pipeline.parsing import numbers as values

    text = _text(data)
    _within(values.find(text), text)
    for decimal in (None, ",", "."):
        found = values.read(text, decimal)
        _must(found is None or found.is_finite(), f"{found} is no amount")
    values.currency(text)
    _job().fields["total"].coerce(text)


def measure(data: bytes) -> None:
    from pipeline.parsing import quantities as values

    text = _text(data)
    for unit in ("kg", "degC", "mm"):
        _within(values.find(text, unit), text)
        values.read(text, unit)
    _job().fields["weight"].coerce(text)


def label(data: bytes) -> None:
    from pipeline.parsing import label_match as values

    text, _, wanted = _text(data).partition("|")
    found = values.find(text, wanted or "Invoice number")
    _within([found] if found else [], text)


def sniff(data: bytes) -> None:
    from pipeline.core.errors import DocumentError
    from pipeline.preprocessing.document_reader import sniff as kind_of

    path = _file()
    path.write_bytes(data)
    try:
        kind_of(path)
    except DocumentError as error:
        _must(error.code in ("empty", "unsupported"), error.code)


@cache
def _file() -> Path:
    return Path(tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)) / "dropped"


def _within(found: list[Any], text: str) -> None:
    for each in found:
        _must(0 <= each.start <= each.end <= len(text) and 0 <= each.quality <= 1, f"{each} is not in the text")


def _must(holds: bool, words: str) -> None:
    if not holds:
        raise AssertionError(words)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


TARGETS: Mapping[str, Target] = {
    "job": Target(
        job, (JOB, b"fields: {a: {type: text, labels: &x [*x, 007]}}", b"fields: [[[[{? [a] : !!python/x b}")
    ),
    "rule": Target(
        rule, (b"sum(lines.amount) == total", b"0 <= total / 0 and not paid", b"day < today or at > '12:30'")
    ),
    "answer": Target(
        answer,
        (
            b'```json\n{"number": "A-1", "total": 12.50, "lines": [{"count": 1, "amount": "1.234,56"}]}\n```',
            b'{"number": {"a": [1e999]}, "day": "31.02.2024", "weight": "12 lb", "paid": "x", "at": 99999999999',
            b'[{"count": 3}, {"amount": -0}]',
            b'{"marks": [{"box": [1, 2, 30.5, 1e9], "word": null}, {"box": {"bbox_2d": [3, 2, 1]}}], "remarks": "| a"}',
        ),
    ),
    "record": Target(
        record,
        (
            b'{"document": {"id": "0", "name": "a", "inbox": "b", "received_at": "2024-01-01T00:00:00+00:00", '
            b'"size_bytes": 1}, "job": "fuzz", "page": null, "day": "2024-01-01", "status": "ok", "processed_at": null,'
            b' "pages": [1], "data": {"total": 1.5}, "fields": {}, "issues": [], "error": null, "provenance": {}}',
        ),
    ),
    "date": Target(
        dates, ("31. Januar 2024, 2024年6月15日, 03/04/25".encode(), b"Mon 1st of MARCH '99", b"2024-02-30T")
    ),
    "time": Target(times, (b"12:30:59 pm", "下午3时5分".encode(), b"24.00 Uhr")),
    "money": Target(money, ("1.234,56 € (12.50) CHF 1'234.- １２３".encode(), b"12.50-", b"9" * 60 + b",1")),
    "measure": Target(measure, ("12,5 kg ± 3 %".encode(), b"1e400 lb", b"-40 degF 3 ft 2 in", b"2**999 kg")),
    "label": Target(label, (b"1nvoice  nurnber: 12|Invoice number", "发票号码 8|发票号码".encode())),
    "sniff": Target(sniff, (b"%PDF-1.4", b"\x00\x00\x00\x18ftypheic", b"RIFF....WEBP", b"II*\x00")),
}


def fuzz(name: str, seconds: int, keep: Path) -> tuple[int, str]:
    """Runs one target in a process of its own; its exit code, and the last lines it said."""
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(TARGETS[name].seeds):
            Path(corpus, str(number)).write_bytes(seed)
        options = [f"-max_total_time={seconds}", f"-timeout={SLOW_S}", f"-rss_limit_mb={MEMORY_MIB}", "-max_len=2048"]
        words = [sys.executable, __file__, "--inside", name, *options, f"-artifact_prefix={keep}/{name}-", corpus]
        done = subprocess.run(words, capture_output=True, text=True, errors="replace", check=False, cwd=PROJECT)
    return done.returncode, done.stdout[-1500:] + done.stderr[-3000:]


def _inside(name: str, options: list[str]) -> None:
    """The process that fuzzes: it never returns."""
    import atheris

    with atheris.instrument_imports(include=["pipeline"]):
        import pipeline.extraction.reply_parser
        import pipeline.preprocessing.document_reader
        import pipeline.schema.job
        import pipeline.storage.record_json  # noqa: F401
    atheris.Setup([sys.argv[0], *options], TARGETS[name].read)
    atheris.Fuzz()


def main() -> None:
    if sys.argv[1:2] == ["--inside"]:
        _inside(sys.argv[2], sys.argv[3:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", nargs="+", choices=["all", *TARGETS])
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir(), "scanmill-fuzz"))
    given = parser.parse_args()
    if find_spec("atheris") is None:
        raise SystemExit("atheris is not installed here: pip install '.[fuzz]'")
    given.keep.mkdir(exist_ok=True)
    broken = 0
    chosen = list(TARGETS) if "all" in given.target else given.target
    for name in chosen:
        begun = time.monotonic()
        code, said = fuzz(name, given.seconds, given.keep)
        runs = next((line.split()[1] for line in reversed(said.splitlines()) if line.startswith("Done ")), "?")
        print(
            f"{'BROKEN' if code else 'ok':8}{name:10}{runs:>10} inputs in {time.monotonic() - begun:.0f} s", flush=True
        )
        if code:
            broken += 1
            print(said)
    print(f"{len(chosen)} targets, {broken} violations")
    raise SystemExit(1 if broken else 0)


if __name__ == "__main__":
    main()
