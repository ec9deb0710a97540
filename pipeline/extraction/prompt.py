"""A job and some pages become a question. The same job and pages always give the same words."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.core.types import Document, Issue, Page
from pipeline.engine import Request
from pipeline.schema.box_fields import has_boxes
from pipeline.schema.fields import Field, fold, leaves, lone_text, object_schema, object_tokens, prompt_lines
from pipeline.schema.job import Job

# The same words for every job: so all questions about the same pages share all that a model reads before them.
SYSTEM = "You look at pictures and answer what is asked about them."
_MOST_TOKENS, _MOST_TEXT_TOKENS = 4096, 8192
_DOUBTS_TOLD = 10  # a table in which every row fails needs no more words

_NULL = "- Give null where a value is not printed or cannot be read. Null is better than a guess."
_NULL_SEEN = "- Give null where something is not there or cannot be made out. Null is better than a guess."
_COPY = "- Copy values as they are printed, in their own language. Do not compute, translate, complete or correct."
_COPY_PRINT = "- Copy print as it stands, in its own language. Do not translate, complete or correct it."
_ROWS = "- A list has one entry for each printed row, in the order of the page, and is [] where there is none."
_FINDS = "- A list has one entry for each thing that you find, in the order of the page, and is [] where there is none."


def ask(
    job: Job,
    document: Document,
    pages: Sequence[Page],
    window: int = 0,
    windows: int = 1,
    *,
    part: int = 0,
    parts: int = 1,
    doubts: Sequence[Issue] = (),
) -> Request:
    """The question about these pages. Pages with a fault stay in the request, so that the record can name them.

    `job` is one of `Job.parts`. `doubts`, what was wrong with the first answer, make it a second look. An answer that
    was cut off then gets twice the room.
    """
    words = question(job, pages, window, windows, document.question)
    most = job.max_new_tokens or tokens_of(job.fields)
    return Request(
        document=document,
        job=job,
        pages=tuple(pages),
        system=SYSTEM,
        question=f"{words}\n\n{again(doubts)}" if doubts else words,
        schema=None if lone_text(job.fields) else object_schema(job.fields),
        max_new_tokens=2 * most if any(issue.code == "truncated" for issue in doubts) else most,
        window=window,
        windows=windows,
        part=part,
        parts=parts,
        look=2 if doubts else 1,
        earlier=document.earlier,
    )


def question(job: Job, pages: Sequence[Page], window: int = 0, windows: int = 1, asked: str | None = None) -> str:
    """What the model reads after the pictures. `asked` is the question that came with them."""
    parts = [said for said in (job.role.strip(), job.instructions.strip()) if said]
    if windows > 1:
        parts.append(
            f"You see {span([page.number for page in pages])} of a longer document (part {window + 1} of {windows}). "
            "Read only what stands on them; what stands elsewhere is null here."
        )
    text = lone_text(job.fields)
    if asked is not None and text and text.answers_question:
        return "\n\n".join([*parts, asked])
    if asked is not None:
        parts.append(f"The question:\n{asked}")
    if text:
        parts.append(text.free_text_prompt() + " Where there is nothing of the kind, answer null.")
        return "\n\n".join(parts)
    boxed = has_boxes(job.fields)
    parts.append("Give these values:\n" + "\n".join(prompt_lines(job.fields)))
    parts.append("\n".join(_how(job.fields)))
    if boxed and (sizes := _sizes(pages)):
        parts.append(sizes)
    parts.append(
        "Answer with one JSON object of this shape and nothing else:\n"
        + json.dumps(shape(job.fields), ensure_ascii=False)
    )
    return "\n\n".join(parts)


def _how(fields: Mapping[str, Field]) -> list[str]:
    """The rules for answers of a job with these fields: not all that is looked for is printed."""
    unread = {path: leaf for path, leaf in leaves(fields) if not leaf.readable}
    written = [path for path, leaf in unread.items() if leaf.long_text]
    said = [_NULL_SEEN, _COPY_PRINT] if unread else [_NULL, _COPY]
    if written:
        said.insert(1, f"- You write {', '.join(written)} yourself.")
    lists = {name: field for name, field in fields.items() if field.repeats}
    if lists:
        said.append(_ROWS if all(leaf.readable for _, leaf in leaves(lists)) else _FINDS)
    return said


def _sizes(pages: Sequence[Page]) -> str:
    """How large the pictures are: the pixels that boxes count in."""
    seen = [page for page in pages if page.fault is None and page.width]
    if not seen:
        return ""
    told = [f"picture {n} is page {page.number}, {page.width} x {page.height}" for n, page in enumerate(seen, 1)]
    return "Boxes count pixels from the left and upper edge of their picture: " + "; ".join(told) + " pixels."


def again(doubts: Sequence[Issue]) -> str:
    """What a second look is told about the first."""
    told = [f"{issue.path}: {issue.message}" if issue.path else issue.message for issue in doubts[:_DOUBTS_TOLD]]
    listed = "\n".join(f"- {each}" for each in told)
    return (
        f"You have answered this before, and something was wrong with that answer:\n{listed}\n"
        "Look again at the page, closely, and read every value anew. Answer what is printed, even where it does not "
        "add up; never change a value only to make it fit."
    )


def shape(fields: Mapping[str, Field]) -> Any:
    """An answer with every key and no value; a list shows one row, a plain list null."""
    return fold(fields, lambda leaf: leaf.nothing().value, dict, lambda row: [row if isinstance(row, dict) else None])


def tokens_of(fields: Mapping[str, Field]) -> int:
    """An upper estimate of an answer's length in tokens, generous enough that ordinary answers are not cut off."""
    if text := lone_text(fields):
        return min(_MOST_TEXT_TOKENS, 64 + text.answer_tokens())
    return min(_MOST_TOKENS, 64 + object_tokens(fields))


def span(numbers: Sequence[int]) -> str:
    """[3] → "page 3"; [3, 4, 5] → "pages 3 to 5" """
    if not numbers:
        return "no page"
    first, last = min(numbers), max(numbers)
    return f"page {first}" if first == last else f"pages {first} to {last}"
