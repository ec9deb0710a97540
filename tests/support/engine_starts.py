"""What a supervisor may meet when it starts an engine; imported in the engine's fresh process, so it imports little."""

import logging
import os
import time
from collections.abc import Iterable, Iterator

import numpy as np

from models.scripted.echo import EchoEngine
from pipeline.core.errors import ModelError
from pipeline.engine import Engine, Partial, Reply, Request
from pipeline.extraction import prompt
from pipeline.schema.job import parse_job
from tests.support.builders import document, page


def too_slow(pulse: object) -> Engine:
    time.sleep(60)
    raise AssertionError


def no_weights(pulse: object) -> Engine:
    raise ModelError("there are no weights at /nowhere")


def breaks(pulse: object) -> Engine:
    raise RuntimeError("CUDA driver version is insufficient")


def dies(pulse: object) -> Engine:
    os.write(2, b"free(): invalid pointer\n")
    os.abort()


def speaks(pulse: object) -> Engine:
    logging.getLogger("scanmill").info("memory plan: all of it")
    return EchoEngine({})


def lacks_a_library(pulse: object) -> Engine:
    _import_cv2()
    raise AssertionError


def lacks_a_library_later(pulse: object) -> Engine:
    return Lazy({})


class Lazy(EchoEngine):
    """Imports what it needs when it is first asked."""

    def answer(self, requests: Iterable[Request | None]) -> Iterator[Reply | Partial]:
        _import_cv2()
        yield from super().answer(requests)


def _import_cv2() -> None:
    raise ImportError("libGL.so.1: cannot open shared object file: No such file or directory", name="cv2")


def question(name: str) -> Request:
    """About one blank page."""
    job = parse_job(b"name: note\npreprocess: []\nfields: {number: {type: text}}\n")
    return prompt.ask(job, document(name, "note"), [page(image=np.full((8, 8, 3), 255, np.uint8))])
