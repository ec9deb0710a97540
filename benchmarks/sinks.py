"""What a run pays for comparing its tables with the records, and what a flush and a rebuild cost, for every sink.

    python benchmarks/sinks.py [--records N]

Times are seconds of this process's CPU; the records are invented, 1,000 a day.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipeline.core.types import Document, Record
from pipeline.schema.fields import MoneyField
from pipeline.schema.job import load_jobs
from pipeline.storage.job_table import JobTable
from pipeline.storage.record_files import record_file
from pipeline.storage.record_json import to_json
from pipeline.system import filesystem

A_DAY, FIRST = 1000, datetime(2026, 1, 1, tzinfo=UTC)
(JOB,) = load_jobs(Path(__file__).resolve().parents[1] / "jobs", ["receipt"])


def made(root: Path, count: int) -> list[Record]:
    """Writes the records; returns the last."""
    filesystem.folder(root, "records", JOB.name)
    for number in range(count):
        document = Document(sha256(b"%d" % number).hexdigest(), f"{number}.jpg", Path(), JOB.inbox, FIRST, 1)
        day = (FIRST + timedelta(days=number // A_DAY)).date()
        data = {name: Decimal(number) if isinstance(field, MoneyField) else None for name, field in JOB.fields.items()}
        told = {"engine": "echo", "run": "r", "job_digest": JOB.digest}
        record = Record(document, JOB.name, None, (1,), data, {}, {}, (), None, told, day=day, processed_at=FIRST)
        (root / record_file(JOB.name, document.id, None)).write_text(to_json(record), "utf-8")
    return [replace(record)]


def seconds(work: Callable[[], object]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=10_000)
    count = parser.parse_args().records
    with tempfile.TemporaryDirectory() as place:
        last = made(root := Path(place), count)
        for name in ("parquet", "duckdb") if find_spec("duckdb") else ("parquet",):
            table = JobTable(root, JOB, sinks=(name,))
            rebuilt, compared = seconds(table.rebuild), seconds(table.ensure)
            table.add(last)
            flushed = seconds(table.flush)
            found = f"compared {compared:.2f} s, one flushed {flushed:.3f} s, all made again {rebuilt:.1f} s"
            print(f"{name:8} {count:,} records: {found}")


if __name__ == "__main__":
    main()
