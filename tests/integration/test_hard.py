"""Damaged, encrypted, huge, odd and hostile files: each gives pages or a reason, and none takes the others down."""

from pathlib import Path

import pytest

from pipeline.core.errors import DOCUMENT_ERRORS, DocumentError
from pipeline.engine import PageSpec
from pipeline.preprocessing.page_loader import PageLoader, PagePreparation, warm_up
from pipeline.schema.settings import Limits
from pipeline.system.process_pool import ProcessPool
from tests.stress.hostile import READ_ALL_THE_SAME, REFUSED_ALL_THE_SAME, listed
from tests.support.builders import file_document

BATCHES = 4


def outcomes(files: list[Path]) -> dict[str, str]:
    """By file name: "pages", "faults" where some of the first pages cannot be read, or the code of the error."""
    plan, found = PagePreparation(("orient", "deskew"), None, PageSpec(max_side_px=1600)), {}
    waiting = list(files)
    with ProcessPool(2, seconds=30, memory_mib=2048, start=warm_up) as pool:
        pages = PageLoader(pool, Limits())
        while len(found) < len(files):
            while waiting and pages.room:
                path = waiting.pop()
                pages.ask(file_document(path), plan, 1, 3)
            for ticket in pages.ready(60):
                try:
                    window = ticket.result()
                except DocumentError as error:
                    found[ticket.document.name] = error.code
                    continue
                found[ticket.document.name] = "faults" if any(page.fault for page in window.pages) else "pages"
                for page in window.pages:
                    assert (page.image is None) == (page.fault is not None)
                    assert page.width <= 1600
                    assert page.height <= 1600
    return found


@pytest.mark.parametrize("batch", range(BATCHES))
def test_hard_files_give_pages_or_a_reason(shared: Path, batch: int) -> None:
    rows = listed(shared / "hard")[batch::BATCHES]
    found = outcomes([shared / "hard" / "files" / row["file"] for row in rows])
    surprises = []
    for row in rows:
        name, outcome = row["file"], found[row["file"]]
        assert outcome in {"pages", "faults", *DOCUMENT_ERRORS} - {"crashed", "too_slow", "too_much_memory"}, name
        unsupported_reason = outcome not in ("pages", "faults")
        known = name in READ_ALL_THE_SAME or name in REFUSED_ALL_THE_SAME
        if unsupported_reason != (row["expected"] == "clear error") and not known:
            surprises.append(f"{name} ({row['kind']}): expected {row['expected']}, got {outcome}")
        assert not (known and unsupported_reason == (row["expected"] == "clear error")), (
            f"{name} is no exception any more"
        )
    assert not surprises, "\n".join(surprises)
