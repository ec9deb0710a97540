"""Numbers for Prometheus: a text file that node_exporter's textfile collector picks up.

The counters count since this process began; the gauges are those of its last batch, NaN where nothing was measured.
"""

import logging
import os
from collections.abc import Callable, Mapping
from math import nan
from pathlib import Path

from pipeline.reporting.run_report import OUTCOMES, ReportEntry, RunReport

log = logging.getLogger("scanmill")


class Metrics:
    """A listener that writes `path` after every batch. `waiting` gives the files in each inbox.

    Where it cannot be written that is told, and the work goes on.
    """

    def __init__(self, path: Path, waiting: Callable[[], Mapping[str, int]]) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge

        self._path, self._waiting = path, waiting
        self._registry = here = CollectorRegistry()
        last = "scanmill_last_batch_"
        self._documents = Counter("scanmill_documents", "Documents by what became of them.", ["outcome"], registry=here)
        self._records = Counter("scanmill_records", "Records by job and status.", ["job", "status"], registry=here)
        self._pages = Counter("scanmill_pages", "Pages of the documents that ended.", registry=here)
        self._seconds = Counter("scanmill_batch_seconds", "Time spent in batches.", registry=here)
        self._inbox = Gauge("scanmill_inbox_files", "Files that wait.", ["inbox"], registry=here)
        self._faults = Gauge(f"{last}faults", "What does not add up in the last account.", registry=here)
        self._ended = Gauge(f"{last}ended_timestamp_seconds", "When the last batch ended.", registry=here)
        self._pace = Gauge(f"{last}pages_per_second", "Mean pace of the last batch.", registry=here)
        self._gpu = Gauge(f"{last}gpu_busy_ratio", "Share of its time, as the driver says.", registry=here)

    def note(self, text: str) -> None:
        pass

    def started(self, waiting: int) -> None:
        pass

    def answering(self, document_id: str, text: str) -> None:
        pass

    def finished(self, entry: ReportEntry) -> None:
        pass

    def ended(self, run_report: RunReport) -> None:
        counts = run_report.summary()
        for outcome in OUTCOMES:
            self._documents.labels(outcome).inc(counts[outcome.replace(" ", "_")])
        for job, statuses in run_report.by_job().items():
            for status, count in statuses.items():
                self._records.labels(job, status).inc(count)
        self._pages.inc(counts["pages"])
        self._seconds.inc(counts["seconds"])
        self._faults.set(len(run_report.faults()))
        self._ended.set(run_report.finished_at.timestamp() if run_report.finished_at else 0)
        self._pace.set(counts["pages_per_second"])
        busy = run_report.gpu_busy()
        self._gpu.set(busy["mean"] if busy else nan)  # no card is not the same as an idle card
        for inbox, files in self._waiting().items():
            self._inbox.labels(inbox).set(files)
        self._write()

    def _write(self) -> None:
        """Whole or not at all, and for every reader: the collector is another user, whatever the run's umask."""
        from prometheus_client import generate_latest

        fresh = self._path.with_name(f"{self._path.name}.{os.getpid()}")  # no .prom: the collector takes no notice
        try:
            try:
                fresh.write_bytes(generate_latest(self._registry))
                fresh.chmod(0o644)
                fresh.replace(self._path)
            finally:
                fresh.unlink(missing_ok=True)
        except OSError as error:
            log.warning("%s: the metrics cannot be written there (%s)", self._path, error.strerror or error)
