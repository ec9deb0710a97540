"""A long night: many small documents, and one very long one. Memory, processes, handles and cost stay level.

    python tests/stress/soak.py [--documents 20000] [--pages 3000]

Memory is the proportional set size (PSS) of the run and its decoders. Over the small documents the mean of the last
tenth may be 5% above that of the tenth after the first thousand, without the libraries' files: what of those is counted
depends on who else on the machine has them open. The CPU time of a document, as benchmarks/pipeline.py measures it, may
be 15% above: it differed by -11% to +5% between three runs of the same code.
"""

import argparse
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from statistics import fmean

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.pipeline import Clock, photographs, settled
from models.scripted.echo import EchoEngine
from pipeline.reporting.run_report import ReportEntry
from pipeline.runs.session import Session
from pipeline.schema.job import parse_job
from pipeline.schema.settings import load_settings
from tests.stress.verdict import exit_code, held

NOTE = parse_job(b"name: note\npreprocess: []\nfields:\n  number: {type: text}\n  total: {type: money}\n")
GOOD = '{"number": "A-1", "total": "12.50"}'
GROWTH, DEARER = 1.05, 1.15  # of memory, and of the CPU time of a document
WARM_UP = 1000  # documents
OWN, ALL = ("Pss_Anon:", "Pss_Shmem:"), ("Pss:",)  # lines of /proc/PID/smaps_rollup
LOOKS = 200  # at the memory, over all documents
ROOF_MIB = 1536
EVERY_S = 0.1
Found = tuple[str, list[str]]


class Watch(Clock):
    """A listener that notes the CPU time at every document and, now and then, memory and handles."""

    def __init__(self, every: int) -> None:
        super().__init__()
        self.every = every
        self.mib: list[float] = []
        self.handles: list[int] = []

    def finished(self, entry: ReportEntry) -> None:
        super().finished(entry)
        if len(self.all) % self.every == 0:
            self.mib.append(_pss_mib(OWN))
            self.handles.append(len(os.listdir("/proc/self/fd")))


def _family() -> list[int]:
    """This process and all that descend from it."""
    parents = {}
    for name in os.listdir("/proc"):
        with suppress(OSError, ValueError):
            parents[int(name)] = int(Path("/proc", name, "stat").read_text().rpartition(")")[2].split()[1])
    family = [os.getpid()]
    for member in family:
        family += [pid for pid, parent in parents.items() if parent == member]
    return family


def _pss_mib(kinds: tuple[str, ...]) -> float:
    kib = 0
    for pid in _family():
        with suppress(OSError):  # it just ended
            lines = Path("/proc", str(pid), "smaps_rollup").read_text().splitlines()
            kib += sum(int(line.split()[1]) for line in lines if line.startswith(kinds))
    return kib / 1024


@contextmanager
def _peak() -> Iterator[list[float]]:
    """The highest memory while inside, in MiB, as the only element."""
    highest, over = [0.0], threading.Event()

    def look() -> None:
        while not over.wait(EVERY_S):
            highest[0] = max(highest[0], _pss_mib(ALL))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield highest
    finally:
        over.set()
        thread.join()


def small_documents(place: Path, documents: int, loose: bool) -> Found:
    settled(place / "small", NOTE.inbox, documents, (64, 64))
    settings = load_settings(None, root=place / "small", settle_s=0)
    before, handles = set(_family()), len(os.listdir("/proc/self/fd"))
    clock, begun = Watch(max(1, documents // LOOKS)), time.monotonic()
    with clock.watching(), Session(settings, [NOTE], EchoEngine({"*": GOOD}), "echo", clock) as session:
        run_report = session.batch()
        left = session.waiting()
    seconds = time.monotonic() - begun
    faults = [*run_report.faults()]
    if run_report.summary()["done"] != documents or left:
        faults.append(f"not all were done: {run_report.summary()}, {left} wait")
    start = min(WARM_UP, documents // 4)
    part = (documents - start) // 10
    mib, held_open = clock.mib[start // clock.every :], clock.handles[start // clock.every :]
    tenth = max(1, len(mib) // 10)
    early, late = fmean(mib[:tenth]), fmean(mib[-tenth:])
    (first, _), (last, _) = clock.cost(start, start + part), clock.cost(documents - 1 - part, documents - 1)
    if late > GROWTH * early and not loose:
        faults.append(f"memory grew from {early:.1f} to {late:.1f} MiB")
    if last > DEARER * first and not loose:
        faults.append(f"a document cost {first:.2f} ms at first and {last:.2f} ms at last")
    if max(held_open[-tenth:]) > max(held_open[:tenth]):
        faults.append(f"open handles grew from {held_open[:tenth]} to {held_open[-tenth:]}")
    faults += _leaks(before, handles)
    said = f"{documents} documents in {seconds:.0f} s: memory {early:.1f} → {late:.1f} MiB ({late / early - 1:+.1%}), "
    return said + f"{first:.2f} → {last:.2f} ms each ({last / first - 1:+.1%}), {max(held_open)} handles", faults


def long_document(place: Path, pages: int) -> Found:
    root = place / "long"
    (root / "inbox" / NOTE.inbox).mkdir(parents=True)
    _long_pdf(root / "inbox" / NOTE.inbox / "long.pdf", pages)
    settings = load_settings(None, root=root, settle_s=0)
    before, handles = set(_family()), len(os.listdir("/proc/self/fd"))
    begun = time.monotonic()
    with _peak() as highest, Session(settings, [NOTE], EchoEngine({"*": GOOD}), "echo", Watch(1)) as session:
        counts = session.batch().summary()
    seconds = time.monotonic() - begun
    faults = [] if counts["pages"] == pages and counts["done"] == 1 else [f"not all was read: {counts}"]
    if highest[0] > ROOF_MIB:
        faults.append(f"took {highest[0]:.0f} MiB; at most {ROOF_MIB} are allowed")
    return f"{pages} pages in {seconds:.0f} s: at most {highest[0]:.0f} MiB", faults + _leaks(before, handles)


def _leaks(before: set[int], handles: int) -> list[str]:
    left, open_now = set(_family()) - before, len(os.listdir("/proc/self/fd"))
    found = [f"processes were left: {left}"] if left else []
    return found + ([f"{open_now - handles} handles were left open"] if open_now > handles else [])


def _long_pdf(path: Path, pages: int) -> None:
    """A4 pages that all show one scan of a million pixels, each under a number of its own."""
    (scan,) = photographs(path.parent, 1)
    data, draw = scan.read_bytes(), b"q 595 0 0 842 0 0 cm /Scan Do Q"
    scan.unlink()
    kids = b" ".join(b"%d 0 R" % (5 + number) for number in range(pages))
    picture = b"/Type /XObject /Subtype /Image /Width 1000 /Height 1000 /ColorSpace /DeviceRGB /BitsPerComponent 8"
    bodies = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Count %d /Kids [%s] /MediaBox [0 0 595 842] >>" % (pages, kids),
        b"<< %s /Filter /DCTDecode /Length %d >>\nstream\n%s\nendstream" % (picture, len(data), data),
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(draw), draw),
        *[b"<< /Type /Page /Parent 2 0 R /Resources << /XObject << /Scan 3 0 R >> >> /Contents 4 0 R >>"] * pages,
    ]
    out, places = bytearray(b"%PDF-1.4\n"), []
    for number, body in enumerate(bodies, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(bodies) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    out += b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(bodies) + 1, start)
    path.write_bytes(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=20_000)
    parser.add_argument("--pages", type=int, default=3000)
    parser.add_argument("--loose", action="store_true", help="no word on growth: of few documents it says nothing")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        trials: list[tuple[str, Callable[[], Found]]] = [
            ("long_document", partial(long_document, Path(name), given.pages)),
            ("small_documents", partial(small_documents, Path(name), given.documents, given.loose)),
        ]
        raise SystemExit(exit_code(held(trials)))


if __name__ == "__main__":
    main()
