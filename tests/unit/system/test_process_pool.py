"""Guarded processes, with real ones: what a task costs when it goes wrong, and that nothing else is lost."""

import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.errors import DocumentError, ModelError
from pipeline.system import ipc
from pipeline.system.pool_task import Task, WorkerDied, WorkerOutOfMemory, WorkerTooSlow
from pipeline.system.process_pool import ProcessPool
from pipeline.system.worker_process import WorkerError
from tests.support import worker_tasks as tasks
from tests.support.waiting import EVENT_S, gone, wait_until

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@pytest.fixture(scope="module")
def shared_pool() -> Iterator[ProcessPool]:
    with ProcessPool(2, seconds=EVENT_S, memory_mib=256) as pool:
        yield pool


def ask(pool: ProcessPool, function: Callable[..., Any], *args: Any) -> Any:
    task = pool.submit(function, *args)
    assert pool.wait() == [task]
    return task.result()


def finish(pool: ProcessPool) -> list[Task]:
    done: list[Task] = []
    while pool.in_flight:
        done += pool.wait()
    return done


def test_an_array_comes_back_changed_and_ours(shared_pool: ProcessPool) -> None:
    image = np.random.default_rng(1).integers(0, 255, (1000, 1000, 3), np.uint8)
    result = ask(shared_pool, tasks.brighten, image)
    assert (result == image + 1).all()
    result[0] = 0  # writable here too


def test_an_array_of_three_megabytes_costs_little(shared_pool: ProcessPool) -> None:
    image = np.zeros((1000, 1000, 3), np.uint8)
    ask(shared_pool, tasks.same, image)
    start = resource.getrusage(resource.RUSAGE_SELF)
    for _ in range(20):
        ask(shared_pool, tasks.same, image)
    end = resource.getrusage(resource.RUSAGE_SELF)
    # there and back: four times as slow as measured on an idle machine still passes
    assert (end.ru_utime + end.ru_stime - start.ru_utime - start.ru_stime) / 20 < 0.008


@given(
    st.recursive(
        st.integers() | st.text() | st.none() | st.binary(max_size=40_000),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
@settings(max_examples=60, deadline=None)
def test_any_value_crosses_the_channel(value: Any) -> None:
    import socket

    ours, theirs = socket.socketpair()
    with ours, theirs:
        ipc.send(ours, ipc.MessageKind.TASK, 7, value)
        message = ipc.receive(theirs)
        assert message is not None
        assert (message.kind, message.number, message.load()) == (ipc.MessageKind.TASK, 7, value)


@pytest.mark.parametrize("size", [0, 1, 63, 64, 16_000, 16_384, 20_000, 3_000_000])
def test_arrays_around_every_border_arrive_whole(shared_pool: ProcessPool, size: int) -> None:
    sent = {"first": np.arange(size, dtype=np.uint8), "second": np.arange(size // 8, dtype=np.float64), "text": "ä" * 3}
    back = ask(shared_pool, tasks.same, sent)
    assert (back["first"] == sent["first"]).all()
    assert (back["second"] == sent["second"]).all()
    assert back["text"] == "äää"


def test_results_come_in_the_order_in_which_they_are_ready(shared_pool: ProcessPool, tmp_path: Path) -> None:
    slow, quick = shared_pool.submit(tasks.wait_for, str(tmp_path / "go")), shared_pool.submit(tasks.same, 1)
    assert shared_pool.wait() == [quick]
    (tmp_path / "go").touch()
    assert shared_pool.wait() == [slow]


def test_room_counts_what_keeps_workers_busy(shared_pool: ProcessPool) -> None:
    assert shared_pool.room == 4
    for _ in range(6):
        shared_pool.submit(tasks.sleep, 0.01)
    assert shared_pool.room == 0
    assert len(finish(shared_pool)) == 6
    assert shared_pool.room == 4


def test_wait_gives_up_in_time_and_is_quick_when_there_is_nothing(shared_pool: ProcessPool, tmp_path: Path) -> None:
    assert shared_pool.wait() == []
    task = shared_pool.submit(tasks.wait_for, str(tmp_path / "go"))
    start = time.monotonic()
    assert shared_pool.wait(0.05) == []
    assert time.monotonic() - start < EVENT_S / 10  # the task itself would never end
    with pytest.raises(WorkerError, match="not finished"):
        task.result()
    (tmp_path / "go").touch()
    assert shared_pool.wait() == [task]


def test_exceptions_come_back_as_they_are_and_say_where(shared_pool: ProcessPool) -> None:
    with pytest.raises(DocumentError) as caught:
        ask(shared_pool, tasks.refuse, "broken", "page 3")
    assert (caught.value.code, caught.value.detail) == ("broken", "page 3")
    with pytest.raises(TypeError) as error:
        ask(shared_pool, tasks.sleep, "long")
    assert "worker_tasks.py" in error.value.__notes__[0]


def test_an_exception_that_cannot_travel_keeps_its_words(shared_pool: ProcessPool) -> None:
    with pytest.raises(WorkerError, match="Sticky: glued together"):
        ask(shared_pool, tasks.stick)
    with pytest.raises(SystemExit, match="enough"):
        ask(shared_pool, tasks.quit_python)


def test_arguments_that_cannot_travel_fail_only_their_task(shared_pool: ProcessPool) -> None:
    with pytest.raises(WorkerError, match="cannot be sent"):
        ask(shared_pool, tasks.same, lambda: 1)
    assert ask(shared_pool, tasks.same, 1) == 1


def test_a_slow_task_is_stopped_and_the_others_are_not(start_s: float) -> None:
    limit_s = round(max(2.5, 2 * start_s), 1)
    with ProcessPool(2, seconds=limit_s, memory_mib=256) as pool:
        slow = pool.submit(tasks.spin)
        others = [pool.submit(tasks.sleep, 0.2) for _ in range(6)]  # some of them wait behind the slow one
        done = finish(pool)
        assert sorted(task.number for task in done) == list(range(1, 8))
        with pytest.raises(WorkerTooSlow, match=rf"longer than {re.escape(f'{limit_s:g}')} s"):
            slow.result()
        assert [task.result() for task in others] == [0.2] * 6


@pytest.mark.parametrize(("function", "words"), [(tasks.crash, "SIGSEGV"), (tasks.leave, "exited with 3")])
def test_a_crash_costs_one_task(function: Callable[[], None], words: str) -> None:
    with ProcessPool(1, seconds=EVENT_S, memory_mib=256) as pool:
        crash = pool.submit(function)
        after = pool.submit(tasks.same, "alive")  # waits in the channel of the worker that crashes
        assert finish(pool) == [crash, after]
        with pytest.raises(WorkerDied, match=words):
            crash.result()
        assert after.result() == "alive"


def test_a_worker_that_the_system_kills_is_replaced() -> None:
    with ProcessPool(1, seconds=EVENT_S, memory_mib=256) as pool:
        ask(pool, tasks.pid)
        task = pool.submit(tasks.spin)
        os.kill(pool.pids[0], signal.SIGKILL)
        pool.wait()
        with pytest.raises(WorkerDied, match="SIGKILL, most likely because memory ran out"):
            task.result()
        first = ask(pool, tasks.pid)
        os.kill(first, signal.SIGKILL)  # while it is idle
        wait_until(lambda: gone(first))
        assert ask(pool, tasks.same, 1) == 1


@linux_only
def test_memory_has_a_limit_relative_to_what_the_worker_holds() -> None:
    with ProcessPool(1, seconds=EVENT_S, memory_mib=300) as pool:
        assert ask(pool, tasks.take_memory, 200) == 200
        with pytest.raises(WorkerOutOfMemory):
            ask(pool, tasks.take_memory, 400)
        assert ask(pool, tasks.take_memory, 200) == 200


def test_workers_are_replaced_after_their_share_of_tasks() -> None:
    with ProcessPool(1, seconds=EVENT_S, memory_mib=256, recycle=3) as pool:
        for _ in range(7):
            pool.submit(tasks.pid)
        pids = [task.result() for task in finish(pool)]
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [3, 3, 1]


def test_start_runs_once_in_each_worker() -> None:
    with ProcessPool(1, seconds=EVENT_S, memory_mib=256, start=tasks.remember_start) as pool:
        assert ask(pool, tasks.was_started) == "yes"
    assert tasks.was_started() is None


def test_what_start_raises_becomes_the_result_of_each_task() -> None:
    with ProcessPool(1, seconds=EVENT_S, memory_mib=256, start=tasks.fail_to_start) as pool:
        for _ in range(2):
            with pytest.raises(ModelError, match="cannot start: FileNotFoundError: the weights are not there"):
                ask(pool, tasks.same, 1)


def test_a_crash_at_the_start_is_told_and_does_not_go_round_in_circles() -> None:
    with ProcessPool(1, seconds=EVENT_S, memory_mib=256, start=tasks.crash_at_start) as pool:
        given = [pool.submit(tasks.same, 1) for _ in range(2)]
        assert finish(pool) == given
        for task in given:
            with pytest.raises(ModelError, match=r"3 worker processes did not start: .*SIGSEGV"):
                task.result()


def test_workers_are_silent_and_leave_ctrl_c_to_the_parent(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with ProcessPool(1, seconds=EVENT_S, memory_mib=256) as pool:
        ask(pool, tasks.speak)
        task = pool.submit(tasks.wait_for, str(tmp_path / "go"), str(tmp_path / "begun"))
        wait_until((tmp_path / "begun").exists)
        os.kill(pool.pids[0], signal.SIGINT)
        (tmp_path / "go").touch()
        pool.wait()
        assert task.result() == str(tmp_path / "go")
    assert capfd.readouterr() == ("", "")


def test_close_ends_workers_their_children_and_their_tasks() -> None:
    pool = ProcessPool(1, seconds=EVENT_S, memory_mib=256)
    grandchild = ask(pool, tasks.start_grandchild)
    task, waiting = pool.submit(tasks.spin), [pool.submit(tasks.spin) for _ in range(3)]
    pids = pool.pids
    pool.close()
    for lost in [task, *waiting]:
        with pytest.raises(WorkerDied, match="closed"):
            lost.result()
    if sys.platform == "linux":
        wait_until(lambda: all(map(gone, [*pids, grandchild])))


@linux_only
def test_no_descriptor_is_left_on_either_side(shared_pool: ProcessPool) -> None:
    image = np.zeros(1_000_000, np.uint8)
    workers = {ask(shared_pool, tasks.open_descriptors) for _ in range(6)}
    before = tasks.open_descriptors()
    for _ in range(10):
        ask(shared_pool, tasks.brighten, image)
    assert tasks.open_descriptors() == before
    assert {ask(shared_pool, tasks.open_descriptors) for _ in range(6)} == workers
    for _ in range(3):
        with ProcessPool(1, seconds=EVENT_S, memory_mib=256) as pool:
            ask(pool, tasks.same, 1)
    assert tasks.open_descriptors() == before


@linux_only
def test_workers_die_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    report = tmp_path / "pids"
    code = f"from tests.support import worker_tasks; worker_tasks.hold_a_pool({str(report)!r})"
    parent = subprocess.Popen([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
    wait_until(lambda: report.exists() and len(report.read_text().split()) == 2)
    pids = [int(word) for word in report.read_text().split()]
    assert not any(map(gone, pids))
    parent.kill()
    parent.wait()
    wait_until(lambda: all(map(gone, pids)))
