"""The time limit of one document: seconds of worker processes, shared by all its tasks."""

from dataclasses import dataclass


@dataclass(eq=False, slots=True)
class Budget:
    """`seconds` in total; `spent_s` grows as tasks end. Each of several parallel tasks may use all that is left."""

    seconds: float
    spent_s: float = 0.0

    @property
    def left_s(self) -> float:
        return max(0.0, self.seconds - self.spent_s)
