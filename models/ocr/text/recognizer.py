"""OCR with the PP-OCR models of the rapidocr wheel: nothing is downloaded, and one thread is used.

The models are run directly by onnxruntime. Against `RapidOCR()(image)` with the same settings this reads the same text
in about two thirds of the CPU time: each line is recognised at its own width, where RapidOCR pads every line of a batch
to the widest and to no less than 320 pixels. The numbers are in DECISIONS.md.
"""

import math
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from models.ocr.text.lines import Line, join
from pipeline.core.errors import ModelError
from pipeline.core.geometry import Box
from pipeline.core.types import Page

if TYPE_CHECKING:
    import onnxruntime

Picture = NDArray[np.uint8]
Quad = NDArray[np.float32]  # (4, 2): corners from the upper left clockwise

DETECT_SIDE_PX = 1280  # the longer side that the detector sees
NARROW_PX = 320  # a strip that would be narrower than this for the detector is cut into tiles
TILE_SHAPE = 3.0  # length of a tile by its width
TILE_OVERLAP = 0.6  # of the width: more than the highest line
INK = 0.3  # the detector's map: print is above this
BOX_SCORE = 0.5  # mean of the map inside a box
UNCLIP = 1.7  # the detector marks the core of a line; area · UNCLIP / circumference is what it leaves out on each side
LEAST_PX = 3.0  # cores that are thinner on the map are dirt
MOST_LINES = 3000  # a page with more is not text
LINE_HEIGHT_PX = 48  # the recogniser's input
LINE_STEP_PX = 8  # the recogniser's stride: widths between are the same to it
LINE_MARGIN_PX = 16  # blank right of the last letter, which it would lose now and then
LONGEST_LINE = 60.0  # width by height: longer ones are rules and borders, and would cost seconds
UPRIGHT = 1.5  # height by width: more is print that runs downwards
LINE_SCORE = 0.5  # what RapidOCR drops too


def model_files() -> tuple[Path, Path]:
    """The detector and the recogniser in the rapidocr wheel. Raises ModelError. Imports nothing."""
    spec = find_spec("rapidocr")
    for folder in (spec and spec.submodule_search_locations) or []:
        found = [sorted(Path(folder, "models").glob(f"PP-OCRv*_{part}_*.onnx")) for part in ("det", "rec")]
        if all(found):
            return found[0][-1], found[1][-1]
    raise ModelError(
        "The OCR models are missing: they are in the package rapidocr. Install it again: pip install rapidocr"
    )


class Reader:
    """The two models, and the way from a picture to its lines. Not for several threads."""

    def __init__(self) -> None:
        detector, recogniser = model_files()
        self._detector, self._recogniser = _session(detector), _session(recogniser)
        characters = self._recogniser.get_modelmeta().custom_metadata_map.get("character", "").split("\n")
        # the blank of CTC comes first, the space that separates words last
        self._characters = ["", *characters, " "]

    def read(self, image: Picture) -> list[Line]:
        """The lines of an RGB picture of shape (height, width, 3), top to bottom, in its pixels."""
        lines = []
        for quad in self._places(image):
            text, score = self._recognise(_cut(image, quad))
            if text.strip() and score >= LINE_SCORE:
                lines.append(Line(text.strip(), Box.around([(float(x), float(y)) for x, y in quad]), score))
        return lines

    def _places(self, image: Picture) -> list[Quad]:
        """The places of lines. Long strips are read tile by tile; a line belongs to the tile that holds its middle."""
        height, width = image.shape[:2]
        long, short = max(height, width), min(height, width)
        if short < LEAST_PX:
            return []
        if long <= DETECT_SIDE_PX or short * DETECT_SIDE_PX / long >= NARROW_PX:
            return _sorted(self._detect(image))
        overlap = min(TILE_OVERLAP * short, DETECT_SIDE_PX / 4)
        tile = max(TILE_SHAPE * short, min(long, DETECT_SIDE_PX))
        count = math.ceil((long - overlap) / (tile - overlap))
        step = (long - tile) / max(1, count - 1)
        down, places = int(height >= width), []
        for index in range(count):
            start, end = round(index * step), min(long, round(index * step + tile))
            low = start + overlap / 2 if index else -math.inf
            high = round((index + 1) * step) + overlap / 2 if index < count - 1 else math.inf
            part = image[start:end] if down else image[:, start:end]
            for quad in self._detect(np.ascontiguousarray(part)):
                quad[:, down] += start
                if low <= float(quad[:, down].mean()) < high:
                    places.append(quad)
        return _sorted(places)

    def _detect(self, image: Picture) -> list[Quad]:
        import cv2

        height, width = image.shape[:2]
        scale = min(1.0, DETECT_SIDE_PX / max(height, width))
        high, wide = (max(32, round(side * scale / 32) * 32) for side in (height, width))
        small = cv2.resize(image, (wide, high), interpolation=cv2.INTER_LINEAR)
        blob = cv2.dnn.blobFromImage(small, 1 / 127.5, mean=(127.5, 127.5, 127.5), swapRB=True)
        ink = self._detector.run(None, {"x": blob})[0][0, 0]
        mask = cv2.dilate((ink > INK).astype(np.uint8), np.ones((2, 2), np.uint8))
        outlines, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
        quads = []
        for outline in outlines[:MOST_LINES]:
            (x, y), (w, h), angle = cv2.minAreaRect(outline)
            if min(w, h) < LEAST_PX or _darkness(ink, cv2.boxPoints(((x, y), (w, h), angle))) < BOX_SCORE:
                continue
            grown = UNCLIP * w * h / (2 * (w + h)) * 2
            corners = cv2.boxPoints(((x, y), (w + grown, h + grown), angle)) * (width / wide, height / high)
            quads.append(_clockwise(np.clip(corners, 0, (width - 1, height - 1)).astype(np.float32)))
        return [quad for quad in quads if min(_sides(quad)) > LEAST_PX]

    def _recognise(self, line: Picture) -> tuple[str, float]:
        import cv2

        height, width = line.shape[:2]
        if width > LONGEST_LINE * height:
            return "", 0.0
        wide = max(1, math.ceil(LINE_HEIGHT_PX * width / height))
        small = cv2.resize(line, (wide, LINE_HEIGHT_PX), interpolation=cv2.INTER_LINEAR)
        blob = np.zeros((1, 3, LINE_HEIGHT_PX, -(-(wide + LINE_MARGIN_PX) // LINE_STEP_PX) * LINE_STEP_PX), np.float32)
        blob[:, :, :, :wide] = cv2.dnn.blobFromImage(small, 1 / 127.5, mean=(127.5, 127.5, 127.5), swapRB=True)
        chances = self._recogniser.run(None, {"x": blob})[0][0]  # (steps, characters)
        best = chances.argmax(axis=1)
        kept = np.flatnonzero((best != 0) & (best != np.concatenate([[0], best[:-1]])))
        if not len(kept):
            return "", 0.0
        return "".join(self._characters[best[i]] for i in kept), float(chances[kept, best[kept]].mean())


def _session(path: Path) -> "onnxruntime.InferenceSession":
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # many processes of one thread beat the reverse
    options.enable_cpu_mem_arena = options.enable_mem_pattern = (
        False  # every page has its own shape: they would only grow
    )
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ModelError(f"The OCR model {path} cannot be loaded. Install rapidocr again. ({error})") from error


def _darkness(ink: NDArray[np.float32], corners: Quad) -> float:
    """The mean of the detector's map inside a box."""
    import cv2

    height, width = ink.shape
    left, top = (max(0, int(v)) for v in np.floor(corners.min(axis=0)))
    right, bottom = np.ceil(corners.max(axis=0)).astype(int) + 1
    part = ink[top : min(height, bottom), left : min(width, right)]
    mask = np.zeros(part.shape, np.uint8)
    cv2.fillPoly(mask, [(corners - (left, top)).astype(np.int32)], 1)
    return float(cv2.mean(part, mask)[0])


def _clockwise(quad: Quad) -> Quad:
    """Corners from the upper left: the two left ones are ordered by height, then the two right ones."""
    by_x = quad[np.argsort(quad[:, 0], kind="stable")]
    left, right = by_x[:2], by_x[2:]
    (upper_left, lower_left), (upper_right, lower_right) = (
        pair[np.argsort(pair[:, 1], kind="stable")] for pair in (left, right)
    )
    return np.array([upper_left, upper_right, lower_right, lower_left], np.float32)


def _sides(quad: Quad) -> tuple[float, float]:
    """Width and height of a line in pixels."""
    a, b, c, d = quad
    return (
        max(float(np.linalg.norm(a - b)), float(np.linalg.norm(d - c))),
        max(float(np.linalg.norm(a - d)), float(np.linalg.norm(b - c))),
    )


def _cut(image: Picture, quad: Quad) -> Picture:
    """The line, turned upright. Print that runs downwards is laid on its side, as the recogniser learned it."""
    import cv2

    wide, high = (max(1, round(side)) for side in _sides(quad))
    corners = np.array([[0, 0], [wide, 0], [wide, high], [0, high]], np.float32)
    turn = cv2.getPerspectiveTransform(quad, corners)
    line: Any = cv2.warpPerspective(image, turn, (wide, high), borderMode=cv2.BORDER_REPLICATE, flags=cv2.INTER_CUBIC)
    return np.rot90(line) if high >= UPRIGHT * wide else line


def _sorted(quads: list[Quad]) -> list[Quad]:
    return sorted(quads, key=lambda quad: (float(quad[:, 1].min()), float(quad[:, 0].min())))


def read(page: Page) -> list[Line]:
    """The lines of a page, roughly top to bottom; [] for a blank page or one that could not be decoded.

    Raises ModelError when the OCR models cannot be loaded.
    """
    if page.words:
        return join(page.words)
    return [] if page.image is None else reader().read(page.image)


@lru_cache(maxsize=1)
def reader() -> Reader:
    """The OCR models, loaded once in this process. Raises ModelError."""
    return Reader()
