"""Numbers for Prometheus: a text file that node_exporter's textfile collector picks up.

The counters count since this process began; the gauges are those of its last batch.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from pipeline import disk
from pipeline.account import OUTCOMES, Account, Entry


class Metrics:
    """A listener that writes `path` after every batch. `waiting` gives the files in each inbox."""

    def __init__(self, path: Path, waiting: Callable[[], Mapping[str, int]]) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge

        self._path, self._waiting = path, waiting
        self._registry = here = CollectorRegistry()
        last = "scanmill_last_batch_"
        self._documents = Counter("scanmill_documents", "By what became of them.", ["outcome"], registry=here)
        self._records = Counter("scanmill_records", "By job and status.", ["job", "status"], registry=here)
        self._pages = Counter("scanmill_pages", "Of the documents that ended.", registry=here)
        self._seconds = Counter("scanmill_batch_seconds", "Spent in batches.", registry=here)
        self._inbox = Gauge("scanmill_inbox_files", "That wait.", ["inbox"], registry=here)
        self._faults = Gauge(f"{last}faults", "Sentences about what does not add up.", registry=here)
        self._ended = Gauge(f"{last}ended_timestamp_seconds", "When it ended.", registry=here)
        self._pace = Gauge(f"{last}pages_per_second", "Its mean pace.", registry=here)
        self._gpu = Gauge(f"{last}gpu_busy_ratio", "Share of its time, as the driver says.", registry=here)

    def note(self, text: str) -> None:
        pass

    def started(self, waiting: int) -> None:
        pass

    def answering(self, document_id: str, text: str) -> None:
        pass

    def finished(self, entry: Entry) -> None:
        pass

    def ended(self, account: Account) -> None:
        """Raises StorageError where the file cannot be written."""
        from prometheus_client import write_to_textfile

        counts = account.summary()
        for outcome in OUTCOMES:
            self._documents.labels(outcome).inc(counts[outcome.replace(" ", "_")])
        for job, statuses in account.by_job().items():
            for status, count in statuses.items():
                self._records.labels(job, status).inc(count)
        self._pages.inc(counts["pages"])
        self._seconds.inc(counts["seconds"])
        self._faults.set(len(account.faults()))
        self._ended.set(account.finished_at.timestamp() if account.finished_at else 0)
        self._pace.set(counts["pages_per_second"])
        if busy := account.gpu_busy():
            self._gpu.set(busy["mean"])
        for inbox, files in self._waiting().items():
            self._inbox.labels(inbox).set(files)
        with disk.storing(self._path):
            write_to_textfile(str(self._path), self._registry)
