"""Pictures of every page, light and dark, wide and narrow: python docs/shoot.py [ROOT] [OUT]

ROOT is a folder that runs have filled (default: demo, which `make demo` makes), OUT where the pictures go (default:
demo/pages); three of them go into docs/pages/, made small. It works on a copy of ROOT, into which it puts a scripted
conversation and nights of accounts made from ROOT's own. It drives the system's chromium as the tests do.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent
sys.path[:0] = [str(PROJECT), str(PROJECT / "tests")]

from tests.support.browsing import browser, served  # noqa: E402 - it lies with the tests

SIZES = ((1280, 800), (390, 844))
SHOWN = ("record-light-1280", "ask-light-1280", "runs-light-1280")  # these stand in the docs: made small
COLOURS = 256  # a picture for the docs stays below 150 KB
VISITOR = "the-visitor-of-the-pictures"
PICTURES = ("receipts/bakery_crumpled.jpg", "invoices/phone_exif.jpg")
TURNS = (
    (
        "Was steht auf dem Kassenbon? Bitte als Tabelle, und zeige mir die Summe.",
        """Der Bon ist von der **Bäckerei Morgenrot**:

| Artikel | Preis |
|---|---:|
| Roggenmischbrot 1 kg | 4,80 € |
| 4 Laugenbrezel | 3,80 € |
| 3 Butterhörnchen | 4,35 € |
| 2 Käsekuchen | 6,40 € |
| Filterkaffee groß | 2,90 € |

```json
[{"bbox_2d": [175, 590, 700, 676], "label": "Summe"}]
```""",
    ),
    (
        "把这些变成 Python 列表",
        """可以：

```python
items = [
    {"item": "Roggenmischbrot 1 kg", "price": 4.80},
    {"item": "4 Laugenbrezel", "price": 3.80},
    {"item": "3 Butterhörnchen", "price": 4.35},
    {"item": "2 Käsekuchen", "price": 6.40},
    {"item": "Filterkaffee groß", "price": 2.90},
]
assert round(sum(each["price"] for each in items), 2) == 22.25
```""",
    ),
)
NIGHTS = ((40, 9, 0), (52, 11, 1), (61, 10, 0), (18, 4, 0), (0, 0, 0), (70, 9, 2), (66, 8, 0), (73, 9, 1), (80, 7, 0))


def fill(top: Path, source: Path) -> list[str]:
    """Copies the root and makes it look lived in; returns the options for a server over it."""
    root, jobs = top / "data", PROJECT / "jobs"
    shutil.copytree(source, root, ignore=shutil.ignore_patterns(".lock", ".locks", ".tmp", "working"))
    (root / "working").mkdir()
    nights(root)
    (top / "says.json").write_text("{}")
    config = top / "machine.yaml"
    config.write_text(f"engine: echo\nweights: {top / 'says.json'}\nsettle_s: 0\nworkers: 1\n")
    options = ["--root", str(root), "--jobs", str(jobs), "--config", str(config)]
    converse(top, root, jobs, options)
    return options[2:]


def nights(root: Path) -> None:
    """Accounts of the nights before, from the newest one that there is."""
    path = max((root / "runs").glob("*.json"))
    told = json.loads(path.read_bytes())
    ended = datetime.fromisoformat(told["started_at"])
    for back, (ok, review, failed) in enumerate(reversed(NIGHTS), 1):
        if not ok:
            continue
        began = ended.replace(hour=2, minute=0, second=0) - timedelta(days=back)
        taken, pages = ok + review + failed, round((ok + review) * 1.4)
        counts = dict(told["counts"], taken=taken, done=ok + review, failed=failed, duplicate=0, given_back=0)
        counts |= {"pages": pages, "seconds": pages / (1.1 + 0.05 * (back % 4))}
        counts["records"] = {"ok": ok, "review": review, "failed": failed}
        place = path.with_name(f"{began:%Y-%m-%dT%H-%M-%S}.json")
        place.write_text(json.dumps(dict(told, started_at=began.isoformat(), counts=counts, faults=[])))
        shutil.copyfile(path.with_suffix(".html"), place.with_suffix(".html"))


def converse(top: Path, root: Path, jobs: Path, options: list[str]) -> None:
    """A conversation of two turns, asked as the page asks and answered by the scripted engine."""
    from pipeline.schema.job import load_jobs
    from pipeline.schema.settings import Settings
    from web import context
    from web.data.conversations import ConversationStore
    from web.data.question_client import QuestionClient
    from web.pages import uploads

    context.configure(Settings(root=root, jobs=jobs))
    history = ConversationStore(root)
    client = QuestionClient(root, lambda: {job.name: job for job in load_jobs(jobs)}, options)
    name = history.begin(f"browser {VISITOR}", TURNS[0][0])
    for each in PICTURES:
        picture = PROJECT / "samples" / each
        uploads.attach(history, name, picture.name, picture.read_bytes())
    ways = [each.question_file(low=False) for each in uploads.attachments(history, name)]
    says = {}
    for number, (question, answer) in enumerate(TURNS):
        document = client.submit(f"{name}-{number + 1:03}-{number:06x}", ways, question, TURNS[:number])
        history.ask(name, question, document, False)
        says[document] = answer
    context.current_context().page_images.close()
    (top / "says.json").write_text(json.dumps(says))
    for question in ("Welche Farbe hat die Lampe?", "仪表读数是多少？", "Read every label in this photo, please"):
        other = history.begin(f"browser {VISITOR}", question)
        history.set_answer(history.ask(other, question, "0" * 64, False), "…", "echo")
    command = [sys.executable, str(PROJECT / "run_batch.py"), "run", *options, "--job", client.job.name]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True)
    (root / "asks" / "first").write_text(name)


def review(page: Any) -> None:
    page.wait_for_selector("tbody tr")


def record(page: Any) -> None:
    """The first record for review, on its most doubtful field."""
    review(page)
    page.locator("tbody tr", has_text="review").first.click()
    page.wait_for_selector("#review .viewer[data-shown]")


def ask(page: Any) -> None:
    page.get_by_text("engine echo").nth(1).wait_for()
    page.wait_for_selector(".viewer[data-shown]")
    page.wait_for_timeout(1500)  # the page scrolls to its end by itself
    page.evaluate(
        "document.querySelector('[class*=st-key-annotated]').scrollIntoView({block: 'end'});"
        "document.querySelector('.stMain').scrollBy(0, 110)"
    )


def runs(page: Any) -> None:
    page.get_by_text("Past runs").wait_for()
    page.wait_for_load_state("networkidle")
    if page.viewport_size["width"] > 1000:
        page.wait_for_timeout(800)
        page.evaluate("document.querySelector('.stMain').scrollBy(0, 380)")


def shoot(source: Path, out: Path) -> None:
    """Writes OUT/<page>-<light|dark>-<width>.png, and says which page is wider than its screen."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as made:
        top = Path(made)
        options = fill(top, source)
        talk = (top / "data" / "asks" / "first").read_text()
        pages: dict[str, tuple[str, Callable[[Any], None]]] = {
            "review": ("", review), "record": ("", record), "ask": (f"ask?c={talk}", ask), "runs": ("runs", runs),
        }  # fmt: skip
        with served(top / "data", *options, log=top / "server.log") as address, browser() as chrome:
            for name, (path, ready) in pages.items():
                for scheme in ("light", "dark"):
                    for width, height in SIZES:
                        context = chrome.new_context(
                            viewport={"width": width, "height": height}, color_scheme=scheme, device_scale_factor=1.5
                        )
                        context.add_cookies([{"name": "scanmill_visitor", "value": VISITOR, "url": address}])
                        page = context.new_page()
                        page.goto(f"{address}/{path}")
                        ready(page)
                        page.wait_for_timeout(900)
                        page.screenshot(path=out / f"{name}-{scheme}-{width}.png")
                        if (found := page.evaluate("document.documentElement.scrollWidth")) > width:
                            sys.stderr.write(f"{name} is {found} px wide on a screen of {width}\n")
                        context.close()
    for name in SHOWN:
        shrink(out / f"{name}.png", HERE / "pages" / f"{name.partition('-')[0]}.png")


def shrink(picture: Path, into: Path) -> None:
    """The same picture with a palette of its own, for a page of the docs."""
    from PIL import Image

    into.parent.mkdir(exist_ok=True)
    with Image.open(picture) as image:
        small = image.convert("RGB").resize((1280, round(image.height * 1280 / image.width)), Image.Resampling.LANCZOS)
        small.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(into, optimize=True)


if __name__ == "__main__":
    shoot(Path(*sys.argv[1:2] or ["demo"]), Path(*sys.argv[2:3] or ["demo/pages"]))
