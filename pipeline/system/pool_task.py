"""A call that runs in a process pool, and the errors of workers."""

from collections.abc import Callable
from typing import Any

from pipeline.core.errors import ModelError
from pipeline.core.time_budget import Budget
from pipeline.system.ipc import Message, MessageKind
from pipeline.system.resource_shortage import raising_shortage
from pipeline.system.worker_process import WorkerError


class WorkerTooSlow(WorkerError):
    """The task exceeded the pool's time limit; its worker was killed."""


class WorkerOverBudget(WorkerError):
    """The time budget of several tasks is used up; the worker was killed, or the task was not started."""


class WorkerOutOfMemory(WorkerError):
    """The task exceeded the pool's memory limit."""


class WorkerDied(WorkerError):
    """The worker ended during the task: a segmentation fault, a kill, an exit."""


class Task:
    """One call given to a pool. It is finished once `Pool.wait` has returned it."""

    def __init__(
        self, number: int, function: Callable[..., Any], args: tuple[Any, ...], budget: Budget | None = None
    ) -> None:
        self.number, self.budget = number, budget
        self._call: tuple[Callable[..., Any], tuple[Any, ...]] | None = (function, args)  # until it has a result
        self._answer: Message | WorkerError | ModelError | None = None

    @property
    def finished(self) -> bool:
        return self._answer is not None

    def result(self) -> Any:
        """The return value. Raises the function's exception, a WorkerError, or ModelError where no worker can start."""
        match self._answer:
            case None:
                raise WorkerError("the task is not finished: wait for it first")
            case WorkerError() | ModelError():
                raise self._answer
            case Message(kind=MessageKind.VALUE):
                with raising_shortage():  # in this process: not caused by the document
                    return self._answer.load()
            case message:
                raise message.load()
