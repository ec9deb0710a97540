"""The event loop: what leaves it, in which order, and what stays bounded when no engine answers."""

import hashlib
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from PIL import Image

from models.scripted.echo import EchoEngine
from pipeline.core.errors import ModelError
from pipeline.core.types import Document, Record
from pipeline.engine import Partial, Reply, Request
from pipeline.preprocessing.page_loader import PageLoader, warm_up
from pipeline.runs.scheduler import MAX_PENDING_EVENTS, Scheduler
from pipeline.runs.scheduler_events import Assignment, DocumentFinished, Event, Idle, PartialAnswer
from pipeline.schema.job import parse_job
from pipeline.schema.settings import Limits
from pipeline.system.process_pool import ProcessPool
from tests.stress import bombs
from tests.support.builders import document

NOTE = parse_job(b"name: note\npreprocess: []\nfields: {number: {type: text, required: true}}\n")
ASK = parse_job(b"name: ask\nquestions: true\nfields: {answer: {type: prose}}\n")


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPool]:
    with ProcessPool(1, seconds=60, memory_mib=1024, start=warm_up) as pool:
        yield pool


def assignment(folder: Path, name: str, good: bool = True) -> Assignment:
    path = folder / name
    if good:
        Image.new("RGB", (60, 40), "white").save(path, "PNG")
    else:
        path.write_bytes(b"%PDF-1.7\n" + name.encode())
    document_id = hashlib.sha256(name.encode()).hexdigest()
    return Assignment(document(name, "note", id=document_id, path=path), [NOTE])


def told(event: Event) -> str:
    match event:
        case Record():
            return f"record {event.document.name} {event.status}"
        case DocumentFinished():
            return f"{'returned' if event.returned else 'finished'} {event.document.name}"
        case PartialAnswer():
            return f"answering {event.text}"
        case Idle():
            return "idle"


def test_a_record_leaves_before_its_document_is_finished(pool: ProcessPool, tmp_path: Path) -> None:
    flow = Scheduler(EchoEngine({"*": '{"number": "1"}'}), PageLoader(pool, Limits()))
    events = [told(event) for event in flow.run([assignment(tmp_path, "a"), assignment(tmp_path, "b", good=False)])]
    events = [event for event in events if event != "idle"]
    assert sorted(events) == ["finished a", "finished b", "record a ok", "record b failed"]
    assert all(events.index(f"record {name}") < events.index(f"finished {name[0]}") for name in ("a ok", "b failed"))


def test_what_waits_for_a_broken_document_is_taken_up_although_no_engine_is_asked(
    pool: ProcessPool, tmp_path: Path
) -> None:
    """The source of a batch holds a twin back until the first is committed, which the events of the flow tell it."""
    committed: set[str] = set()

    def assignments() -> Iterator[Assignment | None]:
        yield assignment(tmp_path, "first", good=False)
        while "first" not in committed:
            yield None
        yield assignment(tmp_path, "twin", good=False)

    class NeverAsked(EchoEngine):
        def answer(self, requests: Iterable[Request | None]) -> Iterator[Reply | Partial]:
            raise AssertionError("there is nothing to ask")

    for event in Scheduler(NeverAsked({}), PageLoader(pool, Limits())).run(assignments()):
        if isinstance(event, DocumentFinished):
            committed.add(event.document.name)
    assert committed == {"first", "twin"}


def test_broken_documents_do_not_pile_up_while_an_engine_takes_its_time(pool: ProcessPool, tmp_path: Path) -> None:
    """The engine holds one request and pulls for as long as it is given anything new to look at."""
    begun = 0

    def assignments() -> Iterator[Assignment]:
        nonlocal begun
        yield assignment(tmp_path, "good")
        for number in range(4 * MAX_PENDING_EVENTS):
            begun += 1
            yield assignment(tmp_path, f"broken {number:03}", good=False)

    class Slow(EchoEngine):
        most = 0

        def answer(self, requests: Iterable[Request | None]) -> Iterator[Reply | Partial]:
            held, still, before = [], 0, -1
            for request in requests:
                held += [request] if request else []
                still, before = (still + 1 if begun == before else 0), begun
                if still == 40 and held:  # nothing new was begun for 40 looks
                    self.most = max(self.most, begun)
                    yield Reply(held.pop(), '{"number": "1"}', "stop")
            for request in held:
                yield Reply(request, '{"number": "1"}', "stop")

    engine = Slow({})
    events = [told(event) for event in Scheduler(engine, PageLoader(pool, Limits())).run(assignments())]
    assert len([event for event in events if event.startswith("finished")]) == 1 + 4 * MAX_PENDING_EVENTS
    assert MAX_PENDING_EVENTS // 2 <= engine.most <= MAX_PENDING_EVENTS, (
        "two events a document; some are with the decoders"
    )


def test_an_engine_that_loses_a_request_ends_the_run_and_the_documents_go_back(
    pool: ProcessPool, tmp_path: Path
) -> None:
    class Loses(EchoEngine):
        def answer(self, requests: Iterable[Request | None]) -> Iterator[Reply | Partial]:
            for request in requests:
                if request is not None and request.document.name != "lost":
                    yield Reply(request, '{"number": "1"}', "stop")

    flow, events = Scheduler(Loses({}), PageLoader(pool, Limits())), list[str]()
    with pytest.raises(ModelError, match=r"echo ended without an answer to 1 request\."):
        events.extend(told(event) for event in flow.run([assignment(tmp_path, "lost"), assignment(tmp_path, "found")]))
    assert "finished found" in events
    assert events[-1] == "returned lost"


def test_what_was_finished_before_an_engine_gave_up_still_leaves(pool: ProcessPool, tmp_path: Path) -> None:
    """A document that could not be opened is told of although the engine breaks before its next reply."""

    class Breaks(EchoEngine):
        def answer(self, requests: Iterable[Request | None]) -> Iterator[Reply | Partial]:
            for request in requests:
                assert request is None or request.document.name == "good"
            raise ModelError("the device went away")
            yield

    def assignments() -> Iterator[Assignment]:
        yield assignment(tmp_path, "good")
        yield assignment(tmp_path, "broken", good=False)

    flow, events = Scheduler(Breaks({}), PageLoader(pool, Limits())), list[str]()
    with pytest.raises(ModelError, match="went away"):
        events.extend(told(event) for event in flow.run(assignments()))
    assert {event for event in events if event != "idle"} == {
        "record broken failed",
        "finished broken",
        "returned good",
    }


def test_how_far_an_answer_is_leaves_as_an_event(pool: ProcessPool, tmp_path: Path) -> None:
    class Tells(EchoEngine):
        def answer(self, requests: Iterable[Request | None]) -> Iterator[Reply | Partial]:
            for request in requests:
                if request is not None:
                    yield Partial(request, "It sh")
                    yield Reply(request, "It shows nothing.", "stop")

    (tmp_path / "set").mkdir()
    part = assignment(tmp_path / "set", "a.png").document.path
    asked = Document(
        "ab" * 32, "set", tmp_path / "set", "ask", datetime(2026, 1, 1, tzinfo=UTC), 1, "What?", (), (part,)
    )
    events = [told(event) for event in Scheduler(Tells({}), PageLoader(pool, Limits())).run([Assignment(asked, [ASK])])]
    assert [event for event in events if event != "idle"] == ["answering It sh", "record set ok", "finished set"]


def test_what_decoders_still_have_when_an_engine_gives_up_is_dropped(pool: ProcessPool, tmp_path: Path) -> None:
    """Nothing comes back later into another flow of the same pool."""

    class Breaks(EchoEngine):
        def answer(self, requests: Iterable[Request | None]) -> Iterator[Reply | Partial]:
            raise ModelError("the device went away")
            yield

    quick, slow = assignment(tmp_path, "quick"), assignment(tmp_path, "slow", good=False)
    slow.document.path.write_bytes(bombs.slow_pdf(1, levels=6))  # minutes
    with pytest.raises(ModelError, match="went away"):
        list(Scheduler(Breaks({}), PageLoader(pool, Limits())).run([quick, slow]))
    assert not pool.in_flight
    events = [told(event) for event in Scheduler(EchoEngine({}), PageLoader(pool, Limits())).run([quick])]
    assert events[-1] == "finished quick"
