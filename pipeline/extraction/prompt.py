"""Build the request for some pages of a document. The same job and pages give the same prompt."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.core.types import Document, Issue, Page
from pipeline.engine import Request
from pipeline.schema.box_fields import has_boxes
from pipeline.schema.fields import Field, fold, leaves, lone_text, object_schema, object_tokens, prompt_lines
from pipeline.schema.job import Job

# The same for every job, so that requests about the same pages share their prefix in the KV cache.
SYSTEM = "You look at pictures and answer what is asked about them."
_MOST_TOKENS, _MOST_TEXT_TOKENS = 4096, 8192
_MOST_DOUBTS = 10  # issues named in the prompt of a second pass

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
    """The request for these pages. Pages with a fault stay in it, so that the record can name them.

    `job` is one of `Job.parts`. `doubts` are the issues of the first answer and make it a second pass; a truncated
    answer then gets twice as many tokens.
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
    """The prompt after the pictures. `asked` is the question that came with the document."""
    parts = [text for text in (job.role.strip(), job.instructions.strip()) if text]
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
    """The rules for answering. Some fields are not printed on the page but described or written by the model."""
    unread = {path: leaf for path, leaf in leaves(fields) if not leaf.readable}
    written = [path for path, leaf in unread.items() if leaf.long_text]
    rules = [_NULL_SEEN, _COPY_PRINT] if unread else [_NULL, _COPY]
    if written:
        rules.insert(1, f"- You write {', '.join(written)} yourself.")
    lists = {name: field for name, field in fields.items() if field.repeats}
    if lists:
        rules.append(_ROWS if all(leaf.readable for _, leaf in leaves(lists)) else _FINDS)
    return rules


def _sizes(pages: Sequence[Page]) -> str:
    """The sizes of the pictures, in the pixels that boxes use."""
    seen = [page for page in pages if page.fault is None and page.width]
    if not seen:
        return ""
    sizes = [f"picture {n} is page {page.number}, {page.width} x {page.height}" for n, page in enumerate(seen, 1)]
    return "Boxes count pixels from the left and upper edge of their picture: " + "; ".join(sizes) + " pixels."


def again(doubts: Sequence[Issue]) -> str:
    """The part of a second-pass prompt about the first answer."""
    named = [f"{issue.path}: {issue.message}" if issue.path else issue.message for issue in doubts[:_MOST_DOUBTS]]
    listed = "\n".join(f"- {each}" for each in named)
    return (
        f"You have answered this before, and something was wrong with that answer:\n{listed}\n"
        "Look again at the page, closely, and read every value anew. Answer what is printed, even where it does not "
        "add up; never change a value only to make it fit."
    )


def shape(fields: Mapping[str, Field]) -> Any:
    """The JSON shape of an answer, without values; a list has one row, a list of single values null."""
    return fold(fields, lambda leaf: leaf.nothing().value, dict, lambda row: [row if isinstance(row, dict) else None])


def tokens_of(fields: Mapping[str, Field]) -> int:
    """An upper estimate of the answer length in tokens, so that ordinary answers are not truncated."""
    if text := lone_text(fields):
        return min(_MOST_TEXT_TOKENS, 64 + text.answer_tokens())
    return min(_MOST_TOKENS, 64 + object_tokens(fields))


def span(numbers: Sequence[int]) -> str:
    """[3] → "page 3"; [3, 4, 5] → "pages 3 to 5" """
    if not numbers:
        return "no page"
    first, last = min(numbers), max(numbers)
    return f"page {first}" if first == last else f"pages {first} to {last}"
