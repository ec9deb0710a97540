"""What a supervisor may meet when it starts an engine; imported in the engine's fresh process, so it imports little."""

import logging
import os
import time

from models.echo import Echo
from pipeline.errors import ModelError
from pipeline.types import Engine


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
    return Echo({})
