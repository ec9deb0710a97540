"""Files made to cost a decoder all memory or time: small, valid as far as their header goes, and huge behind it.

Each function writes one file; `BOMBS` has them all by file name.
"""

import io
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path


def pdf(objects: Sequence[bytes], pages: int = 1, resources: bytes = b"", blank: int = 0) -> bytes:
    """A PDF whose pages, but for the first `blank`, draw what object 4 (a content stream) says."""
    kids = b" ".join(b"%d 0 R" % (4 + len(objects) + page) for page in range(pages))
    leaf = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Resources 3 0 R%s>>"
    body = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[" + kids + b"]/Count %d>>" % pages,
        b"<<" + resources + b">>",
        *objects,
        *[leaf % (b"" if page < blank else b"/Contents 4 0 R") for page in range(pages)],
    ]
    out, places = bytearray(b"%PDF-1.7\n"), []
    for number, each in enumerate(body, 1):
        places.append(len(out))
        out += b"%d 0 obj\n" % number + each + b"\nendobj\n"
    table = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(body) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    out += b"trailer\n<</Root 1 0 R/Size %d>>\nstartxref\n%d\n%%%%EOF\n" % (len(body) + 1, table)
    return bytes(out)


def stream(data: bytes, entries: bytes = b"") -> bytes:
    return b"<<" + entries + b"/Length %d>>\nstream\n" % len(data) + data + b"\nendstream"


def with_image(data: bytes, entries: bytes, pages: int = 1) -> bytes:
    """A PDF whose pages show one picture: `data` with the entries of its dictionary."""
    image = stream(data, b"/Type/XObject/Subtype/Image" + entries)
    return pdf([stream(b"q 612 0 0 792 0 0 cm /I Do Q"), image], pages, b"/XObject<</I 5 0 R>>")


# --- time


def slow_pdf(pages: int, levels: int = 4, times: int = 10, blank: int = 0) -> bytes:
    """Pages that each draw `times ** levels` curves: a form draws another `times` times, and so on. The first `blank`
    pages draw nothing."""
    curve = b"2 w " + b"".join(b"%d 0 m 600 %d 0 %d %d 790 c S " % (7 * i, 9 * i, 5 * i, 8 * i) for i in range(times))
    forms, draw = [], b" ".join([b"1 0 0 1 1 1 cm /F Do"] * times)
    for level in range(levels):
        inner = b"/Resources<</XObject<</F %d 0 R>>>>" % (6 + level) if level < levels - 1 else b""
        content = draw if level < levels - 1 else curve
        forms.append(stream(content, b"/Type/XObject/Subtype/Form/BBox[0 0 9999 9999]" + inner))
    return pdf([stream(b"q /F Do Q"), *forms], pages, b"/XObject<</F 5 0 R>>", blank)


def pattern_pdf() -> bytes:
    """A page filled with a pattern of tiny cells, each of which is filled with such a pattern again."""
    cell = b"/Type/Pattern/PatternType 1/PaintType 1/TilingType 1/BBox[0 0 1 1]/XStep .02/YStep .02"
    inner = stream(b"0 0 .01 .01 re f", cell + b"/Resources<<>>")
    outer = stream(b"/Pattern cs /P scn 0 0 1 1 re f", cell + b"/Resources<</Pattern<</P 6 0 R>>>>")
    return pdf([stream(b"/Pattern cs /P scn 0 0 612 792 re f"), outer, inner], 1, b"/Pattern<</P 5 0 R>>")


# --- JBIG2


def jbig2(width: int, height: int, regions: int = 1) -> bytes:
    """The segments that a PDF embeds: one page, and on it generic regions of its size, of a few bytes each."""

    def segment(number: int, kind: int, data: bytes) -> bytes:
        return struct.pack(">IBBBI", number, kind, 0, 1, len(data)) + data

    page = struct.pack(">IIIIBH", width, height, 0, 0, 0, 0)
    region = struct.pack(">IIIIB", width, height, 0, 0, 0)  # size, place, OR
    region += b"\x00" + struct.pack("8b", 3, -1, -3, -1, 2, -2, -2, -2)  # template 0 and its adaptive pixels
    region += b"\x00\x00\xff\xac"  # the arithmetic decoder goes on without an end on what is missing
    return segment(0, 48, page) + b"".join(segment(1 + n, 38, region) for n in range(regions))


def jbig2_pdf(width: int, height: int, regions: int = 1, shown: tuple[int, int] | None = None) -> bytes:
    wide, high = shown or (width, height)
    entries = b"/Width %d/Height %d/BitsPerComponent 1/ColorSpace/DeviceGray/Filter/JBIG2Decode" % (wide, high)
    return with_image(jbig2(width, height, regions), entries)


# --- JPEG 2000


def jpx(width: int, height: int, tile: tuple[int, int] | None = None, components: int = 1) -> bytes:
    """A small codestream whose header says another size, tiles or components."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("L", (64, 64), 200).save(buffer, "JPEG2000", no_jp2=True)
    data = bytearray(buffer.getvalue())
    place = data.index(b"\xff\x51") + 6  # behind the marker SIZ, its length and its capabilities
    struct.pack_into(">IIII", data, place, width, height, 0, 0)
    struct.pack_into(">IIII", data, place + 16, *(tile or (width, height)), 0, 0)
    if components > 1:
        struct.pack_into(">H", data, place + 32, components)
        data[place + 34 : place + 37] = b"\x07\x01\x01" * components
        struct.pack_into(">H", data, place - 4, 38 + 3 * components)
    return bytes(data)


def jpx_pdf(width: int, height: int, tile: tuple[int, int] | None = None, components: int = 1) -> bytes:
    return with_image(jpx(width, height, tile, components), b"/Width %d/Height %d/Filter/JPXDecode" % (width, height))


# --- other filters


def flate_pdf(side: int, times: int = 2) -> bytes:
    """Zeros, packed several times over: a kilobyte becomes a gigabyte."""
    packer, mib = zlib.compressobj(9, zlib.DEFLATED, -15), bytes(2**20)
    block = packer.compress(mib) + packer.flush(zlib.Z_FULL_FLUSH)  # stands for itself, so it may be repeated
    count = -(-side * side // len(mib))
    data = b"\x78\xda" + block * count + b"\x03\x00" + struct.pack(">I", count * len(mib) % 65521 << 16 | 1)
    for _ in range(times - 1):
        data = zlib.compress(data, 9)
    filters = b"[" + b"/FlateDecode" * times + b"]"
    return with_image(
        data, b"/Width %d/Height %d/BitsPerComponent 8/ColorSpace/DeviceGray/Filter" % (side, side) + filters
    )


def fax_pdf(side: int) -> bytes:
    """A fax of white lines: one bit a line."""
    parameters = b"/DecodeParms<</K -1/Columns %d/Rows %d>>" % (side, side)
    entries = b"/Width %d/Height %d/BitsPerComponent 1/ColorSpace/DeviceGray/Filter/CCITTFaxDecode" % (side, side)
    return with_image(b"\xff" * (side // 8 + 1), entries + parameters)


# --- HEIC


def box(kind: bytes, *parts: bytes) -> bytes:
    data = b"".join(parts)
    return struct.pack(">I4s", 8 + len(data), kind) + data


def full(kind: bytes, version: int, flags: int, *parts: bytes) -> bytes:
    return box(kind, struct.pack(">I", version << 24 | flags), *parts)


def _tile(side: int) -> tuple[bytes, bytes]:
    """The hvcC box and the coded data of a small picture."""
    from PIL import Image
    from pillow_heif import from_pillow

    buffer = io.BytesIO()
    from_pillow(Image.new("RGB", (side, side), "white")).save(buffer)
    data = buffer.getvalue()
    place = data.index(b"hvcC") - 4
    config = data[place : place + struct.unpack_from(">I", data, place)[0]]
    body = data.index(b"mdat") + 4
    return config, data[body:]


def heic(width: int, height: int, rows: int = 0, columns: int = 0, tile: int = 64) -> bytes:
    """A HEIC that says it is that large: one small tile, or a grid that shows that tile in every place."""
    config, coded = _tile(tile)
    size = full(b"ispe", 0, 0, struct.pack(">II", width, height))
    tile_size = full(b"ispe", 0, 0, struct.pack(">II", tile, tile)) if rows else size
    properties = box(b"ipco", config, tile_size, size)
    count = rows * columns

    def entry(item: int, kind: bytes) -> bytes:
        return full(b"infe", 2, 0, struct.pack(">HH4sB", item, 0, kind, 0))

    items = [entry(1, b"hvc1")] + ([entry(2, b"grid")] if rows else [])
    uses = struct.pack(">HBBB", 1, 2, 0x81, 0x82) + (struct.pack(">HBB", 2, 1, 0x83) if rows else b"")
    grid = struct.pack(">BBBBII", 0, 1, rows - 1, columns - 1, width, height) if rows else b""
    head = box(b"ftyp", b"heic", struct.pack(">I", 0), b"mif1heic")

    def meta(at: int) -> bytes:
        places = struct.pack(">HHHHII", 1, 0, 0, 1, at, len(coded))
        places += struct.pack(">HHHHII", 2, 1, 0, 1, 0, len(grid)) if rows else b""
        parts = [
            full(b"hdlr", 0, 0, struct.pack(">I4s12sB", 0, b"pict", b"", 0)),
            full(b"pitm", 0, 0, struct.pack(">H", 2 if rows else 1)),
            full(b"iinf", 0, 0, struct.pack(">H", len(items)), *items),
            full(b"iloc", 1, 0, struct.pack(">BBH", 0x44, 0, len(items)), places),
            box(b"iprp", properties, full(b"ipma", 0, 0, struct.pack(">I", len(items)), uses)),
        ]
        if rows:
            references = struct.pack(f">HH{count}H", 2, count, *[1] * count)
            parts += [full(b"iref", 0, 0, box(b"dimg", references)), box(b"idat", grid)]
        return full(b"meta", 0, 0, *parts)

    return head + meta(len(head) + len(meta(0)) + 8) + box(b"mdat", coded)


def tiff(pages: int) -> bytes:
    """Directories of one pixel each, a chain of them."""
    out = bytearray(b"II*\x00" + struct.pack("<I", 8))
    tags = ((256, 1), (257, 1), (258, 8), (259, 1), (262, 1), (273, 0), (279, 1))
    size = 2 + 12 * len(tags) + 4
    for page in range(pages):
        entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
        after = 8 + (page + 1) * size if page < pages - 1 else 0
        out += struct.pack("<H", len(tags)) + entries + struct.pack("<I", after)
    return bytes(out)


BOMBS: Mapping[str, Callable[[], bytes]] = {
    "jbig2_huge.pdf": lambda: jbig2_pdf(60_000, 60_000),
    "jbig2_huge_page_small_picture.pdf": lambda: jbig2_pdf(60_000, 60_000, shown=(1000, 1000)),
    "jbig2_beyond_32_bits.pdf": lambda: jbig2_pdf(0xFFFF_FFFE, 0xFFFF_FFFE, shown=(1000, 1000)),
    "jbig2_many_regions.pdf": lambda: jbig2_pdf(8000, 8000, regions=2000),
    "jpx_huge.pdf": lambda: jpx_pdf(60_000, 60_000),
    "jpx_beyond_32_bits.pdf": lambda: jpx_pdf(0x7FFF_FFFF, 0x7FFF_FFFF),
    "jpx_many_tiles.pdf": lambda: jpx_pdf(60_000, 60_000, tile=(250, 250)),
    "jpx_many_components.pdf": lambda: jpx_pdf(4000, 4000, components=16_000),
    "flate_twice.pdf": lambda: flate_pdf(40_000),
    "fax_huge.pdf": lambda: fax_pdf(60_000),
    "patterns_in_patterns.pdf": pattern_pdf,
    "forms_in_forms.pdf": lambda: slow_pdf(1, levels=9),
    "heic_huge.heic": lambda: heic(60_000, 60_000),
    "heic_larger_than_its_tile.heic": lambda: heic(16_000, 16_000),
    "heic_grid.heic": lambda: heic(16_320, 16_320, 255, 255),
    "heic_grid_of_tiles.heic": lambda: heic(16_000, 16_000, 31, 31, tile=520),
    "heic_grid_huge.heic": lambda: heic(60_000, 60_000, 255, 255),
    "tiff_many_pages.tiff": lambda: tiff(100_000),
    "heic_grid_of_few.heic": lambda: heic(16_000, 16_000, 2, 2),
}


READ_ALL_THE_SAME = frozenset({"fax_huge.pdf", "jpx_many_tiles.pdf"})  # their decoders can be quick enough


def write(folder: Path) -> list[Path]:
    """All of them, in that folder."""
    for name, make in BOMBS.items():
        (folder / name).write_bytes(make())
    return [folder / name for name in BOMBS]
