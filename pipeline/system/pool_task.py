"""A call that was given to a pool of workers, and the ways in which it may have no result."""

from collections.abc import Callable
from typing import Any

from pipeline.core.errors import ModelError
from pipeline.core.time_budget import Budget
from pipeline.system.ipc import Message, MessageKind
from pipeline.system.resource_shortage import raising_shortage
from pipeline.system.worker_process import WorkerError


class WorkerTooSlow(WorkerError):
    """The task ran past the pool's limit of seconds; its worker was killed."""


class WorkerOverBudget(WorkerError):
    """The tasks that share a budget used it up; the worker was killed, or the task was not begun."""


class WorkerOutOfMemory(WorkerError):
    """The task wanted more than the pool's limit of memory."""


class WorkerDied(WorkerError):
    """The worker went away during the task: a segmentation fault, a kill by the system, an exit."""


class Task:
    """One call given to a pool. It is finished once `Pool.wait` has returned it."""

    def __init__(
        self, number: int, function: Callable[..., Any], args: tuple[Any, ...], budget: Budget | None = None
    ) -> None:
        self.number, self.budget = number, budget
        self._call: tuple[Callable[..., Any], tuple[Any, ...]] | None = (function, args)  # kept until it is answered
        self._answer: Message | WorkerError | ModelError | None = None

    @property
    def finished(self) -> bool:
        return self._answer is not None

    def result(self) -> Any:
        """What the function returned. Raises what it raised, a WorkerError, or ModelError where no worker can start;
        LibraryError, which is one, where a library cannot be loaded."""
        match self._answer:
            case None:
                raise WorkerError("the task is not finished: wait for it first")
            case WorkerError() | ModelError():
                raise self._answer
            case Message(kind=MessageKind.VALUE):
                with raising_shortage():  # of this process: no document's fault
                    return self._answer.load()
            case message:
                raise message.load()
