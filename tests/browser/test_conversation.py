"""Ask and Runs in a real browser: two pictures, a follow-up, the store, two visitors, and what cannot be taken."""

import hashlib
import itertools
import json
import re
import shutil
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.geometry import Box
from pipeline.core.types import Document, Evidence, Record
from pipeline.reporting.live_status import LiveStatus
from pipeline.reporting.run_report import ReportEntry
from pipeline.schema.job import parse_job
from pipeline.storage.record_store import RecordStore
from pipeline.system.locks import RootLock
from tests.support.browsing import PROJECT, served
from tests.support.waiting import EVENT_S
from web.data.conversations import ConversationStore, StoredImage

LIMIT_MIB = 20
ANSWER = """Two **receipts**.

<img src="x" onerror="document.title = 'mine'">

| item | price |
|---|---|
| bread | 3.20 |

```json
[{"bbox_2d": [100, 40, 400, 120], "label": "the shop"}]
```

```html
<h1>Bakery</h1><script>document.title = "mine"</script>
```
"""
SLOW = "Tell me slowly, please"
SLOW_ID = hashlib.sha256(json.dumps([SLOW, []]).encode()).hexdigest()  # of a question alone
PICTURES = [
    str(PROJECT / "samples" / "receipts" / "bakery_crumpled.jpg"),
    str(PROJECT / "samples" / "invoices" / "phone_exif.jpg"),
]


@pytest.fixture(scope="module")
def top(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("talk")
    (top / "data" / "inbox" / "bills").mkdir(parents=True)
    (top / "jobs").mkdir()
    (top / "jobs" / "ask.yaml").write_text((PROJECT / "jobs" / "ask.yaml").read_text("utf-8"))
    (top / "jobs" / "bill.yaml").write_text("inbox: bills\npreprocess: []\nfields: {number: {type: text}}\n")
    (top / "says.json").write_text(json.dumps({"*": ANSWER, SLOW_ID: f"<slowly>{ANSWER}"}))
    config = f"engine: echo\nweights: {top / 'says.json'}\nsettle_s: 0\nworkers: 1\nweb: {{upload_mib: {LIMIT_MIB}}}\n"
    (top / "machine.yaml").write_text(config)
    return top


@pytest.fixture(scope="module")
def address(top: Path) -> Iterator[str]:
    with served(top / "data", "--jobs", str(top / "jobs"), "--config", str(top / "machine.yaml")) as found:
        yield found


@pytest.fixture
def visitor(chrome: Any) -> Iterator[Any]:
    context = chrome.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(1000 * EVENT_S)
    yield context
    context.close()


def visit(visitor: Any, address: str) -> Any:
    page = visitor.new_page()
    page.goto(f"{address}/ask")
    page.get_by_text("Ask about an image.").wait_for()
    return page


def ask(page: Any, question: str, files: list[str] | None = None) -> None:
    if files:
        page.locator("input[type=file]").first.set_input_files(files)
        page.get_by_text(Path(files[-1]).name).first.wait_for()
    field = page.get_by_test_id("stChatInputTextArea")
    field.fill(question)
    end = time.monotonic() + EVENT_S
    while field.input_value():  # Enter does nothing while a picture is still on its way to the server
        assert time.monotonic() < end
        field.press("Enter")
        page.wait_for_timeout(200)


def answers(page: Any, count: int) -> None:
    """Waits until so many answers stand there."""
    page.wait_for_function(f"document.querySelectorAll('table').length >= {count}")


def test_a_conversation_from_pictures_to_the_bin(visitor: Any, address: str, top: Path) -> None:
    asked: list[str] = []
    page = visit(visitor, address)
    page.on("request", lambda request: asked.append(request.url))
    ask(page, "What is on these?\nIn two lines", PICTURES)
    answers(page, 1)
    assert page.get_by_text("bakery_crumpled.jpg").first.is_visible()
    assert page.get_by_text(re.compile("JPEG · .* × .* · .* KiB")).count() == 2
    assert page.get_by_text("receipts").first.is_visible()
    page.get_by_text(re.compile("Answers come from this page’s own watch .process .*, engine echo")).wait_for()
    page.get_by_role("button", name="Open").first.click()
    page.locator("[role=dialog] .viewer[data-shown]").wait_for()
    with page.expect_download() as original:
        page.get_by_role("button", name="Save bakery").click()
    assert Path(original.value.path()).read_bytes() == Path(PICTURES[0]).read_bytes()
    page.get_by_role("dialog").get_by_role("button", name="Close").click()
    page.get_by_role("dialog").wait_for(state="detached")

    page.get_by_role("tab", name="Preview").click()
    frame = page.frame_locator("iframe[title=Preview]")
    frame.get_by_role("heading", name="Bakery").wait_for()
    assert page.title() != "mine"
    box = page.locator("svg .boxes rect").first
    box.wait_for()
    assert float(box.get_attribute("width")) > 100  # in the pixels of the original

    ask(page, "And the second one?")
    answers(page, 2)
    sets = [place for place in (top / "data" / "done" / "ask").glob("*/*") if place.is_dir()]
    assert len(sets) == 2
    (second,) = [place for place in sets if (place / "earlier.json").exists()]
    assert json.loads((second / "earlier.json").read_text("utf-8"))[0]["question"] == "What is on these?\nIn two lines"
    assert {place.name for place in second.iterdir()} >= {"1.jpg", "2.jpg", "question.txt"}

    page.reload()
    answers(page, 2)
    page.goto(f"{address}/ask")
    page.get_by_placeholder("Search questions and answers").fill("no such word")
    page.get_by_placeholder("Search questions and answers").press("Enter")
    page.get_by_text("Nothing found.").wait_for()
    page.get_by_placeholder("Search questions and answers").fill("second one")
    page.get_by_placeholder("Search questions and answers").press("Enter")
    page.get_by_role("button", name="What is on these? In two lines").click()
    answers(page, 2)

    page.locator("[data-testid=stSidebar] [data-testid=stPopover] button").first.click()
    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_text("Your conversations appear here.").or_(page.get_by_text("Nothing found.")).first.wait_for()
    wiped(top / "data")
    assert all(url.startswith((address, "data:", "blob:")) for url in asked)


def test_a_ready_question_stands_in_the_field_beside_what_was_dropped(visitor: Any, address: str) -> None:
    page = visit(visitor, address)
    page.locator("input[type=file]").first.set_input_files(PICTURES[0])
    page.get_by_text("bakery_crumpled.jpg").wait_for()
    page.get_by_role("button", name="As table").click()
    field = page.get_by_test_id("stChatInputTextArea")
    page.wait_for_function("document.querySelector('textarea').value.startsWith('Give the table as Markdown')")
    field.press("End")
    field.press_sequentially(" In German.")
    field.press("Enter")
    answers(page, 1)
    page.get_by_test_id("stChatMessage").get_by_text(
        "Give the table as Markdown, with its headings. In German."
    ).wait_for()
    assert page.get_by_text("bakery_crumpled.jpg").first.is_visible()


def test_low_resolution_asks_about_a_small_copy(visitor: Any, address: str, top: Path) -> None:
    from PIL import Image

    page = visit(visitor, address)
    page.get_by_text("Advanced").click()
    page.get_by_text("Low resolution").click()
    page.keyboard.press("Escape")
    ask(page, "In short?", PICTURES[:1])
    answers(page, 1)
    page.get_by_text("· low resolution").wait_for()
    name = re.search(r"c=([\w-]+)", page.url)
    assert name
    (asked,) = (top / "data" / "done" / "ask").glob(f"*/{name[1]}-*/*.jpg")
    with Image.open(asked) as small:
        assert max(small.size) == 756


def test_what_the_cpu_engine_read_is_told_as_that_with_its_boxes(chrome: Any, address: str, top: Path) -> None:
    root = top / "data"
    store, job = ConversationStore(root), parse_job((top / "jobs" / "ask.yaml").read_bytes(), "ask.yaml")
    name = store.begin("browser reader", "Which number?")
    thumb = StoredImage("1.jpg", "bakery.jpg", "JPEG", 1148, 1548, 1, Path(PICTURES[0]).read_bytes())
    shutil.copyfile(PICTURES[0], store.folder(name) / "1.jpg")
    store.add_image(name, thumb)
    document = Document("e" * 64, f"{name}-001-abcdef", Path(), "ask", datetime.now().astimezone(), 1)
    seen = {f"answer[{line}]": Evidence(1, Box(100, 100 * line, 300, 50), "") for line in range(3)}
    seen["answer"] = Evidence(1, Box(100, 0, 300, 250), "")
    told = {"engine": "ocr", "run": "night", "job_digest": job.digest}
    RecordStore(root).commit([Record(document, "ask", None, (1,), {"answer": "No. 7"}, {}, seen, (), None, told)])
    store.set_answer(store.ask(name, "Which number?", document.id, False), "No. 7", "ocr")
    context = chrome.new_context()
    try:
        context.add_cookies([{"name": "scanmill_visitor", "value": "reader", "url": address}])
        page = context.new_page()
        page.goto(f"{address}/ask?c={name}")
        page.get_by_text("The CPU engine cannot answer questions. This is the text that it read.").wait_for()
        page.get_by_text("No. 7").wait_for()
        page.locator("svg .boxes rect").nth(2).wait_for()
        assert page.locator("svg .boxes rect").count() == 3
    finally:
        context.close()


def wiped(root: Path) -> None:
    assert list((root / "done" / "ask").glob("*/*")) == []
    assert list((root / "records" / "ask").iterdir()) == []
    left = b"".join(path.read_bytes() for path in root.rglob("*") if path.is_file() and path.suffix != ".lock")
    assert b"In two lines" not in left


def test_visitors_do_not_see_each_other(chrome: Any, address: str, top: Path) -> None:
    ann, ben = (chrome.new_context(viewport={"width": 390, "height": 800}) for _ in range(2))
    try:
        for context in (ann, ben):
            context.set_default_timeout(1000 * EVENT_S)
        first, second = visit(ann, address), visit(ben, address)
        ask(first, "A question of my own")
        answers(first, 1)
        name = re.search(r"c=([\w-]+)", first.url)
        assert name
        second.goto(f"{address}/ask?c={name[1]}")
        second.get_by_text("Ask about an image.").wait_for()
        assert second.get_by_text("A question of my own").count() == 0
        second.goto(address)  # what others asked does not stand under Review either, nor open there
        second.get_by_text("There are no records yet.").wait_for()
        asked = next((top / "data" / "records" / "ask").glob("*.json")).stem
        second.goto(f"{address}/?record=ask/{asked}/0")
        second.get_by_text("No record has this address.").wait_for()
        assert second.request.get(f"{address}/scan/ask/{asked}/0/1").status == 404
        first.reload()
        # on a small screen the list of conversations has it too, folded away
        first.get_by_test_id("stChatMessage").get_by_text("A question of my own").wait_for()
        assert first.evaluate("document.documentElement.scrollWidth") <= 390
    finally:
        ann.close()
        ben.close()


def test_an_answer_is_seen_as_it_grows(visitor: Any, address: str, top: Path) -> None:
    page = visit(visitor, address)
    page.evaluate(
        """() => { window.grown = []; setInterval(() => {
          const texts = [...document.querySelectorAll("[data-testid=stChatMessage]")].map(each => each.innerText)
          const text = texts.find(each => each.includes("▍"))
          if (text && text !== window.grown.at(-1)) window.grown.push(text)
        }, 50) }"""
    )
    ask(page, SLOW)
    page.get_by_text(re.compile(r"writing … \d+ s")).wait_for()
    page.get_by_text(re.compile(r"\d+ s · engine echo")).wait_for()
    answers(page, 1)
    grown = [text.split("▍")[0] for text in page.evaluate("window.grown")]
    assert len({len(text) for text in grown}) >= 2, grown
    assert "Two" in grown[0]
    assert page.get_by_text("▍").count() == 0
    left = [path.name for path in (top / "data").glob(".live*") if b"Bakery" in path.read_bytes()]
    assert left == []


def test_what_is_deleted_while_it_is_answered_is_gone_too(visitor: Any, address: str, top: Path) -> None:
    page = visit(visitor, address)
    ask(page, SLOW + " again")  # not slow: but the engine is asked while it is deleted, or just after
    page.get_by_test_id("stChatMessage").first.wait_for()
    page.locator("[data-testid=stSidebar] [data-testid=stPopover] button").first.click()
    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_text("Your conversations appear here.").wait_for()
    end = time.monotonic() + EVENT_S
    while [
        path for path in (top / "data").rglob("*") if path.is_file() and b"slowly, please again" in path.read_bytes()
    ]:
        assert time.monotonic() < end
        page.reload()
        page.get_by_text("Ask about an image.").wait_for()


def test_a_broken_picture_and_a_huge_one_are_told_in_words(visitor: Any, address: str, tmp_path: Path) -> None:
    broken, huge = tmp_path / "broken.png", tmp_path / "huge.jpg"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n" + b"no picture" * 20)
    with huge.open("wb") as file:
        file.truncate(50 * 2**20)
    page = visit(visitor, address)
    ask(page, "What is it?", [str(broken)])
    page.get_by_text(re.compile("broken.png")).last.wait_for()
    page.get_by_text(re.compile("damaged|cannot be", re.IGNORECASE)).first.wait_for()
    assert page.get_by_text("Your conversations appear here.").is_visible()
    page.locator("input[type=file]").first.set_input_files([str(huge)])
    page.get_by_text("huge.jpg").wait_for()
    assert f"must be {LIMIT_MIB}.0MB or smaller" in page.get_by_test_id("stChatInput").inner_text()
    assert f"at most {LIMIT_MIB} MB each" in page.get_by_test_id("stChatInput").inner_html()


def test_a_run_is_started_and_seen(visitor: Any, address: str, top: Path) -> None:
    from PIL import Image

    for number in range(3):
        Image.new("RGB", (60 + number, 40), "white").save(top / "data" / "inbox" / "bills" / f"{number}.png")
    (top / "data" / "inbox" / "bills" / "torn.pdf").write_bytes(b"%PDF-1.4\n")
    page = visitor.new_page()
    page.goto(f"{address}/runs")
    page.get_by_role("button", name="Run now (4 waiting)").click()
    end = time.monotonic() + EVENT_S
    while not list((top / "data" / "failed" / "bills").glob("torn.pdf")):
        assert time.monotonic() < end
        time.sleep(0.1)
    retry = page.get_by_role("button", name="Retry failed (1)").first  # the second is Streamlit's own, for the help
    page.get_by_text("Past runs").wait_for()
    waiting = (
        "[...document.querySelectorAll('button')].some(b => b.innerText.includes('Retry failed (1)') && !b.disabled)"
    )
    page.wait_for_function(waiting)
    retry.click()
    page.get_by_role("button", name="Run now (1 waiting)").first.wait_for()
    assert (top / "data" / "inbox" / "bills" / "torn.pdf").exists()


def test_a_run_at_work_is_seen_and_one_that_cannot_start_says_why(visitor: Any, address: str, top: Path) -> None:
    root = top / "data"
    page = visitor.new_page()
    page.goto(f"{address}/runs")
    page.get_by_role("button", name="Run now").first.wait_for()
    with RootLock(root, "night"):
        told = LiveStatus(root, "night", "echo", ["bills"], clock=itertools.count(0, 60).__next__)
        told.started(10)
        page.get_by_text("0 of 10 documents: none has ended yet.").wait_for()
        for number in range(3):
            told.finished(ReportEntry(f"{number}", f"{number}.pdf", "bills", "done", pages=2))
        page.get_by_text("3 of 10 documents: 3 ok. 6 pages in").wait_for()
        page.get_by_text("Last: bills/2.pdf.").wait_for()
        assert page.get_by_role("button", name="Run now").first.is_disabled()
        told.close()
    (top / "says.json").write_text("no JSON")
    (root / "inbox" / "bills" / "more.pdf").write_bytes(b"%PDF-1.4\n")
    page.reload()
    page.locator("button:enabled", has_text="Run now").first.click()
    page.get_by_role("alert").filter(has_text=f"{top / 'says.json'}").wait_for()
