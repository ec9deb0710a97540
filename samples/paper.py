"""From clean ink to what comes out of a scanner or a telephone. Pictures are RGB; all chance comes from `rng`."""

import io
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

Colour = tuple[int, int, int]
Pixels = NDArray[np.float32]
WHITE, CREAM, THERMAL, PINK = (252, 252, 250), (247, 241, 226), (243, 243, 240), (247, 205, 210)


def cloud(rng: np.random.Generator, width: int, height: int, cell_px: float) -> Pixels:
    """Smooth noise, mean 0, about ±1, with lumps of `cell_px`."""
    small = rng.normal(0, 1, (max(2, math.ceil(height / cell_px) + 1), max(2, math.ceil(width / cell_px) + 1)))
    return np.asarray(Image.fromarray(small.astype(np.float32)).resize((width, height), Image.Resampling.BICUBIC))


def print_on(
    ink: Image.Image, rng: np.random.Generator, tone: Colour = WHITE, fade: float = 0.08, grain: float = 0.012
) -> Image.Image:
    """Lay the ink on paper of a tone. `fade`: how unevenly the toner covers; `grain`: how rough the paper is (0..1)."""
    width, height = ink.size
    cover = 1 - fade * (0.5 + 0.35 * cloud(rng, width, height, 90) + 0.25 * cloud(rng, width, height, 2))
    black = (1 - np.asarray(ink, np.float32) / 255) * np.clip(cover, 0.2, 1)[..., None]
    rough = 1 + grain * (0.8 * cloud(rng, width, height, 260) + 0.5 * cloud(rng, width, height, 2.5))
    sheet = np.asarray(tone, np.float32) * rough[..., None]
    return _image(sheet * (1 - black))


def show_through(page: Image.Image, back: Image.Image, strength: float = 0.07) -> Image.Image:
    """The print of the back side, mirrored and soft."""
    ghost = back.transpose(Image.Transpose.FLIP_LEFT_RIGHT).resize(page.size).filter(ImageFilter.GaussianBlur(3))
    return _image(np.asarray(page, np.float32) * (1 - strength * (1 - np.asarray(ghost, np.float32) / 255)))


def fold(page: Image.Image, at: float, upright: bool = False, depth: float = 0.09) -> Image.Image:
    """A crease at a fraction of the height (or width): light on one side, shade on the other, ink rubbed off."""
    pixels = np.asarray(page, np.float32)
    length = pixels.shape[1 if upright else 0]
    away = np.arange(length, dtype=np.float32) - at * length
    wide = length * 0.035
    light = 1 - depth * np.where(away > 0, np.exp(-away / wide), -0.35 * np.exp(away / wide))
    rubbed = np.exp(-((away / 1.6) ** 2)) * 0.45
    shape = (1, -1, 1) if upright else (-1, 1, 1)
    return _image(pixels * light.reshape(shape) * (1 - rubbed.reshape(shape)) + 240 * rubbed.reshape(shape))


def thermal(page: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Weak print heads: pale columns, and a roll that fades in bands."""
    width, height = page.size
    columns = 1 - 0.3 * (rng.random(width) < 0.012) - 0.06 * rng.random(width)
    bands = 0.9 + 0.08 * cloud(rng, 2, height, 120)[:, :1]
    black = (255 - np.asarray(page, np.float32)) * columns[None, :, None] * np.clip(bands, 0.6, 1)[..., None]
    return _image(255 - black)


def dots(page: Image.Image, pitch_px: int = 3) -> Image.Image:
    """A dot-matrix printer: ink in rows of pins."""
    ink = 255 - np.asarray(page, np.float32)
    rows = np.arange(ink.shape[0]) % pitch_px
    return _image(255 - ink * np.where(rows == 0, 0.35, 1.0)[:, None, None])


def scan(
    page: Image.Image,
    rng: np.random.Generator,
    degrees: float = 0.0,
    blur: float = 0.6,
    noise: float = 3.0,
    lid: Colour = (232, 233, 235),
    grey: bool = False,
    shade: float = 0.10,
    dust: int = 22,
    contrast: float = 1.0,
) -> Image.Image:
    """A flatbed: slightly turned under its lid, darker along one edge, dust, a streak, sensor noise."""
    width, height = page.size
    radians = math.radians(degrees)
    ys, xs = np.mgrid[0:height, 0:width].astype(np.float32)
    dx, dy = xs - width / 2, ys - height / 2
    warped = remap(
        page,
        dx * math.cos(radians) + dy * math.sin(radians) + width / 2,
        dy * math.cos(radians) - dx * math.sin(radians) + height / 2,
        lid,
    )
    pixels = np.asarray(_image(warped).filter(ImageFilter.GaussianBlur(blur)), np.float32)
    pixels = pixels * (1 - shade * np.exp(-xs / (width * 0.03)))[..., None]
    pixels *= 1 - 0.05 * np.exp(-(((xs - width * rng.uniform(0.3, 0.9)) / 1.2) ** 2))[..., None]
    for x, y, size in zip(
        rng.uniform(0, width, dust), rng.uniform(0, height, dust), rng.uniform(0.6, 1.8, dust), strict=True
    ):
        left, top = max(0, int(x) - 6), max(0, int(y) - 6)
        spot = (slice(top, top + 12), slice(left, left + 12))
        pixels[spot] *= (1 - 0.55 * np.exp(-((xs[spot] - x) ** 2 + (ys[spot] - y) ** 2) / size**2))[..., None]
    if grey:
        pixels = np.repeat(pixels.mean(axis=2, keepdims=True), 3, axis=2)
        pixels += rng.normal(0, noise, (height, width, 1))
    else:
        pixels += rng.normal(0, noise * 0.8, (height, width, 1)) + rng.normal(0, noise * 0.4, pixels.shape)
    return _image((pixels - 128) * contrast + 128)


def table_top(rng: np.random.Generator, width: int, height: int, kind: str) -> Pixels:
    """What a photographed page lies on: wood, cloth or stone, shape (height, width, 3)."""
    if kind == "wood":
        grain = np.sin(cloud(rng, width, height, 300) * 3 + np.arange(height)[:, None] / 26.0) * 0.5
        fibre = np.asarray(
            Image.fromarray(rng.normal(0, 1, (height, 12)).astype(np.float32)).resize(
                (width, height), Image.Resampling.BILINEAR
            )
        )
        tone = np.array([118, 82, 54], np.float32)
        return tone * (1 + 0.13 * grain + 0.07 * fibre + 0.03 * cloud(rng, width, height, 3))[..., None]
    if kind == "cloth":
        weave = 0.05 * (np.sin(np.arange(width) * 1.3)[None, :] + np.sin(np.arange(height) * 1.3)[:, None])
        cloth: Pixels = (
            np.array([74, 92, 104], np.float32) * (1 + weave + 0.08 * cloud(rng, width, height, 200))[..., None]
        )
        return cloth
    speckle = (
        0.07 * cloud(rng, width, height, 1.5)
        + 0.05 * cloud(rng, width, height, 9)
        + 0.03 * cloud(rng, width, height, 250)
    )
    stone: Pixels = np.array([98, 97, 95], np.float32) * (1 + speckle)[..., None]
    return stone


def creases(rng: np.random.Generator, width: int, height: int, number: int) -> Pixels:
    """The light on paper that was crumpled and smoothed again: facets between random creases, mean 1."""
    ys, xs = np.mgrid[0:height, 0:width].astype(np.float32)
    light = np.ones((height, width), np.float32)
    for _ in range(number):
        turn, x, y = rng.uniform(0, math.pi), rng.uniform(0, width), rng.uniform(0, height)
        away = (xs - x) * math.cos(turn) + (ys - y) * math.sin(turn)
        along = (ys - y) * math.cos(turn) - (xs - x) * math.sin(turn)
        reach = np.exp(-((along / rng.uniform(0.25, 0.6) / height) ** 2))
        light += np.float32(rng.uniform(0.4, 1.0)) * reach * np.sign(away) * np.exp(-np.abs(away) / (0.05 * width))
    return light


def photograph(
    page: Image.Image,
    rng: np.random.Generator,
    size: tuple[int, int],
    corners: Sequence[tuple[float, float]],
    ground: str = "wood",
    shadow: float = 0.4,
    shadow_from: tuple[float, float] = (0.55, -0.15),
    warmth: float = 0.05,
    curl_px: float = 0.0,
    crumple: float = 0.0,
    blur: float = 0.7,
    noise: float = 2.2,
) -> Image.Image:
    """A telephone above a table. `corners`: where the page's corners fall (fractions of the picture, clockwise from top
    left); `shadow`: how dark the holder's shadow is, on the side that `shadow_from` (a line's normal and offset) names;
    `curl_px`: how far the paper waves; `crumple`: how deep its creases are."""
    width, height = size
    wide, high = page.size
    target = [(x * width, y * height) for x, y in corners]
    matrix = _perspective(target, [(0, 0), (wide, 0), (wide, high), (0, high)])
    ys, xs = np.mgrid[0:height, 0:width].astype(np.float32)
    depth = matrix[6] * xs + matrix[7] * ys + 1
    u, v = (matrix[0] * xs + matrix[1] * ys + matrix[2]) / depth, (matrix[3] * xs + matrix[4] * ys + matrix[5]) / depth
    u = u + curl_px * np.sin(v / high * math.pi * 2.3 + 0.6)
    v = v + curl_px * 0.7 * np.sin(u / wide * math.pi * 1.4 + 0.2)
    light = 1 + crumple * (creases(rng, wide, high, 22) - 1)
    lit = _image(np.asarray(page, np.float32) * light[..., None])
    inside = ((u >= 0) & (u < wide - 1) & (v >= 0) & (v < high - 1)).astype(np.float32)
    soft = np.asarray(_grey(inside * 255).filter(ImageFilter.GaussianBlur(1.0)), np.float32)[..., None] / 255
    cast = (
        np.asarray(_grey(np.roll(inside, (9, 7), (0, 1)) * 255).filter(ImageFilter.GaussianBlur(9)), np.float32)[
            ..., None
        ]
        / 255
    )
    scene = table_top(rng, width, height, ground) * (1 - 0.55 * cast)
    scene = scene * (1 - soft) + remap(lit, u, v, (240, 240, 236)) * soft
    across = (
        shadow_from[0] * xs / width
        + (1 - abs(shadow_from[0])) * ys / height
        + shadow_from[1]
        + 0.03 * cloud(rng, width, height, 300)
    )
    scene *= (1 - shadow / (1 + np.exp(-(across - 0.5) * 22)))[..., None]
    away = ((xs / width - 0.5) ** 2 + (ys / height - 0.5) ** 2)[..., None]
    scene *= (1.03 - 0.42 * away) * np.array([1 + warmth, 1.0, 1 - warmth * 1.6], np.float32)
    out = np.asarray(_image(scene).filter(ImageFilter.GaussianBlur(blur)), np.float32)
    speckle = (
        np.asarray(
            _grey(128 + rng.normal(0, noise * 2, (height, width))).filter(ImageFilter.GaussianBlur(0.6)), np.float32
        )
        - 128
    )
    return _image(out + speckle[..., None])


def two_tone(page: Image.Image, level: int = 150) -> Image.Image:
    """What an office scanner's black-and-white mode keeps."""
    return page.convert("L").point(lambda grey: 255 if grey > level else 0).convert("1", dither=Image.Dither.NONE)


def jpeg(page: Image.Image, quality: int) -> bytes:
    out = io.BytesIO()
    page.save(out, "JPEG", quality=quality, optimize=True)
    return out.getvalue()


def remap(page: Image.Image, u: Pixels, v: Pixels, outside: Colour) -> Pixels:
    """The page's colours at (u, v) pixel places, bilinear; `outside` where there is no page."""
    pixels = np.asarray(page, np.float32)
    high, wide = pixels.shape[:2]
    beyond = (u < 0) | (u > wide - 1) | (v < 0) | (v > high - 1)
    u, v = np.clip(u, 0, wide - 1.001), np.clip(v, 0, high - 1.001)
    left, top = u.astype(np.int32), v.astype(np.int32)
    a, b = (u - left)[..., None], (v - top)[..., None]
    upper = pixels[top, left] * (1 - a) + pixels[top, left + 1] * a
    lower = pixels[top + 1, left] * (1 - a) + pixels[top + 1, left + 1] * a
    out: Pixels = (upper * (1 - b) + lower * b).astype(np.float32)
    out[beyond] = outside
    return out


def _perspective(seen: Sequence[tuple[float, float]], flat: Sequence[tuple[float, float]]) -> NDArray[np.float64]:
    """The eight numbers that take a point of the picture to a point of the page."""
    rows, right = [], []
    for (x, y), (u, v) in zip(seen, flat, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        right += [u, v]
    return np.linalg.solve(np.array(rows, np.float64), np.array(right, np.float64))


def _image(pixels: NDArray[np.floating]) -> Image.Image:
    return Image.fromarray(np.clip(pixels + 0.5, 0, 255).astype(np.uint8))


def _grey(pixels: NDArray[np.floating]) -> Image.Image:
    return Image.fromarray(np.clip(pixels + 0.5, 0, 255).astype(np.uint8))
