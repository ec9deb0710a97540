"""Guarded processes: a time limit, a memory limit, recycling, and a crash that costs one task.

Each worker (worker.py) is a fresh Python started by `subprocess` and joined to the parent by one socket pair
(channel.py). Nothing is inherited, `__main__` is not run again, and a worker dies with its parent: at end-of-file when
it is idle, by PR_SET_PDEATHSIG on Linux when it is busy.
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
    since: float  # when it was started, later when the task at hand began
    ready: bool = False
    given: int = 0
    tasks: deque[Task] = field(default_factory=deque)  # the first is at hand, the others wait in the channel


class ProcessPool:
    """`size` worker processes that run importable functions. For one thread of the parent: the one that made it.

    A task has `seconds` from its start; its worker may map `memory_mib` more than it held when it was ready, and is
    replaced after `recycle` tasks. `start` is called once in each new worker; what it raises is a ModelError for the
    task that meets it, and so are `START_TRIES` workers that die before they are ready. `ahead` tasks wait in each busy
    worker's channel, so that it need not wait for the parent; give 0 where tasks take long.
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
        self._unstarted: deque[Message | ModelError] = deque()  # why workers did not start: each fails one task
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
        """How many more tasks keep the workers busy without waiting in the parent."""
        return max(0, self.size * (1 + self._ahead) - self.in_flight)

    @property
    def pids(self) -> tuple[int, ...]:
        return tuple(worker.process.pid for worker in self._workers)

    def submit(self, function: Callable[..., Any], *args: Any, budget: Budget | None = None) -> Task:
        """Give `function(*args)` to a worker, or to the queue. Never waits. The function is sent by its import path.

        Tasks with the same `budget` share its seconds, beside the limit of each.
        """
        self._count += 1
        task = Task(self._count, function, args, budget)
        self._queue.append(task)
        self._feed()
        return task

    def wait(self, timeout_s: float | None = None) -> list[Task]:
        """The tasks that have finished, in the order in which they did; returns once there is one.

        Empty when `timeout_s` has passed (0: only look), or when nothing is in flight.
        """
        until = None if timeout_s is None else time.monotonic() + timeout_s
        while not self._finished and self.in_flight:
            now = time.monotonic()
            ends = [self._deadline(worker) for worker in self._workers] + ([] if until is None else [until])
            for key, _ in self._selector.select(max(0.0, min(ends) - now) if ends else None):
                self._hear(key.data)
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
            self._part(worker)
        self._selector.close()

    def drop_tasks(self) -> None:
        """Forget every task in flight: none of them is returned by `wait`. Workers that have some are killed."""
        self._queue.clear()
        self._finished.clear()
        for worker in [worker for worker in self._workers if worker.tasks]:
            worker.tasks.clear()
            self._part(worker)

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

    def _part(self, worker: _Worker) -> None:
        """Kill it and forget it; the tasks that only waited in its channel go back to the head of the queue."""
        self._selector.unregister(worker.channel)
        self._workers.remove(worker)
        worker.channel.close()
        kill(worker.process)
        worker.process.wait()
        self._queue.extendleft(reversed(worker.tasks))

    def _dismiss(self, worker: _Worker, error: Message | WorkerError) -> None:
        """Part with a worker whose task at hand, or whose start, failed."""
        if worker.ready:
            self._finish(self._ended(worker), error)
        elif isinstance(error, Message):
            self._unstarted.append(error)
        else:
            self._failed_starts += 1
            if self._failed_starts >= START_TRIES:
                cure = "See `run_batch.py doctor`, which loads each library by itself."
                self._unstarted.append(ModelError(f"{START_TRIES} worker processes did not start: {error}. {cure}"))
        self._part(worker)

    def _ended(self, worker: _Worker) -> Task:
        """The task at hand, taken from its worker; its time is booked."""
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
            if worker.given >= self._recycle or worker.process.poll() is not None:  # killed while idle: nobody's fault
                self._part(worker)
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

    def _hear(self, worker: _Worker) -> None:
        try:
            message = receive(worker.channel)
        except OSError as error:
            if shortage(error):  # an answer came, and this process has no room for it
                raise
            message = None
        match message:
            case None if worker.tasks or not worker.ready:
                self._dismiss(worker, WorkerDied(exit_reason(worker.process)))
            case None:
                self._part(worker)
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
    """What `function(*args)` returns in a guarded process of its own. Raises as `Task.result`."""
    with ProcessPool(1, seconds=seconds, memory_mib=memory_mib) as pool:
        task = pool.submit(function, *args)
        while not task.finished:
            pool.wait()
        return task.result()


def _over(budget: Budget) -> WorkerOverBudget:
    return WorkerOverBudget(f"all tasks together took longer than {budget.seconds:g} s")
