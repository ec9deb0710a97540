"""Environment variables that keep libraries off the network. Importing any part of Scanmill sets them."""

import os
import sys
import warnings
from typing import NamedTuple


class Switch(NamedTuple):
    """An environment variable that keeps a library from using the network."""

    library: str  # the module that reads it, at its first import
    variable: str
    value: str


SWITCHES = (
    # Without it, onnxruntime 1.32 on Linux writes a database below ~/.cache as soon as it is imported, and sends it to
    # its vendor nine seconds later. It ignores DO_NOT_TRACK. tests/integration/test_offline.py shows both.
    Switch("onnxruntime", "ORT_DISABLE_TELEMETRY", "1"),
    Switch("huggingface_hub", "HF_HUB_OFFLINE", "1"),  # files come from the disk only
    Switch("huggingface_hub", "HF_HUB_DISABLE_TELEMETRY", "1"),
    Switch("huggingface_hub", "HF_HUB_DISABLE_UPDATE_CHECK", "1"),
    Switch("transformers", "TRANSFORMERS_OFFLINE", "1"),
    Switch("datasets", "HF_DATASETS_OFFLINE", "1"),
    Switch("streamlit", "STREAMLIT_BROWSER_GATHER_USAGE_STATS", "false"),
    Switch("ray", "RAY_USAGE_STATS_ENABLED", "0"),
    Switch("", "DO_NOT_TRACK", "1"),  # https://consoledonottrack.com: for any library that follows it
)


def switch_off_network() -> None:
    """Set all switches for this process and its children, whatever the environment has.

    Warns of libraries that were imported before: they may have read another value.
    """
    late = sorted({each.library for each in wrong_switches() if each.library in sys.modules})
    os.environ.update({each.variable: each.value for each in SWITCHES})
    if late:
        names = ", ".join(late)
        warnings.warn(
            f"{names}: imported before Scanmill, so it may use the network. Import Scanmill first.", stacklevel=2
        )


def wrong_switches() -> list[Switch]:
    """The switches that the environment of this process lacks or sets to another value."""
    return [each for each in SWITCHES if os.environ.get(each.variable) != each.value]
