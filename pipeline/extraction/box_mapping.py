"""Map boxes from the pixels of the engine's input to source pixels."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.core.geometry import Box
from pipeline.core.types import Page
from pipeline.schema.box_fields import _boxes
from pipeline.schema.fields import Field, Problem

LEAST_PX = 1.0  # a box with less than this inside the picture is outside


def to_source(
    fields: Mapping[str, Field], data: dict[str, Any], pages: Sequence[Page], shrunk: bool = False
) -> list[tuple[str, Problem]]:
    """Maps every box in `data` to its page and to source pixels, in place; a bad box becomes None.

    `pages` are the engine's input. `shrunk`: they were smaller than the prompt says, so that no box can be mapped.
    Returns the leaf path and problem of every bad box.
    """
    seen = {page.number: page for page in pages if page.fault is None}
    problems = []
    for leaf in _boxes(fields, data):
        if leaf.value is None:
            continue
        placed = _placed(leaf.value, seen, shrunk)
        if isinstance(placed, str):
            problems.append((leaf.path, Problem("bad_box", placed)))
        leaf.holder[leaf.key] = None if isinstance(placed, str) else placed
    return problems


def _placed(answer: Mapping[str, Any], seen: Mapping[int, Page], shrunk: bool) -> dict[str, Any] | str:
    number = answer["page"]
    if len(seen) == 1:  # a model may count its only picture as 1, whatever the page's number
        number = next(iter(seen))
    if number is None:
        return "the box does not say on which page it is"
    page = seen.get(number)
    if page is None:
        return f"the box is on page {number}, which the engine did not see"
    if shrunk:
        return "the page had to be shown smaller for want of memory: where its boxes lie is not known"
    left, top = max(0.0, answer["x"]), max(0.0, answer["y"])
    right = min(float(page.width), answer["x"] + answer["width"])
    bottom = min(float(page.height), answer["y"] + answer["height"])
    if right - left < LEAST_PX or bottom - top < LEAST_PX:
        return f"the box lies outside the picture of {page.width} x {page.height} pixels, or is empty"
    box = page.source_box(Box(left, top, right - left, bottom - top))
    if box.width <= 0 or box.height <= 0:
        return "the box lies outside the page"
    return {"page": number, "x": box.x, "y": box.y, "width": box.width, "height": box.height}
