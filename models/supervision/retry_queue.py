"""The requests of one stream, and which of them are retried together after the engine has died.

Requests that the engine had taken when it died are suspects. After one death they are retried in small groups without
new requests, after two each alone. A request whose engine dies a third time is quarantined as poison, but only if the
engine then answers the same question about a blank page: otherwise the engine is broken and not the document.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pipeline.core.errors import ModelError
from pipeline.engine import Reply, Request

AHEAD = 8  # requests queued in the engine's process, so that it does not wait for the supervisor
GROUP_SIZE = 16  # suspects retried together: few, so that retrying each alone afterwards costs little
POISON = 3  # deaths
FRUITLESS = 8  # consecutive deaths without a reply until the engine counts as broken
BLANK = "blank paper"  # the name of the document that probes the engine
BLANK_TOKENS = 32  # of the answer about it
NAMED = 3  # documents named in a message


@dataclass(eq=False)
class TrackedRequest:
    """A request in flight. `taken`: the engine has pulled it, so it may be the cause of a death."""

    number: int
    request: Request
    deaths: int = 0
    taken: bool = False

    @property
    def name(self) -> str:
        return self.request.document.name


class RetryQueue:
    """One stream of requests through an engine that may die."""

    def __init__(self) -> None:
        self.out: dict[int, TrackedRequest] = {}  # in flight, by number
        self._again: list[TrackedRequest] = []  # to be retried; those with most deaths first
        self._quarantined: tuple[TrackedRequest, str] | None = (
            None  # the request and the reason of its last death, while the engine is probed
        )
        self._count = self._fruitless = 0

    @property
    def room(self) -> bool:
        return sum(not asked.taken for asked in self.out.values()) < AHEAD

    @property
    def done(self) -> bool:
        return not self.out and not self._again and self._quarantined is None

    @property
    def probing(self) -> bool:
        """Whether the engine is being probed with a blank page."""
        return self._quarantined is not None

    def again(self) -> TrackedRequest | None:
        """The next request to retry, or the probe, if it may be sent now."""
        if self._quarantined is not None:
            return None if self.out else self.new(_blank_probe(self._quarantined[0].request))
        if not self._again:
            return None
        asked = self._again[0]
        group_size = _group_size(asked.deaths)
        same = all(other.deaths == asked.deaths for other in self.out.values())
        if self.out and (not same or len(self.out) >= group_size):
            return None
        self._again.remove(asked)
        self.out[asked.number] = asked
        return asked

    @property
    def open(self) -> bool:
        """Whether a new request may be sent: no suspect is in flight or waits, and no probe is running."""
        return not (self._again or self.probing or any(asked.deaths for asked in self.out.values()))

    def new(self, request: Request) -> TrackedRequest:
        self._count += 1
        self.out[self._count] = asked = TrackedRequest(self._count, request)
        return asked

    def take(self, number: int) -> None:
        self.out[number].taken = True

    def answered(self, number: int, fields: Mapping[str, Any]) -> Reply:
        """The reply with these fields; the reply to a probe quarantines the request that was suspected."""
        self._fruitless = 0
        request = self.out.pop(number).request
        if self._quarantined is None:
            return Reply(request, **fields)
        (asked, reason), self._quarantined = self._quarantined, None
        reason_text = f"the engine died {POISON} times at it; the last time, alone: {reason}"
        return Reply(asked.request, "", "error", reason_text, error_code="poison")

    def died(self, reason: str) -> list[TrackedRequest]:
        """Requeue all requests in flight; return the suspects. Raises ModelError when the engine itself is broken."""
        if self._quarantined is not None:
            self.out.clear()  # the probe is not retried
        suspects = [asked for asked in self.out.values() if asked.taken]
        self._fruitless += 1
        for asked in suspects:
            asked.deaths, asked.taken = asked.deaths + 1, False
            if asked.deaths >= POISON:
                self._quarantined = asked, reason
        back = [asked for asked in (*self.out.values(), *self._again) if asked.deaths < POISON]
        self._again = sorted(back, key=lambda asked: (-asked.deaths, asked.number))
        self.out.clear()
        if self._fruitless >= FRUITLESS:
            raise ModelError(
                f"The engine died {FRUITLESS} times one after another without an answer, the last time so: {reason}. "
                "Nothing is lost: the documents in work go back to the inbox."
            )
        return suspects


def named(asked: list[TrackedRequest]) -> str:
    """The names of the first few documents, and how many more there are."""
    names = list(dict.fromkeys(each.name for each in asked))
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")


def _group_size(deaths: int) -> int:
    return 1 if deaths == POISON - 1 else GROUP_SIZE if deaths else AHEAD * GROUP_SIZE * GROUP_SIZE


def _blank_probe(request: Request) -> Request:
    """The same question about white pages of the same size, with a short answer."""
    document = replace(request.document, name=BLANK)
    pages = tuple(
        replace(page, words=(), image=None if page.image is None else np.full_like(page.image, 255))
        for page in request.pages
    )
    question = request.question if document.question is None else BLANK
    most = min(request.max_new_tokens, BLANK_TOKENS)
    return replace(request, document=document, pages=pages, question=question, earlier=(), max_new_tokens=most)
