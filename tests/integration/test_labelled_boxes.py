"""Boxes of two labelled sets of defects, through preprocessing, into a model's words, and back to the original page.

A model writes whole pixels of the picture that it sees, so an edge may be off by half such a pixel: half of `scale`
original pixels, where the picture is shown `scale` times smaller. Nothing else may be lost on the way.
"""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from models.scripted.echo import EchoEngine
from pipeline.core.geometry import Box, Region
from pipeline.core.types import Document, Page
from pipeline.extraction import prompt
from pipeline.extraction.extract import extract
from pipeline.preprocessing import preprocess
from pipeline.schema.job import parse_job
from tests.support.handmade import read

FIND = parse_job(
    b"name: find\nfields: {found: {type: list, max_items: 500, fields: {box: {type: box}, label: {type: text}}}}"
)
SMALL = replace(EchoEngine.page_spec, max_pixels=200 * 28 * 28)  # 200 cells a picture, as low_memory.yaml may show it
LOWER = Region(0.0, 0.3, 1.0, 0.7)


def labelled(shared: Path, name: str) -> list[tuple[Path, list[dict[str, Any]]]]:
    lines = (shared / name / "labels.jsonl").read_text("utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return [(shared / name / "img" / row["file"], row["boxes"]) for row in rows if row["boxes"]]


def there_and_back(sheet: Page, truth: list[Box]) -> list[Box]:
    """What the record says where the model points at each of these boxes without a mistake."""
    document = Document("ab" * 32, "a.jpg", Path("a.jpg"), "find", datetime(2025, 6, 1, tzinfo=UTC), 1)
    seen = [sheet.to_source.inverse().box(box) for box in truth]
    corners = [[round(side) for side in (box.x, box.y, box.right, box.bottom)] for box in seen]
    said = "```json\n" + json.dumps([{"bbox_2d": each, "label": "x"} for each in corners]) + "\n```"
    (reply,) = EchoEngine({"*": said}).answer([prompt.ask(FIND, document, [sheet])])
    record = extract(FIND, document, None, [reply], {})
    assert [issue for issue in record.issues if issue.code != "unseen"] == []
    return [Box(*(row["box"][side] for side in ("x", "y", "width", "height"))) for row in record.data["found"]]


def farthest(one: Box, other: Box) -> float:
    edges = zip((one.x, one.y, one.right, one.bottom), (other.x, other.y, other.right, other.bottom), strict=True)
    return max(abs(a - b) for a, b in edges)


def ways(sheet: Page) -> dict[str, tuple[Page, float]]:
    """The same picture as engines may see it, with how many original pixels one of its pixels is."""
    made = {
        "as Qwen sees it": preprocess.prepare(sheet, (), None, EchoEngine.page_spec),
        "shown small": preprocess.prepare(sheet, (), None, SMALL),
        "cut": preprocess.prepare(sheet, (), LOWER, EchoEngine.page_spec),
        "turned": preprocess.fit(
            preprocess.turn(replace(sheet, source_px=(sheet.width, sheet.height)), 90), EchoEngine.page_spec
        ),
    }
    scales = {}
    for name, each in made.items():
        scales[name] = max(abs(each.to_source.a) + abs(each.to_source.b), abs(each.to_source.d) + abs(each.to_source.e))
    return {name: (each, scales[name]) for name, each in made.items()}


@pytest.mark.parametrize("name", ["deeppcb", "magnetic_tile"])
def test_boxes_come_back_to_where_they_were(shared: Path, name: str) -> None:
    tried = dict.fromkeys(("as Qwen sees it", "shown small", "cut", "turned"), 0)
    for path, rows in labelled(shared, name):
        (sheet,) = read(path)
        truth = [Box(x0, y0, x1 - x0, y1 - y0) for x0, y0, x1, y1 in (row["box"] for row in rows)]
        for way, (shown, scale) in ways(sheet).items():
            inside = [box for box in truth if way != "cut" or box.y >= 0.3 * sheet.height + 1]
            for box, found in zip(inside, there_and_back(shown, inside), strict=True):
                off = farthest(box, found)
                assert off <= max(scale, 1.0) / 2 + 1e-6, (path.name, way, box, found)
                if way == "as Qwen sees it":
                    assert off <= 1.0
                tried[way] += 1
    assert all(count >= 15 for count in tried.values()), tried


def test_qwen_sees_these_pictures_nearly_as_large_as_they_are(shared: Path) -> None:
    """So that the half pixel above is truly less than one pixel of the original."""
    for name in ("deeppcb", "magnetic_tile"):
        for path, _ in labelled(shared, name)[:10]:
            (sheet,) = read(path)
            assert ways(sheet)["as Qwen sees it"][1] < 1.3
