"""Values that the field itself reads: for field types without a finder, such as those of plugins."""

from models.ocr.candidates.context import Candidate, PageContext, context, place
from models.ocr.candidates.label_index import Wanted
from pipeline.schema.fields import LineReader


def lines_of(scene: PageContext, wanted: Wanted) -> list[Candidate]:
    """Everything that the field's `locator` reads in a line, as printed, with the field's labels beside it."""
    reader = wanted.field.locator
    assert isinstance(reader, LineReader)
    candidates: list[Candidate] = []
    for number, sheet in enumerate(scene.sheets):
        for span in sheet.segments:
            for one in reader.read(span.text):
                features = context(scene, wanted, scene.near(number, span, one.start, one.end))
                features |= place(scene, number, span)
                features |= {"shape": 1.0, "quality": one.quality, "first": float(not candidates)}
                text = span.text[one.start : one.end]
                box = span.part(one.start, one.end)
                candidates.append(Candidate(text, text, scene.pages[number], box, span.score, features))
    return candidates
