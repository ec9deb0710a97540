"""Pictures with known print, made here, read by the real models with no network."""

import socket
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from models.ocr.text import recognizer as reader_module
from models.ocr.text.lines import Line, join
from models.ocr.text.recognizer import Reader, model_files, read, reader
from pipeline.core.errors import ModelError
from pipeline.core.geometry import Affine, Box
from pipeline.core.types import Document, Page, Word

DOCUMENT = Document("0" * 64, "a.png", Path("a.png"), "box", datetime(2026, 1, 1), 1)


@pytest.fixture(scope="module")
def ocr() -> Reader:
    return Reader()


def font(size: int, *patterns: str) -> ImageFont.FreeTypeFont:
    """A font of this machine that has the letters; Pillow's own has neither umlauts nor Chinese."""
    for folder in ("/usr/share/fonts", "/usr/local/share/fonts", "/System/Library/Fonts", "/Library/Fonts"):
        for pattern in patterns or ("DejaVuSans.ttf", "LiberationSans-Regular.ttf", "Arial*.ttf", "Lato-Regular.ttf"):
            for path in sorted(Path(folder).rglob(pattern)):
                return ImageFont.truetype(str(path), size)
    pytest.skip("no font with these letters on this machine")


CHINESE = ("*SansCJK*Regular*", "*CJK*.ttc", "*wqy*.ttc", "*PingFang*", "uming.ttc")


def picture(*lines: str, size: int = 32, width: int = 900, fonts: tuple[str, ...] = ()) -> np.ndarray:
    image = Image.new("RGB", (width, 40 + len(lines) * 2 * size), "white")
    draw = ImageDraw.Draw(image)
    for number, line in enumerate(lines):
        draw.text((30, 20 + number * 2 * size), line, "black", font(size, *fonts))
    return np.asarray(image)


def page(image: np.ndarray | None, words: tuple[Word, ...] = (), fault: str | None = None) -> Page:
    height, width = (100, 100) if image is None else image.shape[:2]
    return Page(1, width, height, Affine(), image, words, fault)


def texts(lines: list[Line]) -> list[str]:
    return [line.text for line in lines]


def test_print_comes_back_as_text_with_its_place(ocr: Reader) -> None:
    lines = ocr.read(picture("Invoice No. 20260117", "Total 1,234.50 EUR"))
    assert texts(lines) == ["Invoice No. 20260117", "Total 1,234.50 EUR"]
    assert all(line.score > 0.9 for line in lines)
    first, second = (line.box for line in lines)
    assert abs(first.x - 30) < 12
    assert first.y < 40 < first.bottom
    assert second.y < 104 < second.bottom


@pytest.mark.parametrize("text", ["Rechnung für Müller", "Straße 5, 80331 München", "Größe Ölwechsel Übertrag"])
def test_german_is_read_with_its_umlauts(ocr: Reader, text: str) -> None:
    assert texts(ocr.read(picture(text))) == [text]


def test_chinese_is_read(ocr: Reader) -> None:
    assert texts(ocr.read(picture("设备巡检表", "合计金额1280.00", fonts=CHINESE))) == [
        "设备巡检表",
        "合计金额1280.00",
    ]


def test_colours_are_not_swapped(ocr: Reader) -> None:
    image = np.full((80, 500, 3), (255, 255, 255), np.uint8)
    drawn = Image.fromarray(image)
    ImageDraw.Draw(drawn).text((20, 20), "Order 4711", (200, 0, 0), font(32))
    assert texts(ocr.read(np.asarray(drawn))) == ["Order 4711"]


@pytest.mark.parametrize("shape", [(1, 1), (1, 900), (900, 1), (2, 3), (20, 20), (3, 3000), (500, 400)])
@pytest.mark.parametrize("shade", [0, 255])
def test_pages_without_print_give_nothing_whatever_their_shape(ocr: Reader, shape: tuple[int, int], shade: int) -> None:
    assert ocr.read(np.full((*shape, 3), shade, np.uint8)) == []


def test_noise_gives_next_to_nothing(ocr: Reader) -> None:
    lines = ocr.read(np.random.default_rng(3).integers(0, 255, (120, 400, 3), np.uint8))
    assert len("".join(line.text for line in lines)) <= 5


@pytest.mark.parametrize("turned", [False, True])
def test_a_strip_of_twenty_to_one_is_read_whole_and_each_line_once(ocr: Reader, turned: bool) -> None:
    if turned:
        image = Image.new("RGB", (4800, 240), "white")
        wanted = [f"column {number}" for number in range(6)]
        for number, word in enumerate(wanted):
            ImageDraw.Draw(image).text((100 + 790 * number, 90), word, "black", font(32))
    else:
        image = Image.new("RGB", (240, 4800), "white")
        wanted = [f"item {number:03} 9.90" for number in range(24)]
        for number, word in enumerate(wanted):
            ImageDraw.Draw(image).text((16, 60 + 198 * number), word, "black", font(24))
    assert sorted(texts(ocr.read(np.asarray(image)))) == wanted


def test_a_text_layer_is_taken_instead_of_the_picture() -> None:
    words = (Word("Total", Box(10, 10, 40, 12)), Word("12.50", Box(54, 10, 40, 12)), Word("EUR", Box(300, 10, 30, 12)))
    lines = read(page(picture("something else"), words))
    assert texts(lines) == ["Total 12.50", "EUR"]
    assert lines[0] == Line("Total 12.50", Box(10, 10, 84, 12), 1.0)


def test_words_join_only_with_their_neighbours_on_the_line() -> None:
    def word(text: str, x: float, y: float, height: float = 12) -> Word:
        return Word(text, Box(x, y, 8.0 * len(text), height))

    words = [
        word("A", 0, 0),
        word("B", 12, 0),
        word("C", 24, 20),
        word("BIG", 40, 0, 40),
        word("合", 0, 60),
        word("计", 8, 60),
    ]
    assert texts(join(words)) == ["A B", "C", "BIG", "合计"]
    assert join([Word("  ", Box(0, 0, 9, 9))]) == []


def test_a_page_with_a_fault_has_no_lines() -> None:
    assert read(page(None, fault="broken")) == []


def test_nothing_is_asked_of_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the reader opened a socket")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    reader.cache_clear()
    assert texts(read(page(picture("Delivery note 77")))) == ["Delivery note 77"]


def test_models_that_are_missing_or_broken_are_told_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(reader_module, "find_spec", lambda _: None)
    with pytest.raises(ModelError, match="pip install rapidocr"):
        model_files()
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    monkeypatch.setattr(reader_module, "model_files", lambda: (broken, broken))
    with pytest.raises(ModelError, match=r"broken\.onnx cannot be loaded"):
        Reader()


def test_real_receipts_are_read(ocr: Reader, shared: Path) -> None:
    image = np.asarray(Image.open(shared / "sroie" / "img" / "323.jpg").convert("RGB"))
    told = " ".join(texts(ocr.read(image)))
    for words in ("R&C VENTURE SDN BHD", "19-04-2018", "9.50"):
        assert words in told
