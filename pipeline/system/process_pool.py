"""A process pool with a time limit, a memory limit and recycling. A crash of a worker fails one task.

Each worker (worker_process.py) is a new Python process, connected to the parent by a socket pair (ipc.py). Nothing is
inherited, `__main__` is not run again, and a worker dies with its parent: at end-of-file when it is idle, by
PR_SET_PDEATHSIG on Linux when it is busy.
"""

import selectors
import socket
import subprocess
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from pipeline.core.errors import ModelError
from pipeline.core.time_budget import Budget
from pipeline.system.ipc import Message, MessageKind, receive, send
from pipeline.system.pool_task import Task, WorkerDied, WorkerOutOfMemory, WorkerOverBudget, WorkerTooSlow
from pipeline.system.resource_shortage import shortage
from pipeline.system.worker_launch import exit_reason, kill, launch
from pipeline.system.worker_process import WorkerError

START_SECONDS = 120.0  # for `start`: a cold disk may take half a minute for the models
START_TRIES = 3  # workers that die one after another before they are ready: then the machine is at fault


@dataclass(eq=False)
class _Worker:
    process: subprocess.Popen[bytes]
    channel: socket.socket
    since: float  # when it was started, later when the current task began
    ready: bool = False
    given: int = 0
    tasks: deque[Task] = field(default_factory=deque)  # the first is running, the others wait in the channel


class ProcessPool:
    """`size` worker processes that run importable functions. Only for the thread that made it.

    A task may take `seconds`. Its worker may map `memory_mib` more than when it was ready, and is replaced after
    `recycle` tasks. `start` is called once in each new worker; if it raises, one task fails with ModelError. The same
    happens when `START_TRIES` workers in a row die before they are ready. `ahead` tasks wait in the channel of each
    busy worker; use 0 for long tasks.
    """

    def __init__(
        self,
        size: int,
        *,
        seconds: float,
        memory_mib: int,
        recycle: int = 500,
        start: Callable[[], None] | None = None,
        ahead: int = 1,
    ) -> None:
        self.size, self._seconds, self._recycle, self._ahead = size, seconds, recycle, ahead
        self._setup = (start, memory_mib)
        self._selector = selectors.DefaultSelector()
        self._workers: list[_Worker] = []
        self._unstarted: deque[Message | ModelError] = deque()  # errors of starts: each fails one task
        self._failed_starts = 0  # in a row
        self._queue: deque[Task] = deque()
        self._finished: list[Task] = []
        self._count = 0
        for _ in range(size):
            self._hire()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def in_flight(self) -> int:
        """Tasks submitted and not yet returned by `wait`."""
        return len(self._queue) + len(self._finished) + sum(len(worker.tasks) for worker in self._workers)

    @property
    def room(self) -> int:
        """How many more tasks can be sent to workers at once."""
        return max(0, self.size * (1 + self._ahead) - self.in_flight)

    @property
    def pids(self) -> tuple[int, ...]:
        return tuple(worker.process.pid for worker in self._workers)

    def submit(self, function: Callable[..., Any], *args: Any, budget: Budget | None = None) -> Task:
        """Queue `function(*args)`. Never waits. The function is sent by its import path.

        Tasks with the same `budget` share its seconds, in addition to the limit of each.
        """
        self._count += 1
        task = Task(self._count, function, args, budget)
        self._queue.append(task)
        self._feed()
        return task

    def wait(self, timeout_s: float | None = None) -> list[Task]:
        """Wait until a task has finished; returns the finished tasks in order.

        Empty when `timeout_s` has passed (0: do not wait), or when nothing is in flight.
        """
        until = None if timeout_s is None else time.monotonic() + timeout_s
        while not self._finished and self.in_flight:
            now = time.monotonic()
            ends = [self._deadline(worker) for worker in self._workers] + ([] if until is None else [until])
            for key, _ in self._selector.select(max(0.0, min(ends) - now) if ends else None):
                self._receive(key.data)
            for worker in [worker for worker in self._workers if self._deadline(worker) <= time.monotonic()]:
                self._dismiss(worker, self._overdue(worker))
            self._feed()
            if until is not None and time.monotonic() >= until:
                break
        finished, self._finished = self._finished, []
        return finished

    def close(self) -> None:
        """Kill the workers. Tasks in flight finish with WorkerDied."""
        for task in self._queue:
            task._answer, task._call = WorkerDied("the pool was closed"), None
        self._queue.clear()
        for worker in list(self._workers):
            for task in worker.tasks:
                task._answer, task._call = WorkerDied("the pool was closed"), None
            worker.tasks.clear()
            self._remove(worker)
        self._selector.close()

    def drop_tasks(self) -> None:
        """Drop all tasks in flight: `wait` returns none of them. Kills the workers that have some."""
        self._queue.clear()
        self._finished.clear()
        for worker in [worker for worker in self._workers if worker.tasks]:
            worker.tasks.clear()
            self._remove(worker)

    def _deadline(self, worker: _Worker) -> float:
        if not worker.ready:
            return worker.since + START_SECONDS
        if not worker.tasks:
            return float("inf")
        budget = worker.tasks[0].budget
        return worker.since + (self._seconds if budget is None else min(self._seconds, budget.left_s))

    def _overdue(self, worker: _Worker) -> WorkerError:
        if not worker.ready:
            return WorkerDied(f"it was not ready after {START_SECONDS:g} s")
        budget = worker.tasks[0].budget
        if budget is not None and budget.left_s < self._seconds:
            return _over(budget)
        return WorkerTooSlow(f"the task took longer than {self._seconds:g} s")

    def _hire(self) -> None:
        one_core = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        process, ours = launch("pipeline.system.worker_process", "serve", one_core)
        worker = _Worker(process, ours, time.monotonic())
        self._workers.append(worker)
        self._selector.register(ours, selectors.EVENT_READ, worker)
        send(ours, MessageKind.SETUP, 0, self._setup)

    def _remove(self, worker: _Worker) -> None:
        """Kill a worker; tasks that waited in its channel go back to the head of the queue."""
        self._selector.unregister(worker.channel)
        self._workers.remove(worker)
        worker.channel.close()
        kill(worker.process)
        worker.process.wait()
        self._queue.extendleft(reversed(worker.tasks))

    def _dismiss(self, worker: _Worker, error: Message | WorkerError) -> None:
        """Remove a worker whose current task or start failed."""
        if worker.ready:
            self._finish(self._ended(worker), error)
        elif isinstance(error, Message):
            self._unstarted.append(error)
        else:
            self._failed_starts += 1
            if self._failed_starts >= START_TRIES:
                cure = "See `run_batch.py doctor`, which loads each library by itself."
                self._unstarted.append(ModelError(f"{START_TRIES} worker processes did not start: {error}. {cure}"))
        self._remove(worker)

    def _ended(self, worker: _Worker) -> Task:
        """Take the current task from its worker and charge its time to the budget."""
        task = worker.tasks.popleft()
        if task.budget is not None:
            task.budget.spent_s += time.monotonic() - worker.since
        return task

    def _finish(self, task: Task, answer: Message | WorkerError | ModelError) -> None:
        task._answer, task._call = answer, None
        self._finished.append(task)

    def _feed(self) -> None:
        """Replace used-up and dead workers, then give queued tasks to workers that have room."""
        while self._unstarted and self._queue:
            self._finish(self._queue.popleft(), self._unstarted.popleft())
        for worker in [worker for worker in self._workers if worker.ready and not worker.tasks]:
            if worker.given >= self._recycle or worker.process.poll() is not None:  # killed while idle: no task fails
                self._remove(worker)
        while len(self._workers) + len(self._unstarted) < self.size:
            self._hire()
        while self._queue:
            budget = self._queue[0].budget
            if budget is not None and not budget.left_s:
                self._finish(self._queue.popleft(), _over(budget))
            elif (free := self._free_worker()) is not None:
                self._give(free, self._queue.popleft())
            else:
                return

    def _free_worker(self) -> _Worker | None:
        """The worker with the fewest tasks, if it can take one more; of equals, one that is ready."""
        usable = [worker for worker in self._workers if worker.given < self._recycle]
        free = min(usable, key=lambda worker: (len(worker.tasks), not worker.ready), default=None)
        return free if free is not None and len(free.tasks) <= self._ahead else None

    def _give(self, worker: _Worker, task: Task) -> None:
        try:
            send(worker.channel, MessageKind.TASK, task.number, task._call)
        except OSError:  # the worker just died: `wait` finds out, and finds the task among the worker's
            pass
        except Exception as error:  # noqa: BLE001 - arguments that cannot be pickled are the task's own fault
            self._finish(task, WorkerError(f"the task cannot be sent to a worker: {error}"))
            return
        if not worker.tasks and worker.ready:
            worker.since = time.monotonic()
        worker.tasks.append(task)
        worker.given += 1

    def _receive(self, worker: _Worker) -> None:
        try:
            message = receive(worker.channel)
        except OSError as error:
            if shortage(error):  # this process has no memory for the answer
                raise
            message = None
        match message:
            case None if worker.tasks or not worker.ready:
                self._dismiss(worker, WorkerDied(exit_reason(worker.process)))
            case None:
                self._remove(worker)
            case Message(kind=MessageKind.READY):
                worker.ready, worker.since = True, time.monotonic()
                self._failed_starts = 0
            case Message(kind=MessageKind.NO_START):
                self._dismiss(worker, message)
            case Message(kind=MessageKind.NO_MEMORY):
                self._dismiss(worker, WorkerOutOfMemory(str(message.load())))
            case Message():
                self._finish(self._ended(worker), message)
                worker.since = time.monotonic()


def once(function: Callable[..., Any], *args: Any, seconds: float = 120, memory_mib: int = 4096) -> Any:
    """Run `function(*args)` in a new worker process. Raises as `Task.result`."""
    with ProcessPool(1, seconds=seconds, memory_mib=memory_mib) as pool:
        task = pool.submit(function, *args)
        while not task.finished:
            pool.wait()
        return task.result()


def _over(budget: Budget) -> WorkerOverBudget:
    return WorkerOverBudget(f"all tasks together took longer than {budget.seconds:g} s")
