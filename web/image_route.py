"""The route that serves page images to the browser."""

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core.errors import DocumentError, ModelError, StorageError
from pipeline.inbox.originals import pictures
from pipeline.storage.record_json import from_json

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from web.context import WebContext
from web.data.page_images import PageImage, _job, _number


def answer(request: "Request") -> "Response":
    """The route of a record's pages: a JPEG; its size in source pixels, the number of pages and by how many degrees it
    is to be turned clockwise to stand upright in the headers.
    """
    from starlette.responses import PlainTextResponse, Response

    from pipeline.plugins.formats import explain_error
    from pipeline.storage.record_files import record_file
    from web.context import current_context
    from web.data.conversations import private

    asked, place = request.path_params, current_context()
    try:
        record_page, number = _number(asked["record_page"]), _number(asked["page"])
        path = place.root / record_file(asked["job"], asked["document_id"], record_page or None)
        document = from_json(path.read_text("utf-8")).document
        job = _job(place, asked["job"])
        if private(document.name, job):
            raise ValueError("a conversation is its visitor's alone")
        found = pictures(place.root, document)
    except (OSError, ValueError, KeyError, TypeError, StorageError):
        return PlainTextResponse("There is no such record any more.", 404)
    if found is None:
        return PlainTextResponse("The original is no longer here: it was moved or deleted since it was read.", 404)
    if not found:
        return PlainTextResponse("There is no picture: the question came alone.", 404)
    try:
        picture, total = page_of_files(place, found, number, job is not None and "orient" in job.preprocess)
    except DocumentError as error:
        return PlainTextResponse(explain_error(error.code).cause, 422)
    except ModelError as error:  # no decoder works here, whatever the document
        return PlainTextResponse(str(error), 503)
    told = {"X-Source-Size": f"{picture.width}x{picture.height}", "X-Pages": str(total)}
    told["X-Turn"] = str(-picture.turned % 360)
    return Response(picture.jpeg, 200, told, "image/jpeg")


def page_of_files(place: "WebContext", files: list[Path], number: int, orient: bool) -> tuple[PageImage, int]:
    """A page of files whose pages are counted through, and how many there are. Raises DocumentError."""
    if len(files) == 1:
        picture = place.scans.page(files[0], number, orient=orient)
        return picture, picture.pages
    total, wanted = 0, (files[-1], 0)
    for each in files:
        if total < number:
            wanted = each, number - total
        try:
            total += place.scans.page(each).pages
        except DocumentError:  # it counts as one page, and has no picture
            total += 1
    return place.scans.page(*wanted, orient=orient), total
