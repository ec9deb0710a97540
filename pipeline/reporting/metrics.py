"""Write Prometheus metrics to a file for the textfile collector of node_exporter.

Counters count from the start of this process. Gauges are those of its last batch, NaN if nothing was measured.
"""

import logging
import os
from collections.abc import Callable, Mapping
from math import nan
from pathlib import Path

from pipeline.reporting.run_report import OUTCOMES, ReportEntry, RunReport

log = logging.getLogger("scanmill")


class Metrics:
    """A listener that writes `path` after every batch. `waiting` returns the number of files by inbox.

    A failure to write is logged and does not stop the run.
    """

    def __init__(self, path: Path, waiting: Callable[[], Mapping[str, int]]) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge

        self._path, self._waiting = path, waiting
        self._registry = registry = CollectorRegistry()
        last = "scanmill_last_batch_"
        self._documents = Counter(
            "scanmill_documents", "Finished documents by outcome.", ["outcome"], registry=registry
        )
        self._records = Counter("scanmill_records", "Records by job and status.", ["job", "status"], registry=registry)
        self._pages = Counter("scanmill_pages", "Pages of finished documents.", registry=registry)
        self._seconds = Counter("scanmill_batch_seconds", "Time spent in batches.", registry=registry)
        self._inbox = Gauge("scanmill_inbox_files", "Waiting files.", ["inbox"], registry=registry)
        self._faults = Gauge(f"{last}faults", "Faults in the last run report.", registry=registry)
        self._ended = Gauge(f"{last}ended_timestamp_seconds", "End of the last batch.", registry=registry)
        self._pace = Gauge(f"{last}pages_per_second", "Mean speed of the last batch.", registry=registry)
        self._gpu = Gauge(
            f"{last}gpu_busy_ratio",
            "Share of time in which the GPU was busy, as reported by the driver.",
            registry=registry,
        )

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
        self._gpu.set(busy["mean"] if busy else nan)  # no GPU is not the same as an idle GPU
        for inbox, files in self._waiting().items():
            self._inbox.labels(inbox).set(files)
        self._write()

    def _write(self) -> None:
        """Write atomically and readable for all users, whatever the umask: the collector is another user."""
        from prometheus_client import generate_latest

        partial = self._path.with_name(f"{self._path.name}.{os.getpid()}")  # no .prom suffix: the collector ignores it
        try:
            try:
                partial.write_bytes(generate_latest(self._registry))
                partial.chmod(0o644)
                partial.replace(self._path)
            finally:
                partial.unlink(missing_ok=True)
        except OSError as error:
            log.warning("%s: the metrics cannot be written (%s)", self._path, error.strerror or error)
