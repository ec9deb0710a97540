"""A request becomes an answer under way: pictures made fit, words made tokens, the page found if it is known."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from models.qwen_vl.inputs.chat_template import Prompts, lay_out
from models.qwen_vl.inputs.grammar import Grammar
from models.qwen_vl.inputs.image_processor import CELL, prepare, tokens_of
from pipeline.types import Page, Request, Wants

from .sequences import Album, Answer, Sight, pixel_digest, sight_key
from .vision_scheduler import Looking

SMALL_SIDE_PX = 768  # longest side of a page in low resolution
NAN = float("nan")


class RequestPreprocessor:
    """`context`: tokens that the model can read. With `jump`, what the schema forces first is part of the question."""

    def __init__(
        self,
        prompts: Prompts,
        grammar: Grammar,
        wants: Wants,
        album: Album,
        looking: Looking,
        context: int,
        jump: bool,
    ) -> None:
        self.prompts, self.grammar, self.wants, self.album, self.looking = prompts, grammar, wants, album, looking
        self.context, self.jump = context, jump
        self._serial = 0
        self._last: tuple[tuple[Page, ...], Wants, list[NDArray[np.uint8]], bytes] | None = None

    def answer_to(self, request: Request, small: bool, began: float) -> Answer:
        """Raises ValueError, which says why, where the request cannot be served at all."""
        images, pixels = self._images_of(request, small)
        if sum(map(tokens_of, images)) > self.album.pictures.rows:
            if not small:
                return self.answer_to(request, True, began)
            raise ValueError("the pages have more pixels than the memory for pictures holds, even in low resolution")
        before, after = self.prompts.parts(request.system, len(images), request.question, request.earlier)
        matcher = None if request.schema is None else self.grammar.matcher(request.schema)
        cells = [(image.shape[0] // CELL, image.shape[1] // CELL) for image in images]
        source, positions, next_position = lay_out(before, self.prompts.picture, cells)
        total = len(source) + len(after) + request.max_new_tokens
        if request.max_new_tokens < 1:
            raise ValueError("max_new_tokens must be at least 1")
        if total > self.context:
            raise ValueError(f"pages, question and answer take {total:,} tokens; the model reads {self.context:,}")
        key = sight_key(before, pixels)
        sight = self.album.find(key)
        if sight is None:
            sight = Sight(key, images, source, positions, next_position, sum(high * wide for high, wide in cells))
            self._show(sight)
        self._serial += 1
        most = request.max_new_tokens
        answer = Answer(request, sight, list(after), len(after), most, matcher, small, began, self._serial)
        if matcher is not None and self.jump:
            forced = self.grammar.forced(matcher)
            if len(forced) < most and not matcher.is_stopped():
                answer.add(forced, False, 0.0, NAN)
            else:  # nothing would be left to choose; so it begins without a jump
                answer.matcher = self.grammar.matcher(request.schema or {})
        return answer

    def sight_of(self, answer: Answer) -> Sight:
        """The sight that the answer needs, wherever it is now: it may have been pushed out while the answer waited."""
        known = self.album.sights.get(answer.sight.key)
        if known is None:
            known = answer.sight
            if not known.seen:
                known.images, _ = self._images_of(answer.request, answer.small)
            self._show(known)
        answer.sight = known
        return known

    def _show(self, sight: Sight) -> None:
        self.album.add(sight)
        self.looking.add(sight)

    def _images_of(self, request: Request, small: bool) -> tuple[list[NDArray[np.uint8]], bytes]:
        """The prepared pictures and a digest of their pixels; kept for the next request, often about the same pages."""
        pages = request.pages
        wants = (self.wants.nearer() if request.look == 2 else None) or self.wants
        if small:
            wants = replace(wants, max_side_px=min(SMALL_SIDE_PX, wants.max_side_px))
        known = self._last
        same = known is not None and known[1] == wants and len(known[0]) == len(pages)
        if known is None or not same or any(a is not b for a, b in zip(known[0], pages, strict=True)):
            pictures = [page.image for page in pages if page.image is not None]
            if pages and not pictures:
                raise ValueError("none of the pages has a picture")
            images = [prepare(picture, wants) for picture in pictures]
            known = self._last = (pages, wants, images, pixel_digest(images))
        return list(known[2]), known[3]
