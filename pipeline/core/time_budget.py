"""Time that one document may cost: seconds of worker processes, shared by all tasks about it."""

from dataclasses import dataclass


@dataclass(eq=False, slots=True)
class Budget:
    """`seconds` in all; `spent_s` grows as tasks end. Tasks that run side by side each may take what is left."""

    seconds: float
    spent_s: float = 0.0

    @property
    def left_s(self) -> float:
        return max(0.0, self.seconds - self.spent_s)
