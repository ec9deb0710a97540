"""How each sheet became a file: the scanner, telephone or program that it went through. One function a sample."""

import io
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import figures
import looks
import numpy as np
import paper
import papers
import scenes
from draw import pdf, picture
from PIL import Image
from sample import Sample

Rng = np.random.Generator


def english_two_pages(sample: Sample, path: Path, rng: Rng) -> None:
    pdf(sample.sheets, path, "Invoice FIW-20417")


def german_scan(sample: Sample, path: Path, rng: Rng) -> None:
    pages = []
    for sheet, degrees in zip(sample.sheets, (0.9, -0.6), strict=True):
        page = paper.print_on(picture(sheet, 150, rng), rng, paper.CREAM, fade=0.12)
        page = paper.fold(paper.fold(page, 0.335), 0.667, depth=0.07)
        pages.append(paper.scan(page, rng, degrees, blur=0.6, noise=2.5))
    as_pdf(pages, path, quality=62)


def chinese_two_pages(sample: Sample, path: Path, rng: Rng) -> None:
    pages = []
    for sheet, degrees in zip(sample.sheets, (-0.5, 0.7), strict=True):
        page = paper.print_on(picture(sheet, 200, rng), rng, fade=0.2)
        pages.append(
            paper.two_tone(
                paper.scan(page, rng, degrees, blur=0.8, noise=7, lid=(250, 250, 250), dust=260, shade=0.25), 186
            )
        )
    pages[0].save(path, "TIFF", save_all=True, append_images=pages[1:], compression="group4", dpi=(200, 200))


def fapiao(sample: Sample, path: Path, rng: Rng) -> None:
    page = paper.fold(paper.print_on(picture(sample.sheets[0], 190, rng), rng), 0.51, upright=True, depth=0.06)
    paper.scan(page, rng, 1.3, noise=3, contrast=0.93).save(path, "WEBP", quality=58, method=6)


def phone_exif(sample: Sample, path: Path, rng: Rng) -> None:
    page = paper.fold(paper.print_on(picture(sample.sheets[0], 175, rng), rng, fade=0.1), 0.48)
    corners = ((0.10, 0.07), (0.93, 0.045), (0.965, 0.955), (0.045, 0.93))
    shot = paper.photograph(
        page, rng, (1500, 2000), corners, "cloth", shadow=0.34, shadow_from=(0.75, 0.05), warmth=0.03, curl_px=5
    )
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn me by 90° clockwise to look at me"
    exif[0x010F], exif[0x0110] = "Invented", "Pocket 7"
    shot.rotate(90, expand=True).save(path, "JPEG", quality=50, exif=exif, optimize=True)


def upside_down(sample: Sample, path: Path, rng: Rng) -> None:
    page = paper.scan(paper.print_on(picture(sample.sheets[0], 150, rng), rng, paper.CREAM), rng, -1.1, noise=3)
    path.write_bytes(paper.jpeg(page.rotate(180), 60))


def blank_page(sample: Sample, path: Path, rng: Rng) -> None:
    front = picture(sample.sheets[0], 110, rng)
    empty = paper.print_on(Image.new("RGB", front.size, "white"), rng, paper.CREAM)
    path.write_bytes(paper.jpeg(paper.scan(paper.show_through(empty, front, 0.05), rng, 0.8, blur=1.0, dust=25), 50))


def broken_pdf(sample: Sample, path: Path, rng: Rng) -> None:
    whole = io.BytesIO()
    as_pdf([paper.scan(paper.print_on(picture(sample.sheets[0], 100, rng), rng), rng, 0.4)], whole, quality=40)
    path.write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])


def cafe_slanted(sample: Sample, path: Path, rng: Rng) -> None:
    page = paper.print_on(paper.thermal(picture(sample.sheets[0], 260, rng), rng), rng, paper.THERMAL)
    corners = ((0.27, 0.10), (0.79, 0.055), (0.90, 0.93), (0.13, 0.88))
    shot = paper.photograph(
        page, rng, (1200, 1600), corners, "wood", shadow=0.5, shadow_from=(0.35, -0.02), curl_px=4, crumple=0.015
    )
    path.write_bytes(paper.jpeg(shot, 55))


def supermarket_long(sample: Sample, path: Path, rng: Rng) -> None:
    page = paper.thermal(paper.thermal(picture(sample.sheets[0], 230, rng), rng), rng)
    page = paper.fold(paper.print_on(page, rng, (238, 238, 236), fade=0.25), 0.55)
    frame = Image.new("RGB", (page.width + 120, page.height + 60), (222, 223, 224))
    frame.paste(page, (55, 25))
    path.write_bytes(paper.jpeg(paper.scan(frame, rng, 0.7, blur=0.7, noise=3.5, lid=(222, 223, 224)), 55))


def bakery_crumpled(sample: Sample, path: Path, rng: Rng) -> None:
    page = paper.print_on(paper.thermal(picture(sample.sheets[0], 260, rng), rng), rng, paper.THERMAL)
    page = paper.fold(paper.fold(page, 0.38, depth=0.16), 0.52, upright=True, depth=0.14)
    corners = ((0.20, 0.06), (0.84, 0.10), (0.80, 0.94), (0.15, 0.90))
    shot = paper.photograph(
        page,
        rng,
        (1150, 1550),
        corners,
        "stone",
        shadow=0.3,
        shadow_from=(0.8, 0.1),
        warmth=-0.01,
        curl_px=6,
        crumple=0.07,
    )
    path.write_bytes(paper.jpeg(shot, 52))


def corner_shop(sample: Sample, path: Path, rng: Rng) -> None:
    page = paper.print_on(paper.thermal(picture(sample.sheets[0], 260, rng), rng), rng, paper.THERMAL)
    corners = ((0.15, 0.045), (0.74, 0.10), (0.88, 0.90), (0.20, 0.95))
    shot = paper.photograph(
        page,
        rng,
        (1150, 1500),
        corners,
        "wood",
        shadow=0.28,
        shadow_from=(0.9, 0.0),
        warmth=0.11,
        curl_px=5,
        crumple=0.02,
    )
    shot.save(path, "WEBP", quality=55, method=6)


def fuel_faded(sample: Sample, path: Path, rng: Rng) -> None:
    ink = paper.thermal(picture(sample.sheets[0], 230, rng), rng)
    page = paper.fold(
        paper.print_on(Image.eval(ink, lambda level: 255 - (255 - level) * 2 // 3), rng, (240, 238, 228), fade=0.3),
        0.5,
        upright=True,
    )
    frame = Image.new("RGB", (page.width + 160, page.height + 140), (226, 227, 228))
    frame.paste(page, (70, 60))
    path.write_bytes(paper.jpeg(paper.scan(frame, rng, -2.6, blur=0.8, noise=3, lid=(226, 227, 228)), 50))


def pump_form(sample: Sample, path: Path, rng: Rng) -> None:
    page = paper.fold(paper.print_on(picture(sample.sheets[0], 150, rng), rng, paper.CREAM, fade=0.14, grain=0.02), 0.5)
    path.write_bytes(paper.jpeg(paper.scan(page, rng, -1.4, noise=3), 60))


def compressor_form(sample: Sample, path: Path, rng: Rng) -> None:
    page = paper.print_on(picture(sample.sheets[0], 170, rng), rng, paper.WHITE, fade=0.12)
    corners = ((0.12, 0.05), (0.90, 0.085), (0.955, 0.95), (0.055, 0.91))
    shot = paper.photograph(
        page,
        rng,
        (1350, 1800),
        corners,
        "stone",
        shadow=0.42,
        shadow_from=(0.5, -0.02),
        warmth=0.04,
        curl_px=5,
        noise=2.8,
    )
    path.write_bytes(paper.jpeg(shot, 52))


def lieferschein(sample: Sample, path: Path, rng: Rng) -> None:
    page = paper.fold(paper.fold(paper.print_on(picture(sample.sheets[0], 150, rng), rng, fade=0.16), 0.34), 0.66)
    shot = paper.scan(page, rng, 1.6, blur=0.8, noise=5, grey=True, dust=120).convert("L")
    shot.save(path, "JPEG", quality=50, optimize=True)


def turned_90(sample: Sample, path: Path, rng: Rng) -> None:
    page = paper.scan(
        paper.print_on(picture(sample.sheets[0], 140, rng), rng, fade=0.2),
        rng,
        -0.8,
        noise=1.0,
        grey=True,
        lid=(252, 252, 252),
        contrast=1.5,
    )
    page.convert("L").rotate(90, expand=True).quantize(16, dither=Image.Dither.NONE).save(path, "PNG", optimize=True)


def songhuodan(sample: Sample, path: Path, rng: Rng) -> None:
    ink = picture(sample.sheets[0], 180, rng)
    page = paper.print_on(paper.dots(ink), rng, paper.PINK, fade=0.3, grain=0.02)
    paper.scan(page, rng, -1.2, blur=0.8, noise=4).save(path, "WEBP", quality=58, method=6)


def pressure_gauge(sample: Sample, path: Path, rng: Rng) -> None:
    scenes.dial(path, rng, **looks.GAUGE)


def solder_faults(sample: Sample, path: Path, rng: Rng) -> None:
    scenes.board(path, rng, looks.SOLDER_FAULTS)


def loading_bay(sample: Sample, path: Path, rng: Rng) -> None:
    scenes.loading_bay(path, rng)


def blocked_exit(sample: Sample, path: Path, rng: Rng) -> None:
    scenes.loading_bay(path, rng)
    path.with_name(f"{path.name}.txt").write_text(f"{sample.question}\n", encoding="utf-8")


def ct_chest(sample: Sample, path: Path, rng: Rng) -> None:
    figures.ct_figure(path, rng)


def device_form(sample: Sample, path: Path, rng: Rng) -> None:
    figures.device_form(path)


def pump_table(sample: Sample, path: Path, rng: Rng) -> None:
    page = paper.print_on(picture(sample.sheets[0], 130, rng), rng, paper.CREAM)
    path.write_bytes(paper.jpeg(paper.scan(page, rng, 0.7, noise=2.5), 62))


def french_letter(sample: Sample, path: Path, rng: Rng) -> None:
    page = paper.fold(paper.print_on(picture(sample.sheets[0], 130, rng), rng, paper.CREAM), 0.47)
    path.write_bytes(paper.jpeg(paper.scan(page, rng, -0.8, noise=2.5), 60))


def acceptance(sample: Sample, path: Path, rng: Rng) -> None:
    page = paper.print_on(picture(sample.sheets[0], papers.MARK_DPI, rng), rng)
    path.write_bytes(paper.jpeg(paper.scan(page, rng, 0.0, noise=2.5), 62))


def as_pdf(pages: list[Image.Image], path: Path | io.BytesIO, quality: int) -> None:
    """Pictures in a PDF, as a scanner writes them: no text layer. The date inside is fixed."""
    moment = time.struct_time((2025, 4, 3, 9, 0, 0, 3, 93, 0))
    pages[0].save(
        path,
        "PDF",
        save_all=True,
        append_images=pages[1:],
        resolution=150,
        quality=quality,
        creationDate=moment,
        modDate=moment,
    )


WAYS: Mapping[str, Callable[[Sample, Path, Rng], None]] = {
    way.__name__: way
    for way in (
        english_two_pages,
        german_scan,
        chinese_two_pages,
        fapiao,
        phone_exif,
        upside_down,
        blank_page,
        cafe_slanted,
        supermarket_long,
        bakery_crumpled,
        corner_shop,
        fuel_faded,
        pump_form,
        compressor_form,
        lieferschein,
        turned_90,
        songhuodan,
        pressure_gauge,
        solder_faults,
        loading_bay,
        blocked_exit,
        ct_chest,
        device_form,
        pump_table,
        french_letter,
        acceptance,
    )
} | {"broken": broken_pdf}
