"""Fields with a region are asked on a crop of their own, at full resolution, and come together in one record."""

import json
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image, ImageDraw, ImageFont

from models.ocr.engine import OcrEngine
from models.scripted.echo import EchoEngine
from pipeline.engine import Request
from pipeline.schema.job import Job, parse_job
from pipeline.schema.settings import Settings, load_settings
from tests.support.builders import drop_image, files, run_batch

CORNER = "{left: 0.7, top: 0.9, width: 0.3, height: 0.1}"
FORM = f"""\
name: note
preprocess: []
fields:
  title: {{type: text, labels: [Title]}}
  serial: {{type: text, kind: id, labels: [Serial No], region: {CORNER}}}
  total: {{type: money, required: true}}
  checked: {{type: date, region: {CORNER}}}
rules: [total > 10]
second_look: true
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "inbox" / "note").mkdir(parents=True)
    return load_settings(None, root=tmp_path, workers=1, settle_s=0)


def job(text: str = FORM) -> Job:
    return parse_job(text.encode())


def record(settings: Settings) -> dict[str, object]:
    (path,) = (settings.root / "records" / "note").glob("*.json")
    return json.loads(path.read_text())  # type: ignore[no-any-return]


def test_each_region_is_a_question_of_its_own(settings: Settings) -> None:
    Image.effect_noise((1000, 2000), 50).convert("RGB").save(settings.root / "inbox/note/a.png")
    asked: list[Request] = []

    def say(request: Request) -> str:
        asked.append(request)
        return json.dumps({"title": "A", "total": "20", "serial": "S-7", "checked": "2024-06-15"})

    assert run_batch(settings, EchoEngine(say), job()).faults() == []
    whole, corner = asked
    assert list(whole.job.fields) == ["title", "total"]
    assert list(corner.job.fields) == ["serial", "checked"]
    assert "serial" not in whole.question
    assert "title" not in corner.question
    assert "of the page's width" not in corner.question
    assert whole.schema is not None
    assert corner.schema is not None
    assert (list(whole.schema["properties"]), list(corner.schema["properties"])) == (
        ["title", "total"], ["serial", "checked"],
    )  # fmt: skip
    (page,) = corner.pages
    assert page.to_source.point(0, 0) == pytest.approx((700, 1800), abs=1)
    assert page.to_source.point(page.width, page.height) == pytest.approx((1000, 2000), abs=1)
    found = record(settings)
    assert found["data"] == {"title": "A", "serial": "S-7", "total": 20, "checked": "2024-06-15"}
    assert (found["pages"], found["status"], found["issues"]) == ([1], "ok", [])
    assert pd.read_parquet(settings.root / "results" / "note").columns.tolist().index("serial") == (
        pd.read_parquet(settings.root / "results" / "note").columns.tolist().index("title") + 1
    )


def test_windows_join_what_each_page_shows_in_the_region(settings: Settings) -> None:
    frames = [Image.new("RGB", (60, 40), (number, 0, 0)) for number in range(5)]
    frames[0].save(settings.root / "inbox/note/five.tiff", save_all=True, append_images=frames[1:])
    asked: list[tuple[int, int]] = []

    def say(request: Request) -> str:
        asked.append((request.part, request.window))
        if request.part:
            return json.dumps({"serial": {1: "S-7", 2: "S-8"}.get(request.window)})
        return json.dumps({"total": "20", "title": "T" if request.window == 2 else None})

    text = FORM.replace("second_look: true", "window: 2")
    assert run_batch(settings, EchoEngine(say), job(text)).faults() == []
    assert sorted(asked) == [(part, window) for part in (0, 1) for window in (0, 1, 2)]
    found = record(settings)
    assert found["data"] == {"title": "T", "serial": "S-7", "total": 20, "checked": None}
    assert found["pages"] == [1, 2, 3, 4, 5]
    (issue,) = found["issues"]  # type: ignore[misc]
    assert (issue["code"], issue["path"]) == ("conflict", "serial")
    assert issue["message"] == 'pages 3–4 say "S-7" but page 5 says "S-8"'


def test_a_second_look_asks_only_the_part_that_is_in_doubt(settings: Settings) -> None:
    drop_image(settings.root, "a.png")
    asked: list[tuple[int, int]] = []

    def say(request: Request) -> str:
        asked.append((request.look, request.part))
        if request.part:
            return json.dumps({"serial": "S-7" if request.look == 1 else "S-8"})
        return json.dumps({"title": "A", "total": None if request.look == 1 else "20"})

    assert run_batch(settings, EchoEngine(say), job()).faults() == []
    assert asked == [(1, 0), (1, 1), (2, 0)]
    found = record(settings)
    assert found["data"] == {"title": "A", "serial": "S-7", "total": 20, "checked": None}


def test_per_page_and_a_job_whose_fields_all_stand_in_one_region(settings: Settings) -> None:
    frames = [Image.new("RGB", (60, 40), (number, 0, 0)) for number in range(3)]
    frames[0].save(settings.root / "inbox/note/three.tiff", save_all=True, append_images=frames[1:])
    text = f"name: note\nper: page\nfields: {{serial: {{type: text, region: {CORNER}}}}}\n"
    pages: list[tuple[int, int]] = []

    def say(request: Request) -> str:
        (page,) = request.pages
        pages.append((page.width, page.height))
        return json.dumps({"serial": f"S-{page.number}"})

    assert run_batch(settings, EchoEngine(say), job(text)).faults() == []
    rows = pd.read_parquet(settings.root / "results" / "note")
    assert rows["serial"].tolist() == ["S-1", "S-2", "S-3"]
    assert len(pages) == 3
    assert len(files(settings.root, "done")) == 1


def test_tiny_print_in_a_corner_is_read_with_the_region_and_not_without(settings: Settings) -> None:
    """5100 × 6600 px, print 14 px high: the CPU engine sees the whole page at 2600 px, where that is 5 px."""
    image = Image.new("RGB", (5100, 6600), "white")
    pen = ImageDraw.Draw(image)
    for line in range(12):
        words = "Title: Inspection of the boiler" if line == 0 else f"A line of large print, the one with number {line}"
        pen.text((400, 400 + 300 * line), words, fill="black", font=ImageFont.load_default(110))
    pen.text((4200, 6150), "Serial No: KX-40817", fill="black", font=ImageFont.load_default(18))
    pen.text((4200, 6200), "15.06.2024", fill="black", font=ImageFont.load_default(18))
    path = settings.root / "inbox/note/large.png"
    text = FORM.replace("rules: [total > 10]\nsecond_look: true\n", "").replace("required: true", "required: false")
    image.save(path)
    engine = OcrEngine(1)
    try:
        assert run_batch(settings, engine, job(text)).faults() == []  # type: ignore[arg-type]
        found = record(settings)
        image.save(path)
        blind = parse_job(text.replace(f", region: {CORNER}", "").encode())
        assert run_batch(settings, engine, blind).faults() == []  # type: ignore[arg-type]
    finally:
        engine.close()
    assert found["data"]["serial"] == "KX-40817"  # type: ignore[index]
    assert found["data"]["checked"] == "2024-06-15"  # type: ignore[index]
    assert "Inspection" in found["data"]["title"]  # type: ignore[index]
    x, y, width, height = found["fields"]["serial"]["box"]  # type: ignore[index]
    assert 4200 < x + width / 2 < 4500
    assert 6140 < y < y + height < 6185
    assert record(settings)["data"]["serial"] is None  # type: ignore[index]
    assert record(settings)["data"]["checked"] is None  # type: ignore[index]
