"""Runs the vision encoder in slices, between the steps of the language model."""

from collections.abc import Iterator

import torch
from torch import Tensor

from .compute.vision_encoder import Vision
from .scheduling.scheduler import StepScheduler
from .scheduling.vision_scheduler import EncodeTask

SLICES = 4  # of a pass


class VisionRunner:
    """Encodes the images that the scheduler chooses to `images` [rows, width]."""

    def __init__(self, vision: Vision, scheduler: StepScheduler, images: Tensor) -> None:
        self.vision, self.scheduler, self.images = vision, scheduler, images
        self._tasks: list[EncodeTask] = []
        self._pass: Iterator[None] | None = None

    def advance(self) -> bool:
        """Queue the next slice. False if nothing is left to encode, or no rows are free for it."""
        if self._pass is None:
            self._tasks = self.scheduler.vision.next_pass(self.scheduler.waiting)
            if not self._tasks:
                return False
            pictures = [task.entry.images[task.nth] for task in self._tasks]
            layers = max(1, -(-len(self.vision.layers) // SLICES))
            self._pass = self.vision.encode(pictures, [task.row for task in self._tasks], self.images, layers)
        try:
            next(self._pass)
        except StopIteration:
            self._pass = None
            self.scheduler.vision.encoded(self._tasks)
        except torch.OutOfMemoryError:
            self._pass = None
            if self.images.is_cuda:
                torch.cuda.empty_cache()
            lost = self.scheduler.vision.out_of_memory(self._tasks)
            if lost is not None:
                self.scheduler.cannot_be_encoded(lost)
        return True
