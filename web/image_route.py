"""The route that serves page images to the browser."""

import re
from pathlib import Path

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from pipeline.core.errors import ConfigError, DocumentError, ModelError, StorageError
from pipeline.inbox.originals import pictures
from pipeline.plugins.formats import explain_error
from pipeline.schema.job import Job
from pipeline.storage.record_files import record_file
from pipeline.storage.record_json import from_json
from web.context import WebContext, current_context
from web.data.conversations import private
from web.data.page_images import PageImage


def page_image(request: Request) -> Response:
    """Return a page of a record as a JPEG.

    The headers give its size in source pixels (X-Source-Size), the number of pages (X-Pages) and the clockwise rotation
    in degrees that makes it upright (X-Turn).
    """
    asked, context = request.path_params, current_context()
    try:
        record_page, number = _page_number(asked["record_page"]), _page_number(asked["page"])
        path = context.root / record_file(asked["job"], asked["document_id"], record_page or None)
        document = from_json(path.read_text("utf-8")).document
        job = _current_job(context, asked["job"])
        if private(document.name, job):
            raise ValueError("a conversation is visible only to its owner")
        files = pictures(context.root, document)
    except (OSError, ValueError, KeyError, TypeError, StorageError):
        return PlainTextResponse("This record no longer exists.", 404)
    if files is None:
        return PlainTextResponse("The original is missing: it was moved or deleted after it was read.", 404)
    if not files:
        return PlainTextResponse("There is no picture: the question has only text.", 404)
    try:
        image, total = page_of(context, files, number, job is not None and "orient" in job.preprocess)
    except DocumentError as error:
        return PlainTextResponse(explain_error(error.code).cause, 422)
    except ModelError as error:  # no decoder works on this machine, whatever the document
        return PlainTextResponse(str(error), 503)
    headers = {"X-Source-Size": f"{image.width}x{image.height}", "X-Pages": str(total)}
    headers["X-Turn"] = str(-image.turned % 360)
    return Response(image.jpeg, 200, headers, "image/jpeg")


def page_of(context: WebContext, files: list[Path], number: int, orient: bool) -> tuple[PageImage, int]:
    """Page `number` (from 1) of several files whose pages are numbered consecutively, and the total number of pages.

    Raises DocumentError.
    """
    if len(files) == 1:
        image = context.page_images.page(files[0], number, orient=orient)
        return image, image.pages
    total, wanted = 0, (files[-1], 0)
    for each in files:
        if total < number:
            wanted = each, number - total
        try:
            total += context.page_images.page(each).pages
        except DocumentError:  # an unreadable file counts as one page without an image
            total += 1
    return context.page_images.page(*wanted, orient=orient), total


def _page_number(text: str) -> int:
    """Raises ValueError unless the text is a number of at most nine digits."""
    if not re.fullmatch("[0-9]{1,9}", text):
        raise ValueError(f"{text[:20]!r} is not a page number")
    return int(text)


def _current_job(context: WebContext, name: str) -> Job | None:
    """The job, or None where it is missing or invalid: its pages can be shown all the same."""
    try:
        return context.job(name)
    except ConfigError:
        return None
