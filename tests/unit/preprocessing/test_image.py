"""Every kind of picture becomes upright RGB pages in source pixels."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from pipeline.engine import PageSpec
from pipeline.preprocessing import document_reader
from tests.support.handmade import dot, dotted, picture, read, refused


def ramp() -> NDArray[np.uint8]:
    """A grey ramp, dark on the left."""
    return np.repeat(np.linspace(0, 255, 64).astype(np.uint8)[None, :], 48, axis=0)


def lab(grey: NDArray[np.uint8]) -> Image.Image:
    rgb = Image.fromarray(grey).convert("RGB")
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    changed = ImageCms.applyTransform(rgb, to_lab)
    assert changed is not None
    return changed


def clear(mode: str) -> Image.Image:
    """The ramp as black ink of growing transparency."""
    ink = Image.new("LA" if mode == "LA" else "RGBA", (64, 48), 0)
    ink.putalpha(Image.fromarray(255 - ramp()))
    return ink


def palette() -> Image.Image:
    """The ramp in 64 colours, of which the last (white) is black and transparent."""
    indexed = Image.fromarray(ramp() // 4).convert("P")
    indexed.frombytes((ramp() // 4).tobytes())
    indexed.putpalette([value for level in range(63) for value in (level * 4,) * 3] + [0, 0, 0])
    indexed.info["transparency"] = 63
    return indexed


GREY = ramp()
MODES = {
    "png L": (Image.fromarray(GREY), "png"),
    "png 16 bit": (Image.fromarray(GREY.astype(np.uint16) * 257), "png"),
    "tiff 16 bit": (Image.fromarray(GREY.astype(np.uint16) * 257), "tiff"),
    "tiff 12 bit in 16": (Image.fromarray((GREY.astype(np.uint16) * 16.06).astype(np.uint16)), "tiff"),
    "tiff 16 bit big endian": (Image.fromarray((GREY.astype(np.uint16) * 257).astype(">u2")), "tiff"),
    "tiff 32 bit": (Image.fromarray(GREY.astype(np.int32) * 257), "tiff"),
    "tiff float 0..1": (Image.fromarray((GREY / 255).astype(np.float32)), "tiff"),
    "tiff float 0..255": (Image.fromarray(GREY.astype(np.float32)), "tiff"),
    "tiff float wide": (Image.fromarray((GREY * 40.0 - 700).astype(np.float32)), "tiff"),
    "tiff CMYK": (Image.fromarray(GREY).convert("CMYK"), "tiff"),
    "jpeg CMYK": (Image.fromarray(GREY).convert("CMYK"), "jpeg"),
    "tiff LAB": (lab(GREY), "tiff"),
    "png LA": (clear("LA"), "png"),
    "png RGBA": (clear("RGBA"), "png"),
    "webp RGBA": (clear("RGBA"), "webp"),
    "tiff RGBA": (clear("RGBA"), "tiff"),
    "png P with transparency": (palette(), "png"),
}


@pytest.mark.parametrize("name", MODES)
def test_every_mode_becomes_rgb(tmp_path: Path, name: str) -> None:
    image, kind = MODES[name]
    path = tmp_path / "a"
    image.save(path, kind, **({"lossless": True} if kind == "webp" else {}))
    (sheet,) = read(path)
    difference = np.abs(picture(sheet).astype(int) - GREY[:, :, None])
    assert difference.max() <= 14, name  # JPEG and palettes are not exact; a wrong mode is off by a hundred
    assert difference.mean() <= 3, name


def test_white_is_zero_in_a_16_bit_tiff(tmp_path: Path) -> None:
    path = tmp_path / "a.tiff"
    Image.fromarray((255 - GREY).astype(np.uint16) * 257).save(path, tiffinfo={262: 0})
    content = path.read_bytes()
    (sheet,) = read(path)
    with Image.open(path) as again:
        assert again.tag_v2[262] == 0, content[:8]  # type: ignore[attr-defined]
    assert np.abs(picture(sheet).astype(int) - GREY[:, :, None]).max() <= 2


def test_one_bit(tmp_path: Path) -> None:
    path = tmp_path / "a.tiff"
    Image.fromarray(GREY).convert("1", dither=Image.Dither.NONE).save(path, compression="group4")
    (sheet,) = read(path)
    assert set(np.unique(picture(sheet))) == {0, 255}
    assert picture(sheet)[0, 0, 0] == 0


@pytest.mark.parametrize("kind", ["jpeg", "png", "tiff", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_the_picture(tmp_path: Path, kind: str, orientation: int) -> None:
    upright = Image.fromarray(dotted(400, 240, [(40, 30)], 12))
    stored = {
        1: upright,
        2: upright.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        3: upright.transpose(Image.Transpose.ROTATE_180),
        4: upright.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        5: upright.transpose(Image.Transpose.TRANSPOSE),
        6: upright.transpose(Image.Transpose.ROTATE_90),
        7: upright.transpose(Image.Transpose.TRANSVERSE),
        8: upright.transpose(Image.Transpose.ROTATE_270),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "a"
    stored.save(path, kind, exif=exif)
    for need in (lambda wide, high: (wide, high), PageSpec(max_side_px=100).fit):
        (sheet,) = read(path, need=need)
        scale = sheet.to_source.a
        found = dot(picture(sheet), (40 / scale, 30 / scale), 30 / scale)
        assert sheet.to_source.point(*found) == pytest.approx((40, 30), abs=1)


def test_heic(tmp_path: Path) -> None:
    import pillow_heif

    path = tmp_path / "a.heic"
    pillow_heif.from_pillow(Image.fromarray(dotted(400, 240, [(40, 30)], 12))).save(path)
    (sheet,) = read(path)
    assert (sheet.width, sheet.height) == (400, 240)
    assert dot(picture(sheet), (40, 30), 30) == pytest.approx((40, 30), abs=1)
    assert refused(path, document_reader.Bounds(megapixels=0.05)).code == "too_many_pixels"


@pytest.mark.parametrize("mode", ["RGB", "1"])
@pytest.mark.parametrize("kind", ["jpeg", "png", "tiff"])
@pytest.mark.parametrize("size", [(1600, 1200), (1607, 1207)])
def test_a_picture_decoded_smaller_keeps_its_places(
    tmp_path: Path, size: tuple[int, int], kind: str, mode: str
) -> None:
    wide, high = size
    dots = [(wide * x, high * y) for x in (0.1, 0.5, 0.94) for y in (0.1, 0.5, 0.94)]
    path = tmp_path / "a"
    Image.fromarray(dotted(wide, high, dots, 24)).convert(mode).save(path, kind, quality=95)
    (sheet,) = read(path, need=PageSpec(max_side_px=390).fit)
    assert sheet.width == wide // 4
    for place in dots:
        found = dot(picture(sheet), (place[0] / 4, place[1] / 4), 10)
        assert sheet.to_source.point(*found) == pytest.approx(place, abs=1)


def noisy(path: Path, **how: object) -> Path:
    noise = np.random.default_rng(1).integers(0, 255, (1000, 400, 3), np.uint8)
    Image.fromarray(noise).save(path, "jpeg", **how)
    return path


def test_a_cut_off_jpeg_is_read_when_only_its_margin_is_missing(tmp_path: Path) -> None:
    path = noisy(tmp_path / "a.jpg")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 995 // 1000])
    assert picture(read(path)[0])[900].std() > 20
    path.write_bytes(whole[: len(whole) // 2])
    error = refused(path)
    assert error.code == "broken"
    assert "cut off: 5" in error.detail  # about half
    path = noisy(tmp_path / "b.jpg", progressive=True)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 9 // 10])
    assert refused(path).code == "broken"


def test_only_tiff_has_pages(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (30 + n, 20), color) for n, color in enumerate(["red", "lime", "blue"])]
    frames[0].save(tmp_path / "a.tiff", save_all=True, append_images=frames[1:])
    sheets = read(tmp_path / "a.tiff")
    assert [(sheet.number, sheet.width) for sheet in sheets] == [(1, 30), (2, 31), (3, 32)]
    assert [tuple(picture(sheet)[5, 5]) for sheet in sheets] == [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    (second,) = read(tmp_path / "a.tiff", first=2, count=1)
    assert second.number == 2
    assert not read(tmp_path / "a.tiff", first=9, count=4)
    for kind in ("gif", "webp", "png"):
        same = [frame.resize((30, 20)) for frame in frames]
        same[0].save(tmp_path / "moving", kind, save_all=True, append_images=same[1:])
        (sheet,) = read(tmp_path / "moving")
        assert picture(sheet)[5, 5, 0] > 200


def test_one_bad_page_among_good_ones(tmp_path: Path) -> None:
    path = tmp_path / "a.tiff"
    good = Image.fromarray(np.random.default_rng(1).integers(0, 255, (64, 64), np.uint8))
    good.save(path, save_all=True, append_images=[good, good], compression="tiff_lzw")
    content = bytearray(path.read_bytes())
    with Image.open(path) as image:
        image.seek(1)
        start = image.tag_v2[273][0]  # type: ignore[attr-defined]
    content[start : start + 3000] = b"\xff" * 3000
    path.write_bytes(bytes(content))
    first, second, third = read(path)
    assert (first.fault, third.fault) == (None, None)
    assert second.fault is not None
    assert "page 2" in second.fault
