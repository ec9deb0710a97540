"""One line of the doctor: what was looked at, whether it is well, what was seen, and what to do."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

State = Literal["ok", "warning", "fault"]


@dataclass(frozen=True, slots=True)
class CheckResult:
    """`seen` is what a person reads; `cure`, what to do about it, is empty where all is well."""

    check: str
    state: State
    seen: str
    cure: str = ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
