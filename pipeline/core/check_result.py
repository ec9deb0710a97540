"""The result of one check of `run_batch.py doctor`."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

State = Literal["ok", "warning", "fault"]


@dataclass(frozen=True, slots=True)
class CheckResult:
    """`seen` is the finding, for people. `cure` says what to do; it is empty where the state is ok."""

    check: str
    state: State
    seen: str
    cure: str = ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
