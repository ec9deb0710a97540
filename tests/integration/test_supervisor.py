"""An engine under watch: real processes, real signals; only what it says is scripted."""

import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image

from models.scripted.echo import EchoEngine
from models.scripted.faulty import FaultyEngine
from models.supervision import engine_host, retry_queue, supervisor
from models.supervision.retry_queue import RetryQueue
from models.supervision.supervisor import SupervisedEngine
from pipeline.core.errors import ModelError
from pipeline.engine import PARTIAL_LETTERS, Engine, Partial, Reply, Request
from pipeline.extraction import prompt
from pipeline.plugins import engines
from pipeline.reporting.run_report import RunReport
from pipeline.runs.session import Session
from pipeline.schema.job import parse_job
from pipeline.schema.settings import Settings, load_settings
from pipeline.system.ipc import MessageKind, receive, send
from tests.support import engine_starts
from tests.support.builders import document, file_names, page
from tests.support.ear import Ear
from tests.support.waiting import EVENT_S, cpu_ticks, gone, wait_until

PROJECT = Path(__file__).parents[2]
NOTE = parse_job(b"name: note\npreprocess: []\nfields: {number: {type: text, required: true}}\n")
GOOD = '{"number": "A-1"}'
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


def request(name: str, side: int = 8) -> Request:
    image = np.full((side, side, 3), len(name), np.uint8)
    return prompt.ask(NOTE, document(name, "note"), [page(image=image)])


class Stage:
    """Makes supervised engines that follow a script, and ends them. `hang_s`: the limit of silence of each."""

    def __init__(self, folder: Path, hang_s: float) -> None:
        self.script, self.hang_s = folder / "replies.json", hang_s
        self.made: list[SupervisedEngine] = []

    def engine(self, script: Mapping[str, str]) -> SupervisedEngine:
        self.script.write_text(json.dumps({"*": GOOD, **script}))
        self.made.append(SupervisedEngine(partial(FaultyEngine.at, self.script), step_s=self.hang_s, start_s=EVENT_S))
        return self.made[-1]


@pytest.fixture(scope="module")
def hang_s(start_s: float) -> float:
    """A limit of silence that a sound engine keeps on this machine: its first step imports as much as a start does."""
    return round(max(1.0, 2 * start_s), 1)


@pytest.fixture
def stage(tmp_path: Path, hang_s: float, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    monkeypatch.setattr(supervisor, "PAUSES_S", (0.0, 0.1, 0.1))
    stage = Stage(tmp_path, hang_s)
    yield stage
    for engine in stage.made:
        engine.close()


def answers(engine: Engine, *names: str) -> dict[str, Reply]:
    replies = list(engine.answer([request(name) for name in names]))
    assert len(replies) == len(names)
    return {reply.request.document.name: reply for reply in replies}


def test_it_says_what_the_engine_says_and_gives_back_the_very_request(stage: Stage) -> None:
    engine = stage.engine({"b": "<length>{half", "c": "<error>no"})
    assert (engine.name, engine.page_spec, engine.provenance()) == ("echo", EchoEngine.page_spec, {"engine": "echo"})
    assert engine.unsupported_reason(NOTE) is None
    asked = [request("a", 500), None, request("b"), request("c")]
    replies = list(engine.answer(asked))
    assert [reply.request for reply in replies] == [asked[0], asked[2], asked[3]]
    assert [(reply.text, reply.finish) for reply in replies] == [(GOOD, "stop"), ("{half", "length"), ("no", "error")]
    assert list(engine.answer([])) == []


@pytest.mark.parametrize(
    ("deed", "reason"),
    [
        ("<die once>", "ended by SIGKILL"),
        ("<cuda twice>", "RuntimeError: CUDA error: an illegal memory access"),
        ("<oom once>", "MemoryError: out of memory"),
        ("<hang once>", "nothing was heard of it for {hang_s:g} s"),
        ("<stop once>", "stopped from outside (SIGSTOP)"),
    ],
)
def test_what_dies_or_hangs_is_started_again_and_asked_again(
    stage: Stage, caplog: pytest.LogCaptureFixture, deed: str, reason: str
) -> None:
    engine = stage.engine({"bad": f"{deed}{GOOD}"})
    first = engine.pid
    replies = answers(engine, "a", "bad", "b", "c")
    assert {reply.text for reply in replies.values()} == {GOOD}
    assert engine.pid != first
    assert reason.format(hang_s=stage.hang_s) in caplog.text
    assert "bad" in caplog.text


ASK = parse_job(b"name: ask\nquestions: true\npreprocess: []\nfields: {answer: {type: prose, required: true}}\n")


def question(name: str) -> Request:
    return prompt.ask(ASK, replace(document(name, "note"), question="What is it?"), [])


def test_how_far_an_answer_is_travels_too(stage: Stage) -> None:
    long = "words and words " * (PARTIAL_LETTERS // 8)
    engine = stage.engine({"a": f"<slowly>{long}", "x": "<die 99>"})
    asked = [question("a"), request("b")]
    given = list(engine.answer(asked))
    texts = [each.text for each in given if isinstance(each, Partial) and each.request is asked[0]]
    assert len(texts) == len(given) - 2
    assert all(long.startswith(text) for text in texts)
    assert len(texts[0]) < PARTIAL_LETTERS == len(texts[-1])
    assert [each.text for each in given if isinstance(each, Reply)] == [long, GOOD]


def test_an_engine_does_not_wait_to_be_watched(stage: Stage) -> None:
    """The parent that writes a large table does not read; the engine goes on, and says later how it ended."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        made = engine_host.EngineHost(theirs, EchoEngine({}), engine_host.Heartbeat(theirs, 60.0))
        request = question("a")
        made.given[id(request)] = 7, request
        theirs.setblocking(False)  # so that waiting would be an error
        for _ in range(2000):
            made.send_partial(Partial(request, "x" * 3000))
        send(theirs, MessageKind.REPLY, 7, {"text": "y" * 10_000})
        ours.setblocking(False)
        heard = []
        with contextlib.suppress(BlockingIOError):
            while (message := receive(ours)) is not None:
                heard.append(message.kind)
        assert heard[-1] == MessageKind.REPLY
        assert 1 < len(heard) < 100


def test_a_poison_is_put_aside_alone(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    names = [f"{number:02}" for number in range(30)]
    replies = answers(stage.engine({"07": "<die>", "19": "<cuda>"}), *names)
    bad = {name: reply for name, reply in replies.items() if reply.finish == "error"}
    assert sorted(bad) == ["07", "19"]
    assert {reply.error_code for reply in bad.values()} == {"poison"}
    assert "SIGKILL" in str(bad["07"].error)
    assert "CUDA error" in str(bad["19"].error)
    assert "07 is put aside as poison" in caplog.text


def test_a_night_of_nothing_but_poison_names_each(stage: Stage) -> None:
    """Blank paper shows that the engine is sound."""
    replies = answers(stage.engine({"a": "<die>", "b": "<cuda>", "c": "<oom>", "d": "<die>"}), *"abcd")
    assert {reply.error_code for reply in replies.values()} == {"poison"}
    assert "MemoryError" in str(replies["c"].error)


def test_without_a_question_an_unloaded_engine_stays_so(stage: Stage) -> None:
    engine = stage.engine({})
    engine.unload()
    assert list(engine.answer([None, None])) == []
    assert engine.pid is None


def test_an_engine_that_forgets_a_request_is_found_out(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "NO_REPLY_STEPS", 2)
    assert answers(stage.engine({"b": f"<lost once>{GOOD}"}), "a", "b", "c")["b"].text == GOOD


def test_an_engine_that_can_answer_nothing_is_given_up_and_nobody_is_poison(stage: Stage) -> None:
    given: list[Reply] = []
    with pytest.raises(ModelError, match="without an answer"):
        given.extend(stage.engine({"*": "<die>"}).answer([request(f"{number}") for number in range(9)]))
    assert given == []


def test_an_engine_that_dies_over_nothing_is_given_up(stage: Stage) -> None:
    engine = stage.engine({})
    killed: list[int] = []

    def source() -> Iterator[Request | None]:
        yield request("a")
        while True:
            if engine.pid and (not killed or killed[-1] != engine.pid):
                killed.append(engine.pid)
                os.kill(engine.pid, signal.SIGKILL)
            yield None

    with pytest.raises(ModelError, match=f"died {retry_queue.FRUITLESS} times"):
        list(engine.answer(source()))
    assert len(killed) >= retry_queue.FRUITLESS
    assert engine.pid is None


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGSTOP, signal.SIGSEGV])
def test_signals_from_outside_cost_nothing(stage: Stage, sign: signal.Signals) -> None:
    engine = stage.engine({"3": f"<late once>{GOOD}"})
    assert engine.pid
    timer = threading.Timer(0.4, os.kill, (engine.pid, sign))
    timer.start()
    replies = answers(engine, *map(str, range(12)))
    timer.join()
    assert {reply.text for reply in replies.values()} == {GOOD}


def test_a_parent_that_is_away_is_no_hang(stage: Stage) -> None:
    """Neither while the caller does something else, nor while the source has nothing."""
    engine, away_s = stage.engine({}), 1.25 * stage.hang_s
    first = engine.pid

    def source() -> Iterator[Request | None]:
        for number in range(2):
            yield request(str(number))
            time.sleep(away_s)
            yield None

    for _ in engine.answer(source()):
        time.sleep(away_s)
    assert engine.pid == first


def test_sigterm_and_ctrl_c_leave_the_engine_to_its_parent(stage: Stage) -> None:
    engine = stage.engine({})
    first = engine.pid
    assert first
    for sign in (signal.SIGTERM, signal.SIGINT):
        os.kill(first, sign)
    answers(engine, "a")
    assert engine.pid == first


def test_unloaded_it_holds_no_process_and_the_next_question_starts_it(stage: Stage) -> None:
    engine = stage.engine({})
    first = engine.pid
    assert first
    engine.unload()
    assert engine.pid is None
    assert gone(first)
    assert engine.page_spec == EchoEngine.page_spec
    assert answers(engine, "a")["a"].text == GOOD
    second = engine.pid
    assert second
    os.kill(second, signal.SIGKILL)  # while nobody asks
    wait_until(lambda: gone(second))
    assert answers(engine, "a")["a"].text == GOOD
    engine.close()
    assert engine.unsupported_reason(NOTE) is None


def test_a_caller_that_leaves_leaves_nothing_behind(stage: Stage) -> None:
    engine = stage.engine({})
    stream = engine.answer([request(str(number)) for number in range(20)])
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert engine.pid is None
    assert len(answers(engine, "x", "y")) == 2


@pytest.mark.parametrize(
    ("start", "words"),
    [
        (engine_starts.no_weights, "there are no weights at /nowhere"),
        (engine_starts.breaks, "did not start: RuntimeError: CUDA driver version is insufficient"),
        (engine_starts.dies, "SIGABRT; last lines of stderr: free"),
        (engine_starts.too_slow, "not ready after 1 s"),
    ],
)
def test_an_engine_that_does_not_start_says_why(start: Any, words: str) -> None:
    with pytest.raises(ModelError, match=words.replace("(", r"\(")):
        SupervisedEngine(start, start_s=1 if start is engine_starts.too_slow else EVENT_S)


@pytest.mark.parametrize("stopped", [False, True])
def test_no_process_outlives_a_parent_that_is_killed(stage: Stage, stopped: bool) -> None:
    stage.script.write_text(json.dumps({"*": GOOD}))
    code = (
        "import sys, time\nfrom functools import partial\nfrom pathlib import Path\n"
        "from models.scripted.faulty import FaultyEngine\nfrom models.supervision.supervisor import SupervisedEngine\n"
        "engine = SupervisedEngine(partial(FaultyEngine.at, Path(sys.argv[1])))\n"
        "print(engine.pid, flush=True)\ntime.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, stage.script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        child = int(parent.stdout.readline())
        if stopped:
            os.kill(child, signal.SIGSTOP)
        parent.kill()
    wait_until(lambda: gone(child))


def test_pages_travel_once_and_cost_little(stage: Stage) -> None:
    """CPU time of both processes: a tenth of the time of one page on the fastest card that was measured (0.1 s)."""
    engine = stage.engine({})
    pages = [request(str(number), 1000) for number in range(40)]
    list(engine.answer(pages[:4]))
    assert engine.pid
    begun_s, begun_ticks = time.process_time(), cpu_ticks(engine.pid)
    assert len(list(engine.answer(pages))) == 40
    spent_s = time.process_time() - begun_s + (cpu_ticks(engine.pid) - begun_ticks) / os.sysconf("SC_CLK_TCK")
    assert spent_s / 40 < 0.02


# ---- who is asked next, without processes
@given(st.data())
@hypothesis_settings(max_examples=80, deadline=None)
def test_poison_alone_is_condemned_whatever_dies_when(data: st.DataObject) -> None:
    """An engine that dies whenever it has pulled a poisoned request, and answers the others in any order."""
    count = data.draw(st.integers(1, 60))
    poison = set(data.draw(st.lists(st.integers(0, count - 1), max_size=5)))
    hold = data.draw(st.integers(1, 40))
    dice = data.draw(st.randoms(use_true_random=False))
    todo, queue, replies = [request(str(number), 1) for number in range(count)], RetryQueue(), []
    for _ in range(5000):
        while queue.room and (asked := queue.again() or (queue.new(todo.pop(0)) if todo and queue.open else None)):
            assert asked.deaths < retry_queue.POISON - 1 or len(queue.out) == 1, "twice suspect, and in company"
            if sum(each.taken for each in queue.out.values()) < hold:
                queue.take(asked.number)
        if queue.done and not todo:
            break
        taken = [each for each in queue.out.values() if each.taken]
        for each in list(queue.out.values())[: hold - len(taken)]:
            queue.take(each.number)
        taken = [each for each in queue.out.values() if each.taken]
        if any(each.name != retry_queue.BLANK and int(each.name) in poison for each in taken):
            queue.died("scripted")
            continue
        replies.append(queue.answered(dice.choice(taken).number, {"text": "{}", "finish": "stop"}))
    assert sorted(int(reply.request.document.name) for reply in replies) == list(range(count))
    assert {int(r.request.document.name) for r in replies if r.error_code == "poison"} == poison


# ---- through a whole batch
@pytest.fixture
def settings(tmp_path: Path, hang_s: float, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(supervisor, "PAUSES_S", (0.0, 0.1, 0.1))
    box = tmp_path / "inbox" / "note"
    box.mkdir(parents=True)
    for number in range(20):
        Image.new("RGB", (60, 40), (number, 99, 7)).save(box / f"{number:02}.png")
    given = {"root": tmp_path, "workers": 1, "settle_s": 0, "engine": "echo", "weights": tmp_path / "replies.json"}
    return load_settings(None, engine_step_s=hang_s, **given)


def drain(settings: Settings, script: Mapping[str, str]) -> RunReport:
    settings.weights.write_text(json.dumps({"*": GOOD, **script}))
    model, line = engines.load(settings)
    assert "simulates the faults" in line
    try:
        with Session(settings, [NOTE], model, line, Ear()) as session:
            return session.batch()
    finally:
        model.close()


def test_a_night_with_a_poison_a_death_a_hang_and_nonsense_has_the_right_account(settings: Settings) -> None:
    script = {
        "03.png": "<die>",
        "05.png": f"<die once>{GOOD}",
        "08.png": f"<hang once>{GOOD}",
        "11.png": "<garbage>",
        "12.png": '<length>{"number": "A-',
        "13.png": f"<oom twice>{GOOD}",
        "17.png": "<error>it does not fit",
    }
    run_report = drain(settings, script)
    assert run_report.faults() == []
    counts = run_report.summary()
    assert (counts["taken"], counts["done"], counts["failed"]) == (20, 18, 2)
    assert counts["records"] == {"ok": 16, "review": 2, "failed": 2}
    assert file_names(settings.root, "failed") == ["03.png", "03.png.error.json", "17.png", "17.png.error.json"]
    said = json.loads((settings.root / "failed/note/03.png.error.json").read_text())
    assert said["code"] == "poison"
    assert "SIGKILL" in said["detail"]
    assert json.loads((settings.root / "failed/note/17.png.error.json").read_text())["code"] == "engine"
    restarts = [note for note in run_report.notes if "started again" in note]
    assert len(restarts) == 3 + 1 + 1 + 2
    assert any("03.png is put aside as poison" in note for note in run_report.notes)
    written = json.loads(next((settings.root / "runs").glob("*.json")).read_text())
    assert set(restarts) <= set(written["notes"])
    table = pd.read_parquet(settings.root / "results" / "note").set_index("source")
    assert len(table) == 20
    assert table["status"].value_counts().to_dict() == counts["records"]
    assert file_names(settings.root, "working") == file_names(settings.root, "inbox") == []


def test_an_engine_that_is_broken_leaves_everything_in_the_inbox(settings: Settings) -> None:
    with pytest.raises(ModelError, match="without an answer"):
        drain(settings, {"*": "<die>"})
    assert len(file_names(settings.root, "inbox")) == 20
    assert (
        file_names(settings.root, "working")
        == file_names(settings.root, "failed")
        == file_names(settings.root, "records")
        == []
    )
    written = json.loads(next((settings.root / "runs").glob("*.json")).read_text())
    assert written["faults"] == []
    assert written["counts"]["given_back"] == written["counts"]["taken"]
    assert "before its time" in written["notes"][0]
    for path in (settings.root / "replies.json.deeds").iterdir():
        path.unlink()
    assert drain(settings, {"00.png": f"<die once>{GOOD}"}).summary()["done"] == 20


def test_the_command_says_why_and_exits_3(settings: Settings, tmp_path: Path, hang_s: float) -> None:
    settings.weights.write_text(json.dumps({"*": "<die>"}))
    config = tmp_path / "config.yaml"
    config.write_text(
        f"engine: echo\nweights: {settings.weights}\nsettle_s: 0\nworkers: 1\nengine_step_s: {2 * hang_s}\n"
    )
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "note.yaml").write_text("preprocess: []\nfields: {number: {type: text}}\n")
    command = [sys.executable, str(PROJECT / "run_batch.py"), "--root", tmp_path, "--config", config]
    done = subprocess.run([*command, "--jobs", tmp_path / "jobs"], capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "started again: its process was ended by SIGKILL" in done.stderr
    assert "Nothing is lost" in done.stderr
    assert len(file_names(tmp_path, "inbox")) == 20


def test_watching_loads_nothing_heavy_into_the_run(tmp_path: Path) -> None:
    """The run itself stays free of what its engine needs."""
    (tmp_path / "r.json").write_text(json.dumps({"*": "<die once>{}"}))
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from pipeline.plugins import engines\nfrom pipeline.schema.settings import load_settings\n"
        "m, _ = engines.load(load_settings(None, engine='echo', weights=Path(sys.argv[1])))\nm.close()\n"
        "print(sorted({'torch', 'transformers', 'onnxruntime', 'pandas', 'pyarrow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "r.json"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_notes_of_an_engine_reach_the_log(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "scanmill")
    engine = SupervisedEngine(engine_starts.speaks, start_s=EVENT_S)
    engine.close()
    assert "memory plan: all of it" in caplog.text
