"""What a supervisor may meet when it starts an engine; imported in the engine's fresh process, so it imports little."""

import logging
import os
import time

from models.echo import Echo
from pipeline.errors import ModelError
from pipeline.types import Model


def too_slow(pulse: object) -> Model:
    time.sleep(60)
    raise AssertionError


def no_weights(pulse: object) -> Model:
    raise ModelError("there are no weights at /nowhere")


def breaks(pulse: object) -> Model:
    raise RuntimeError("CUDA driver version is insufficient")


def dies(pulse: object) -> Model:
    os.write(2, b"free(): invalid pointer\n")
    os.abort()


def speaks(pulse: object) -> Model:
    logging.getLogger("scanmill").info("memory plan: all of it")
    return Echo({})
