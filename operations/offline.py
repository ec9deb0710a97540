"""The switches that keep libraries from calling out: nothing here needs a network, and so nothing tries."""

import os

SWITCHES = {
    "HF_HUB_OFFLINE": "1",  # huggingface_hub: files from the disk alone
    "TRANSFORMERS_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",  # https://consoledonottrack.com; huggingface_hub and others keep to it
    "STREAMLIT_BROWSER_GATHER_USAGE_STATS": "false",
}


def switch_off_network() -> None:
    """Sets them for this process and its children. Before the libraries are imported, since they look only then."""
    os.environ.update(SWITCHES)


def not_set() -> list[str]:
    """The switches that this process does not have."""
    return [name for name, value in SWITCHES.items() if os.environ.get(name) != value]
