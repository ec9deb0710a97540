"""Blocks of a page that belong to one party: a heading such as `Seller` or `Bill to`, and the lines under it."""

from models.ocr.candidates.context import LabelMatch, PageContext
from models.ocr.text.layout import Span

PARTIES = {"@buyer", "@seller", "@agency", "@advertiser"}


def section(scene: PageContext, first: Span, party: str) -> tuple[float, float]:
    """How strongly the heading over a line (up to nine rows up) says "this party", and how strongly it says another
    one."""
    sheet = scene.sheets[0]
    for above in range(first.row - 1, max(-1, first.row - 10), -1):
        if len(sheet.rows[above]) > 2:
            continue
        heads = [mark for mark in scene.in_row(0, above) if _heads(scene, mark)]
        if heads:
            mark = min(heads, key=lambda mark: (abs(mark.x0 - first.x0), mark.start, -mark.letters))
            weight = mark.quality * (1 - 0.07 * (first.row - above))
            own = mark.start <= 1 and "@" + party in scene.index.owners[mark.label]
            return (weight, 0.0) if own else (0.0, weight)
    return 0.0, 0.0


def _heads(scene: PageContext, mark: LabelMatch) -> bool:
    """Whether a label of a party is a heading: most of its line, or the end of one that names another party."""
    text = mark.span.text.rstrip(" :：")
    most = mark.end - mark.start >= 0.6 * len(text) and mark.start <= 1
    other = mark.start > 1 and mark.end >= len(text) and len(text) <= 40 and text[mark.start - 1] == " "
    return bool(PARTIES & set(scene.index.owners[mark.label])) and (most or other)
