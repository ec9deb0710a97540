"""Image formats: JPEG, PNG, TIFF, WEBP, BMP, GIF and HEIC, rotated as EXIF says and converted to RGB.

- If the required size allows, a picture is scaled down by 2, 4 or 8 early: a JPEG while it is decoded (in libjpeg's
  transform), others before the conversion to RGB.
- Only TIFF has pages. Of an animation, a HEIC or a JPEG with several pictures, the first one is read.
- A truncated JPEG is read if at least `LEAST_ROWS` of its rows exist: the last rows of a page are margin. With less,
  values could be missing unnoticed, so it is `broken`.
- Grey of more than 8 bits is scaled from the smallest of 8, 10, 12, 14, 16, 24 or 32 bits that holds its brightest
  pixel: scanners store 10 or 12 bits in 16. Floats within 0..1 or 0..255 use that range; others are stretched.
- Transparent parts become white.
"""

import importlib
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

from pipeline.core.errors import DocumentError
from pipeline.core.geometry import Affine
from pipeline.core.types import Page
from pipeline.plugins.formats import Bounds, Format, Need

LEAST_ROWS = 0.98  # of a truncated JPEG
ORIENTATION, PHOTOMETRIC = 0x0112, 262  # tags of EXIF and TIFF
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
TRANSPOSED = (5, 6, 7, 8)
HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
# What PIL and its plugins raise on damaged files.
DAMAGE = (
    *(ArithmeticError, AttributeError, EOFError, LookupError, OSError, RuntimeError, SyntaxError, TypeError),
    *(ValueError, struct.error, zlib.error),
)


@contextmanager
def _without_pil_limit() -> Iterator[None]:
    """Disables PIL's size limit, since ours is checked from the header first, and its warnings."""
    guard = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = guard


class PictureFormat(Format):
    """An image format decoded by PIL; `title` is also PIL's name of it.

    `plugin` is its module in PIL: only that one is loaded, not all forty. `exif_applied`: the decoder applies the EXIF
    orientation itself. `many_pages`: each picture is a page; otherwise only the first is read.
    """

    plugin: ClassVar[str] = ""
    exif_applied: ClassVar[bool] = False
    many_pages: ClassVar[bool] = False

    @classmethod
    @contextmanager
    def open(cls, path: Path, bounds: Bounds) -> Iterator["Picture"]:
        """Opens the file and reads its header only. Raises DocumentError(broken)."""
        try:
            with _without_pil_limit():
                image = cls.header(path)
                total = int(getattr(image, "n_frames", 1)) if cls.many_pages else 1
        except (FileNotFoundError, PermissionError):
            raise
        except DAMAGE as error:
            raise DocumentError("broken", f"the {cls.title} cannot be opened ({_reason(error)})") from None
        with image:
            yield Picture(path, cls, image, total)

    @classmethod
    def header(cls, path: Path) -> Image.Image:
        """The picture, not decoded yet. Raises what PIL raises."""
        importlib.import_module(f"PIL.{cls.plugin}")
        return Image.open(path, formats=[cls.title])

    @classmethod
    def decoded(cls, path: Path, image: Image.Image, need: Need, turn: int) -> tuple[Image.Image, tuple[int, int], int]:
        """The picture, its full size, and the divisor of its sides."""
        image.load()
        full_size = image.size
        image, divisor = _scaled_down(image, _divisor(full_size, need, turn))
        return image, full_size, divisor


class Jpeg(PictureFormat):
    title = "JPEG"
    suffixes = (".jpg", ".jpeg")
    magic = (b"\xff\xd8\xff",)
    plugin = "JpegImagePlugin"

    @classmethod
    def decoded(cls, path: Path, image: Image.Image, need: Need, turn: int) -> tuple[Image.Image, tuple[int, int], int]:
        """Scales down while decoding; accepts a truncated file if enough of it exists."""
        full_size = image.size
        if (divisor := _divisor(full_size, need, turn)) > 1:
            image.draft(None, (full_size[0] // divisor, full_size[1] // divisor))
        try:
            image.load()
        except OSError as error:
            if "truncated" not in str(error):
                raise
            image = _decode_truncated(path, image.size, divisor)
        return image, full_size, divisor


class Png(PictureFormat):
    title = "PNG"
    suffixes = (".png",)
    magic = (b"\x89PNG\r\n\x1a\n",)
    plugin = "PngImagePlugin"


class Tiff(PictureFormat):
    title = "TIFF"
    suffixes = (".tif", ".tiff")
    magic = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
    plugin = "TiffImagePlugin"
    exif_applied = True
    many_pages = True


class Webp(PictureFormat):
    title = "WEBP"
    suffixes = (".webp",)
    plugin = "WebPImagePlugin"

    @classmethod
    def matches(cls, head: bytes) -> bool:
        return head[:4] == b"RIFF" and head[8:12] == b"WEBP"


class Bmp(PictureFormat):
    title = "BMP"
    suffixes = (".bmp",)
    magic = (b"BM",)
    plugin = "BmpImagePlugin"


class Gif(PictureFormat):
    title = "GIF"
    suffixes = (".gif",)
    magic = (b"GIF87a", b"GIF89a")
    plugin = "GifImagePlugin"


class Heic(PictureFormat):
    title = "HEIC"
    suffixes = (".heic", ".heif")
    exif_applied = True

    @classmethod
    def matches(cls, head: bytes) -> bool:
        if head[4:8] != b"ftyp":
            return False
        size = min(int.from_bytes(head[:4], "big"), len(head))
        brands = {head[8:12], *(head[at : at + 4] for at in range(16, size, 4))}
        return bool(brands & HEIF_BRANDS) and not brands & {b"avif", b"avis"}

    @classmethod
    def header(cls, path: Path) -> Image.Image:
        from pillow_heif.as_plugin import HeifImageFile  # used directly, without registration in PIL

        picture: Image.Image = HeifImageFile(path)
        return picture


@dataclass(frozen=True, slots=True)
class Picture:
    """An open picture file of `total` pages."""

    path: Path
    kind: type[PictureFormat]
    image: Image.Image
    total: int

    def page(self, number: int, need: Need, text_only: bool, max_pixels: int) -> Page:
        """Page `number` (from 1), at least of the size `need(width, height)` if the file is as large.

        Raises DocumentError(too_many_pixels), from the header alone, and DocumentError(broken).
        """
        try:
            with _without_pil_limit():
                if self.kind.many_pages:
                    self.image.seek(number - 1)
                wide, high = self.image.size
                if wide * high > max_pixels:
                    limit = f"at most {max_pixels / 1e6:g} megapixels are read"
                    raise DocumentError("too_many_pixels", f"page {number} is {wide} × {high} pixels; {limit}")
                return self._decoded(number, need)
        except DAMAGE as error:
            raise DocumentError("broken", f"page {number} cannot be decoded ({_reason(error)})") from None

    def _decoded(self, number: int, need: Need) -> Page:
        turn = 1 if self.kind.exif_applied else self.image.getexif().get(ORIENTATION, 1)
        image, full_size, divisor = self.kind.decoded(self.path, self.image, need, turn)
        upright = rgb(image)
        if divisor > 1:  # both decoders round up: the last column and row are partly outside the picture
            upright = upright.crop((0, 0, full_size[0] // divisor, full_size[1] // divisor))
        if turn in TURNS:
            upright = upright.transpose(TURNS[turn])
        to_source = Affine(a=float(divisor), e=float(divisor))
        return Page(number, upright.width, upright.height, to_source, np.asarray(upright))


def _divisor(size: tuple[int, int], need: Need, turn: int) -> int:
    """The largest divisor (1, 2, 4 or 8) of the sides of a picture that leaves at least `need`."""
    wide, high = need(*size[::-1])[::-1] if turn in TRANSPOSED else need(*size)
    return next(divisor for divisor in (8, 4, 2, 1) if divisor == 1 or min(size[0] // wide, size[1] // high) >= divisor)


def _scaled_down(image: Image.Image, divisor: int) -> tuple[Image.Image, int]:
    """The picture scaled down before its conversion to RGB, and the divisor: 1 for modes that cannot be averaged."""
    if divisor == 1 or image.mode not in ("1", "L", "RGB") or "transparency" in image.info:
        return image, 1
    return (image.convert("L") if image.mode == "1" else image).reduce(divisor), divisor


def _decode_truncated(path: Path, size: tuple[int, int], shrink: int) -> Image.Image:
    """The existing part of a truncated JPEG. Raises OSError if less than `LEAST_ROWS` of its rows exist."""
    strict = ImageFile.LOAD_TRUNCATED_IMAGES
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        with Image.open(path, formats=["JPEG"]) as image:
            if shrink > 1:
                image.draft(None, size)
            image.load()
            if "progressive" in image.info:  # all rows exist, but of unknown quality
                raise OSError("it was cut off")
            rows = np.asarray(image).reshape(image.height, -1)
            filled = (rows == 128).all(axis=1) | (rows == 0).all(axis=1)  # fill values of libjpeg and PIL
            existing = (int(np.flatnonzero(~filled)[-1]) + 1) / image.height if not filled.all() else 0.0
            if existing < LEAST_ROWS:
                raise OSError(f"it was cut off: {existing:.0%} of it is there")
            return image.copy()
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = strict


def rgb(image: Image.Image) -> Image.Image:
    """The picture as 8-bit RGB on white, from any mode of PIL."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode == "F" or image.mode.startswith("I"):
        return Image.fromarray(_grey(image)).convert("RGB")
    if image.has_transparency_data:
        clear = image.convert("RGBA")
        paper = Image.new("RGB", clear.size, "white")
        paper.paste(clear, mask=clear.getchannel("A"))
        return paper
    return image.convert("RGB")  # 1, L, P, CMYK (PIL has inverted Adobe's), YCbCr, HSV, LAB


def _grey(image: Image.Image) -> NDArray[np.uint8]:
    """16-bit, 32-bit and float grey as 8 bits; see the module docstring."""
    values = np.asarray(image)
    tags = getattr(image, "tag_v2", {})
    if image.mode == "F":
        finite = np.nan_to_num(values.astype(np.float64), posinf=0.0, neginf=0.0)
        least, most = float(finite.min()), float(finite.max())
        if least >= 0 and most <= 1:
            low, high = 0.0, 1.0
        elif least >= 0 and most <= 255:
            low, high = 0.0, 255.0
        else:
            low, high = least, most
        scaled = (finite - low) * (255 / max(high - low, 1e-12))
    else:
        most = max(int(values.max()), 1)
        bits = next(bits for bits in (8, 10, 12, 14, 16, 24, 32) if most < 1 << bits)
        scaled = values.astype(np.float64) * (255 / ((1 << bits) - 1))
    grey = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    return 255 - grey if tags.get(PHOTOMETRIC) == 0 else grey  # 0: white is zero; PIL inverts only 8 bits


def _reason(error: BaseException) -> str:
    if isinstance(error, UnidentifiedImageError):  # PIL's message has only the path
        return "its header is damaged, or of a kind that is not read"
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__
