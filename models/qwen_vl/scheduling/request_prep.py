"""Turns a request into a sequence: prepares images, tokenizes the prompt, looks up cached pages."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from models.qwen_vl.inputs.chat_template import Prompts, lay_out
from models.qwen_vl.inputs.grammar import Grammar
from models.qwen_vl.inputs.image_processor import CELL, prepare, tokens_of
from pipeline.core.types import Page
from pipeline.engine import PageSpec, Request

from .answer_lengths import kind_of
from .scheduler import StepScheduler
from .sequences import PrefixEntry, Sequence, pixel_digest, prefix_key

SMALL_SIDE_PX = 768  # longest side of a page in low resolution
NAN = float("nan")


class RequestPreprocessor:
    """`context`: the model's context length. With `jump`, the tokens that the schema forces first join the prompt."""

    def __init__(
        self,
        prompts: Prompts,
        grammar: Grammar,
        page_spec: PageSpec,
        scheduler: StepScheduler,
        context: int,
        jump: bool,
    ) -> None:
        self.prompts, self.grammar, self.page_spec, self.scheduler = prompts, grammar, page_spec, scheduler
        self.context, self.jump = context, jump
        self._serial = 0
        self._last: tuple[tuple[Page, ...], PageSpec, list[NDArray[np.uint8]], bytes] | None = None

    def sequence(self, request: Request, low_resolution: bool, began: float, serial: int | None = None) -> Sequence:
        """Pages that do not fit into memory are used in low resolution. `serial`: of a request that is retried.

        Raises ValueError with the reason if the request cannot be served.
        """
        images, pixels = self._images_of(request, low_resolution)
        before, after = self.prompts.parts(request.system, len(images), request.question, request.earlier)
        cells = [(image.shape[0] // CELL, image.shape[1] // CELL) for image in images]
        source, positions, next_position = lay_out(before, self.prompts.picture, cells)
        if reason := self._too_large(images, len(source), len(after)):
            if images and not low_resolution:
                return self.sequence(request, True, began, serial)
            raise ValueError(reason)
        matcher = None if request.schema is None else self.grammar.matcher(request.schema)
        most = request.max_new_tokens
        total = len(source) + len(after) + most
        if most < 1:
            raise ValueError("max_new_tokens must be at least 1")
        if total > self.context:
            raise ValueError(
                f"pages, question and answer need {total:,} tokens; the model's context is {self.context:,}"
            )
        key = prefix_key(before, pixels)
        entry = self.scheduler.cache.find(key)
        if entry is None:
            entry = PrefixEntry(key, source, positions, next_position, tuple(map(tokens_of, images)), images)
        elif not entry.images:
            entry.images = images  # in case it is encoded again
        if serial is None:
            self._serial += 1
            serial = self._serial
        made = Sequence(request, entry, list(after), len(after), most, matcher, low_resolution, began,
                        kind=kind_of(request), serial=serial)  # fmt: skip
        if matcher is not None and self.jump:
            forced = self.grammar.forced(matcher)
            if len(forced) < most and not matcher.is_stopped():
                made.add(forced, False, 0.0, NAN)
            else:  # no token would be left to sample: start without forced tokens
                made.matcher = self.grammar.matcher(request.schema or {})
        return made

    def _too_large(self, images: list[NDArray[np.uint8]], prefix: int, prompt: int) -> str:
        """The reason why the request cannot fit into an empty memory; "" if it can."""
        pixels, rows = sum(map(tokens_of, images)), self.scheduler.cache.images.rows
        if pixels > rows:
            return f"the pages have {pixels:,} visual tokens; the image buffer holds {rows:,}"
        if not self.scheduler.fits(prefix, prompt):
            held = self.scheduler.memory.rows
            return f"pages and question need {prefix + prompt:,} tokens; the KV cache holds {held:,}"
        return ""

    def _images_of(self, request: Request, low_resolution: bool) -> tuple[list[NDArray[np.uint8]], bytes]:
        """The prepared images and a digest of their pixels, cached for the next request about the same pages."""
        pages = request.pages
        page_spec = (self.page_spec.high_resolution() if request.look == 2 else None) or self.page_spec
        if low_resolution:
            page_spec = replace(page_spec, max_side_px=min(SMALL_SIDE_PX, page_spec.max_side_px))
        known = self._last
        same = known is not None and known[1] == page_spec and len(known[0]) == len(pages)
        if known is None or not same or any(a is not b for a, b in zip(known[0], pages, strict=True)):
            pictures = [page.image for page in pages if page.image is not None]
            if pages and not pictures:
                raise ValueError("none of the pages has an image")
            images = [prepare(picture, page_spec) for picture in pictures]
            known = self._last = (pages, page_spec, images, pixel_digest(images))
        return list(known[2]), known[3]
