"""Files made to cost a decoder all memory or time: each is refused with a reason, within the limits."""

import json
import os
from pathlib import Path

import pytest

from pipeline.core.errors import DocumentError
from pipeline.engine import PageSpec
from pipeline.preprocessing.page_loader import PageLoader, PagePreparation, PageTask, warm_up
from pipeline.schema.settings import Limits
from pipeline.system.process_pool import ProcessPool
from tests.stress import bombs
from tests.stress.hostile import bombs_told, run
from tests.support.builders import file_document
from tests.support.handmade import Leaf, pdf, written

PLAN = PagePreparation(("orient", "deskew"), None, PageSpec(max_side_px=1600))
MEMORY_MIB, SECONDS = 512, 3
HELD_MIB = 400  # what a worker holds before its first task, at most
REFUSALS = {"broken", "too_slow", "too_much_memory", "too_many_pixels", "crashed"}


def resident_mib(pool: ProcessPool) -> int:
    """Of the largest worker."""
    most = 0
    for pid in pool.pids:
        try:
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        except OSError:
            continue
        most = max([most, *(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmRSS"))])
    return most


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs /proc")
def test_every_bomb_is_refused_within_the_limits_and_the_next_document_is_read(tmp_path: Path) -> None:
    waiting, found, most = bombs.write(tmp_path), {}, 0
    written(300, 300).save(tmp_path / "good.png")
    with ProcessPool(2, seconds=SECONDS, memory_mib=MEMORY_MIB, start=warm_up) as pool:
        pages = PageLoader(pool, Limits())
        asked: set[PageTask] = set()
        while waiting or asked:
            while waiting and pages.room:
                asked.add(pages.ask(file_document(waiting.pop()), PLAN, 1, 2))
            for ticket in pages.ready(0.05):
                asked.remove(ticket)
                try:
                    found[ticket.document.name] = "read" if ticket.result().pages[0].fault is None else "fault"
                except DocumentError as error:
                    found[ticket.document.name] = error.code if error.detail else "no reason"
            most = max(most, resident_mib(pool))
        good = pages.ask(file_document(tmp_path / "good.png"), PLAN, 1, 1)
        assert pages.ready(60) == [good]
        assert good.result().pages[0].fault is None
    assert found.keys() == bombs.BOMBS.keys()
    surprises = {
        name: code
        for name, code in found.items()
        if code not in REFUSALS and not (code == "read" and name in bombs.READ_ALL_THE_SAME)
    }
    assert not surprises
    assert most < HELD_MIB + MEMORY_MIB


def test_a_run_goes_on_after_bombs_and_says_what_to_do(tmp_path: Path, start_s: float) -> None:
    inbox = tmp_path / "root" / "inbox" / "invoices"
    inbox.mkdir(parents=True)
    names = ["jpx_beyond_32_bits.pdf", "jbig2_beyond_32_bits.pdf", "heic_huge.heic", "patterns_in_patterns.pdf"]
    for name in names:
        (inbox / name).write_bytes(bombs.BOMBS[name]())
    written(300, 300).save(inbox / "good.png")
    run_report = run(tmp_path / "root", "echo", f"limits: {{seconds: {max(3, 2 * start_s):.1f}, memory_mib: 1024}}\n")
    assert run_report["faults"] == []
    ends = {each["name"]: each for each in run_report["documents"]}
    assert ends.pop("good.png")["error"] is None
    assert {name: end["error"]["code"] for name, end in ends.items()} == {
        "jpx_beyond_32_bits.pdf": "broken",
        "jbig2_beyond_32_bits.pdf": "broken",
        "heic_huge.heic": "too_many_pixels",
        "patterns_in_patterns.pdf": "too_slow",
    }
    assert not [row.fault for row in bombs_told(tmp_path / "root", {"documents": list(ends.values())}) if row.fault]
    for name in names:
        assert json.loads((tmp_path / "root/failed/invoices" / f"{name}.error.json").read_bytes())["what_to_do"]


def test_a_page_whose_picture_is_lost_is_not_taken_for_blank(tmp_path: Path) -> None:
    """PDFium draws nothing in its place, and says nothing."""
    fine = bombs.with_image(bytes([255]) * 64, b"/Width 8/Height 8/BitsPerComponent 8/ColorSpace/DeviceGray")
    (tmp_path / "white.pdf").write_bytes(fine)
    (tmp_path / "lost.pdf").write_bytes(bombs.jpx_pdf(0x7FFF_FFFF, 0x7FFF_FFFF))
    pdf(tmp_path / "empty.pdf", [Leaf()])
    with ProcessPool(1, seconds=60, memory_mib=1024, start=warm_up) as pool:
        pages = PageLoader(pool, Limits())
        for name in ("white.pdf", "empty.pdf"):
            ticket = pages.ask(file_document(tmp_path / name), PLAN, 1, 1)
            assert pages.ready(60) == [ticket]
            assert ticket.result().pages[0].fault is None
        ticket = pages.ask(file_document(tmp_path / "lost.pdf"), PLAN, 1, 1)
        assert pages.ready(60) == [ticket]
        with pytest.raises(DocumentError, match="a picture on it cannot be decoded"):
            ticket.result()
