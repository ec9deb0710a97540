"""Show the progress of long steps: a bar on a terminal, else one line for each step."""

from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from pipeline.reporting.console import safe

MAX_DETAIL_WIDTH = 72


class Steps:
    """Use as a context manager. `step` starts a step and ends the one before; `advance` counts its bytes."""

    def __init__(self) -> None:
        out = Console(stderr=True, highlight=False)
        self._plain = None if out.is_terminal else out
        parts = BarColumn(24), DownloadColumn(), TimeRemainingColumn(compact=True), TimeElapsedColumn()
        self._bars = Progress(SpinnerColumn(), TextColumn("{task.description}"), *parts, console=out, transient=True,
                              disable=not out.is_terminal)  # fmt: skip
        self._task: TaskID | None = None
        self._text = ""

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def step(self, text: str, size: int | None = None) -> Callable[[int], None]:
        """Starts a step of `size` bytes (None: unknown); returns `advance`."""
        if self._plain:
            self._plain.print(safe(text), soft_wrap=True)
        if self._task is not None:
            self._bars.remove_task(self._task)
        self._text, self._task = safe(text), self._bars.add_task(safe(text), total=size)
        return self.advance

    def advance(self, done: int) -> None:
        if self._task is not None:
            self._bars.advance(self._task, done)

    def detail(self, text: str) -> None:
        """Show a detail next to the current step, on a terminal."""
        if self._task is not None:
            self._bars.update(
                self._task, description=f"{self._text} [dim]{safe(' '.join(text.split())[:MAX_DETAIL_WIDTH])}[/]"
            )
