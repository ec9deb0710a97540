"""Windows of pages out of real worker processes: bounded, in any order, and a fault costs what it must and no more."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.core.errors import DocumentError, ModelError
from pipeline.core.geometry import Region
from pipeline.core.types import Document
from pipeline.engine import PageSpec
from pipeline.preprocessing.page_loader import PageLoader, PagePreparation, PageTask, Window, warm_up
from pipeline.schema.settings import Limits
from pipeline.system.process_pool import ProcessPool
from tests.support.builders import file_document
from tests.support.handmade import Leaf, pdf, text, written
from tests.support.worker_tasks import without_heif

PLAIN = PagePreparation((), None, PageSpec())


@pytest.fixture(scope="module")
def pages() -> Iterator[PageLoader]:
    with ProcessPool(2, seconds=60, memory_mib=1024, start=warm_up) as pool:
        yield PageLoader(pool, Limits())


def answered(pages: PageLoader, ticket: PageTask) -> Window:
    """The window of the one ticket that is out."""
    assert pages.ready(60) == [ticket]
    return ticket.result()


def test_a_document_in_windows(pages: PageLoader, tmp_path: Path) -> None:
    leaves = [Leaf(text(f"Amount due on page {n}")) for n in range(1, 24)]
    paper = file_document(pdf(tmp_path / "a.pdf", leaves))
    waiting, seen, most = list(range(1, 24, 4)), {}, 0
    out = 0
    while waiting or out:
        while waiting and pages.room:
            pages.ask(paper, PLAIN, waiting.pop(0), 4)
            out += 1
        most = max(most, out)
        for ticket in pages.ready(60):
            out -= 1
            window = ticket.result()
            assert window.total_pages == 23
            assert ticket.document is paper
            assert [page.number for page in window.pages] == list(range(ticket.first, min(ticket.first + 4, 24)))
            seen.update({page.number: page for page in window.pages})
    assert most == 4  # two for each of two workers
    assert sorted(seen) == list(range(1, 24))
    for number, page in seen.items():
        assert [word.text for word in page.words] == ["Amount", "due", "on", "page", str(number)]
        assert page.image is not None
        assert page.image.shape == (556, 833, 3)


def test_the_plan_is_carried_out(pages: PageLoader, tmp_path: Path) -> None:
    image = written(700, 1000).rotate(90, expand=True)
    image.save(tmp_path / "a.png")
    plan = PagePreparation(("orient", "deskew"), Region(0, 0, 1, 0.5), PageSpec(max_side_px=350))
    window = answered(pages, pages.ask(file_document(tmp_path / "a.png"), plan, 1, 4))
    (page,) = window.pages
    assert (page.width, page.height) == (350, 250)
    assert page.to_source.point(0, 0) == pytest.approx((0, 700), abs=1)
    assert page.to_source.point(350, 250) == pytest.approx((500, 0), abs=1)


def test_a_text_layer_needs_no_picture(pages: PageLoader, tmp_path: Path) -> None:
    paper = file_document(pdf(tmp_path / "a.pdf", [Leaf(text("Amount due 120.00")), Leaf("")]))
    plan = PagePreparation(("orient",), None, PageSpec(max_side_px=400, text_layer=True))
    printed, blank = answered(pages, pages.ask(paper, plan, 1, 4)).pages
    assert printed.image is None
    assert (printed.width, printed.height) == (400, 267)
    assert printed.words[0].box.x == pytest.approx(40 * 400 / 300, abs=1)
    assert blank.image is not None


def test_beyond_the_last_page_is_nothing(pages: PageLoader, tmp_path: Path) -> None:
    paper = file_document(pdf(tmp_path / "a.pdf", [Leaf()]))
    assert answered(pages, pages.ask(paper, PLAIN, 5, 4)).pages == ()


def test_one_bad_page_is_a_fault_and_all_bad_is_an_error(pages: PageLoader, tmp_path: Path) -> None:
    good = pdf(tmp_path / "a.pdf", [Leaf(text("Amount due 120.00"))] * 3).read_bytes()
    (tmp_path / "a.pdf").write_bytes(good.replace(b"12 0 obj\n<< /Type /Page ", b"12 0 obj\n<< /Type /Pale "))
    first, second, third = answered(pages, pages.ask(file_document(tmp_path / "a.pdf"), PLAIN, 1, 4)).pages
    assert (first.fault, third.fault) == (None, None)
    assert second.fault is not None
    assert second.image is None
    (tmp_path / "b.pdf").write_bytes(good.replace(b" obj\n<< /Type /Page ", b" obj\n<< /Type /Pale "))
    ticket = pages.ask(file_document(tmp_path / "b.pdf"), PLAIN, 1, 4)
    with pytest.raises(DocumentError) as caught:
        answered(pages, ticket)
    assert caught.value.code == "broken"


def test_each_error_keeps_its_code(pages: PageLoader, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "words").write_text("just words")
    Image.new("1", (20_000, 20_000)).save(tmp_path / "huge.png", compress_level=1)
    pdf(tmp_path / "locked.pdf", [Leaf()], password="tiger")
    codes = {}
    for name in ("empty", "words", "huge.png", "locked.pdf"):
        ticket = pages.ask(file_document(tmp_path / name), PLAIN, 1, 4)
        with pytest.raises(DocumentError) as caught:
            answered(pages, ticket)
        codes[name] = caught.value.code
    assert list(codes.values()) == ["empty", "unsupported", "too_many_pixels", "encrypted"]


def heavy(path: Path) -> Document:
    """A small file that takes seconds and more than a hundred megabytes to decode."""
    Image.new("L", (12_000, 12_000), 200).save(path, compress_level=1)
    return file_document(path)


def test_what_a_decoder_may_not_do(tmp_path: Path) -> None:
    paper = heavy(tmp_path / "a.png")
    codes = []
    for seconds, memory_mib, kill in ((0.1, 4096, False), (60, 100, False), (60, 4096, True)):
        with ProcessPool(1, seconds=seconds, memory_mib=memory_mib, start=warm_up) as pool:
            pages = PageLoader(pool, Limits())
            if kill:  # the worker must have started, so that the kill meets it at the heavy page
                pages.ask(file_document(pdf(tmp_path / "first.pdf", [Leaf()])), PLAIN, 1, 1)
                assert len(pages.ready(60)) == 1
            ticket = pages.ask(paper, PLAIN, 1, 1)
            if kill:
                assert not pages.ready(0.4)
                os.kill(pool.pids[0], signal.SIGKILL)
            assert pages.ready(60) == [ticket]
            with pytest.raises(DocumentError) as caught:
                ticket.result()
            codes.append(caught.value.code)
            pages.ask(file_document(pdf(tmp_path / "b.pdf", [Leaf()])), PLAIN, 1, 1)  # the next document fares well
            (after,) = pages.ready(60)
            assert seconds < 1 or after.result().total_pages == 1
    assert codes == ["too_slow", "too_much_memory", "crashed"]


def test_a_missing_package_is_no_fault_of_the_file(tmp_path: Path) -> None:
    from pillow_heif import from_pillow

    from_pillow(Image.new("RGB", (40, 30))).save(tmp_path / "a.heic")
    with ProcessPool(1, seconds=60, memory_mib=4096, start=without_heif) as pool:
        pages = PageLoader(pool, Limits())
        ticket = pages.ask(file_document(tmp_path / "a.heic"), PLAIN, 1, 1)
        assert pages.ready(60) == [ticket]
        with pytest.raises(ModelError, match="the package pillow_heif is missing"):
            ticket.result()


def resident_mib(pid: int) -> float:
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return float(fields["VmRSS"].split()[0]) / 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_memory_does_not_grow_with_the_pages(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (60, 45), np.uint8)
    scan = Image.fromarray(noise).resize((827, 1169))
    scan.save(tmp_path / "a.pdf", save_all=True, append_images=[scan] * 119, resolution=100, quality=30)
    paper = file_document(tmp_path / "a.pdf")
    with ProcessPool(2, seconds=60, memory_mib=1024, start=warm_up) as pool:
        pages, most, done, first, out = PageLoader(pool, Limits()), [0.0, 0.0], 0, 1, 0
        while done < 120:
            while first <= 120 and pages.room:
                pages.ask(paper, PLAIN, first, 4)
                first, out = first + 4, out + 1
            for ticket in pages.ready(60):
                done += len(ticket.result().pages)
            half = int(done > 60)
            most[half] = max(most[half], sum(map(resident_mib, (os.getpid(), *pool.pids))))
    assert most[1] < most[0] + 100
    assert most[1] < 1536
