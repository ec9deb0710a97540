"""Pictures of every page, light and dark, wide and narrow: python docs/shoot.py [ROOT] [OUT]

ROOT is a folder that runs have filled (default: demo, which `make demo` makes), OUT where the pictures go (default:
docs/pages). It drives the system's chromium as the tests do.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))

from browsing import browser, served  # noqa: E402 - it lies with the tests

SIZES = ((1280, 800), (390, 844))


def review(page: Any) -> None:
    page.wait_for_selector("tbody tr")


def record(page: Any) -> None:
    """The first record for review, on its most doubtful field."""
    review(page)
    page.locator("tbody tr", has_text="review").first.click()
    page.wait_for_selector("#review .sheet[data-shown]")


def settled(page: Any) -> None:
    page.wait_for_load_state("networkidle")


PAGES: dict[str, tuple[str, Callable[[Any], None]]] = {
    "review": ("", review),
    "record": ("", record),
    "ask": ("ask", settled),
    "runs": ("runs", settled),
}


def shoot(root: Path, out: Path) -> None:
    """Writes OUT/<page>-<light|dark>-<width>.png, and says which page is wider than its screen."""
    out.mkdir(parents=True, exist_ok=True)
    with served(root, log=out / "server.log") as address, browser() as chrome:
        for name, (path, ready) in PAGES.items():
            for scheme in ("light", "dark"):
                for width, height in SIZES:
                    context = chrome.new_context(
                        viewport={"width": width, "height": height}, color_scheme=scheme, device_scale_factor=1.5
                    )
                    page = context.new_page()
                    page.goto(f"{address}/{path}")
                    ready(page)
                    page.wait_for_timeout(700)
                    page.screenshot(path=out / f"{name}-{scheme}-{width}.png")
                    if (found := page.evaluate("document.documentElement.scrollWidth")) > width:
                        sys.stderr.write(f"{name} is {found} px wide on a screen of {width}\n")
                    context.close()
    (out / "server.log").unlink()


if __name__ == "__main__":
    shoot(Path(*sys.argv[1:2] or ["demo"]), Path(*sys.argv[2:3] or [HERE / "pages"]))
