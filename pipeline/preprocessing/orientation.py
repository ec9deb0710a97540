"""Detect page orientation (multiples of 90 degrees) and skew (small angles). Both return 0 unless confident."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]  # RGB, shape (height, width, 3)

MODEL = Path(__file__).with_name("orientation.onnx")  # from pixels to probabilities of 0, 90, 180 and 270 degrees

LEAST_PROBABILITY = 0.8  # mean probability: detects 253 of 258 turned receipts and forms, and turns no upright one
LEAST_SIDE_PX, MAX_ASPECT = 64, 20  # smaller or longer pictures are left as they are
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, with which the model was trained
SHORT_PX, CROP_PX = 256, 224  # the model's input

MAX_SKEW = 10.0  # degrees searched to either side
MIN_SKEW = 0.3  # degrees: less does not hurt recognition, and rotation costs sharpness
SKEW_SIDE_PX = 900  # working size
MAX_POINTS = 20_000  # ink points at most
GAIN, CONTRAST = 1.15, 1.6  # least sharpness relative to no rotation, and to the median of all angles


@lru_cache(maxsize=1)
def _model() -> Any:
    """The orientation model, loaded once per process. See NOTICE for its origin."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(str(MODEL), options, providers=["CPUExecutionProvider"])


def rotation(image: Image) -> int:
    """The clockwise rotation of the page in degrees: 0, 90, 180 or 270. 0 if the model is not confident."""
    import cv2

    high, wide = image.shape[:2]
    if min(high, wide) < LEAST_SIDE_PX or max(high, wide) > MAX_ASPECT * min(high, wide):
        return 0
    scale = SHORT_PX / min(high, wide)
    size = (max(SHORT_PX, round(wide * scale)), max(SHORT_PX, round(high * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    across, down = size[0] - CROP_PX, size[1] - CROP_PX
    crops = []
    for place in (0.5, 0.2, 0.8):  # along the long side: the middle, near the start, near the end
        left, top = (int(across * place), down // 2) if wide > high else (across // 2, int(down * place))
        crops.append(small[top : top + CROP_PX, left : left + CROP_PX])
    values = (np.stack(crops).astype(np.float32) / 255 - MEAN) / DEVIATION
    votes = _model().run(None, {"x": values.transpose(0, 3, 1, 2).astype(np.float32)})[0].mean(axis=0)
    best = int(votes.argmax())
    return best * 90 if votes[best] >= LEAST_PROBABILITY else 0


def skew(image: Image) -> float:
    """The clockwise slope of the text lines in degrees, within ±`MAX_SKEW`. 0.0 if it is small or uncertain.

    At the right angle the sum of squares of the ink's row profile is greatest.
    """
    ink = _ink(image)
    if len(ink) < 200:
        return 0.0
    coarse = np.arange(-MAX_SKEW, MAX_SKEW + 0.1, 0.5)
    sharpness = np.array([_sharpness(ink, angle) for angle in coarse])
    best = float(coarse[sharpness.argmax()])
    if abs(best) >= MAX_SKEW or sharpness.max() < CONTRAST * np.median(sharpness):
        return 0.0
    fine = np.arange(best - 0.5, best + 0.51, 0.1)
    at_fine = np.array([_sharpness(ink, angle) for angle in fine])
    best = float(fine[at_fine.argmax()])
    if abs(best) <= MIN_SKEW or at_fine.max() < GAIN * _sharpness(ink, 0.0):
        return 0.0
    return round(best, 2)


def _ink(image: Image) -> NDArray[np.float32]:
    """Upper edges of ink as (x, y) in pixels of the scaled picture, without shadows and filled areas."""
    import cv2

    high, wide = image.shape[:2]
    scale = min(1.0, SKEW_SIDE_PX / max(high, wide))
    size = (max(1, round(wide * scale)), max(1, round(high * scale)))
    grey = cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    if min(size) < 32:
        return np.empty((0, 2), np.float32)
    dark = cv2.adaptiveThreshold(grey, 1, cv2.ADAPTIVE_THRESH_MEAN_C, cv2.THRESH_BINARY_INV, 25, 12)
    edges = dark[1:] & ~dark[:-1] & 1
    y, x = np.nonzero(edges)
    every = max(1, len(x) // MAX_POINTS)
    return np.stack([x[::every], y[::every]], axis=1).astype(np.float32)


def _sharpness(ink: NDArray[np.float32], angle: float) -> float:
    slope = np.radians(angle)
    rows = ink[:, 1] * np.cos(slope) - ink[:, 0] * np.sin(slope)
    counts = np.bincount((rows - rows.min()).astype(np.int32)).astype(np.float64)
    return float((counts**2).sum())
