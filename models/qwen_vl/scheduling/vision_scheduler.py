"""Which pictures the vision tower looks at next, a slice at a time, and what happens when they do not fit."""

from collections import deque
from collections.abc import Iterator

import torch
from torch import Tensor

from models.qwen_vl.compute.vision_encoder import Vision
from models.qwen_vl.inputs.image_processor import tokens_of

from .sequences import Album, Sight

SLICES = 4  # into which a pass of the vision tower is cut, so that steps come in between


class Looking:
    """Pictures in the order they came, as many in a pass as `tokens` allow. Pages with a picture that cannot be looked
    at, not even alone, come out in `lost`."""

    def __init__(self, vision: Vision, album: Album, images: Tensor, tokens: int) -> None:
        self.vision, self.album, self.images, self.tokens = vision, album, images, tokens
        self.lost: list[Sight] = []
        self._unseen: deque[tuple[Sight, int]] = deque()
        self._pass: Iterator[None] | None = None
        self._in_view: list[tuple[Sight, int]] = []

    def add(self, sight: Sight) -> None:
        if sight.images:
            self._unseen.append((sight, 0))
        else:
            sight.seen = True

    def go_on(self) -> bool:
        """Queues the next slice. -> False when nothing is left to look at, or there is no room for it now."""
        if self._pass is None and not self._start():
            return False
        assert self._pass is not None
        try:
            next(self._pass)
        except StopIteration:
            for sight, nth in self._in_view:
                if nth + 1 == len(sight.images):
                    sight.seen, sight.images = True, []
            self._in_view, self._pass = [], None
        except torch.OutOfMemoryError:
            self._halve()
        return True

    def _start(self) -> bool:
        tokens, starts = 0, []
        while self._unseen:
            sight, nth = self._unseen[0]
            if not sight.images:  # forgotten meanwhile, or seen already
                self._unseen.popleft()
                continue
            sizes = [tokens_of(image) for image in sight.images]
            if self._in_view and tokens + sizes[nth] > self.tokens:
                break
            if sight.image_row is None:
                sight.image_row = self.album.pictures.take(sight.image_tokens)
                if sight.image_row is None:
                    break
            starts.append(sight.image_row + sum(sizes[:nth]))
            self._in_view.append((sight, nth))
            tokens += sizes[nth]
            self._unseen.popleft()
            if nth + 1 < len(sizes):
                self._unseen.appendleft((sight, nth + 1))
        if self._in_view:
            images = [sight.images[nth] for sight, nth in self._in_view]
            layers = max(1, -(-len(self.vision.layers) // SLICES))
            self._pass = self.vision.encode(images, starts, self.images, layers)
        return bool(self._in_view)

    def _halve(self) -> None:
        """A pass did not fit: its pictures go back, and the next pass holds half as much."""
        failed, self._in_view, self._pass = self._in_view, [], None
        if self.images.is_cuda:
            torch.cuda.empty_cache()
        if len(failed) > 1:
            self.tokens = max(1, self.tokens // 2)
            for entry in reversed(failed):
                if self._unseen and self._unseen[0] == (entry[0], entry[1] + 1):
                    self._unseen.popleft()
                self._unseen.appendleft(entry)
            return
        sight = failed[0][0]
        if self._unseen and self._unseen[0][0] is sight:
            self._unseen.popleft()
        sight.images = []
        self.album.drop_pictures(sight)
        self.album.sights.pop(sight.key, None)
        self.lost.append(sight)
