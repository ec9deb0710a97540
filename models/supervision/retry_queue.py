"""Who is asked next, and in what company, when the engine has died: the suspects' list of a supervisor.

What an engine had pulled when it died is suspect. After one death suspects are asked again, a few at a time and without
anybody new; after two each is asked alone; one that dies a third time is poison. Before the verdict the same is asked
about blank paper: an engine that dies over that too is what is broken, and not the documents.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pipeline.core.errors import ModelError
from pipeline.engine import Reply, Request

AHEAD = 8  # requests that wait in the engine's process, so that it need not wait for the parent
COMPANY = 16  # suspects asked together: few enough that asking each alone afterwards costs little
POISON = 3  # deaths
FRUITLESS = 8  # deaths one after another without a reply, until the engine is given up
BLANK = "blank paper"  # what the document is called that is asked about before a verdict
BLANK_TOKENS = 32  # of an answer about it
NAMED = 3  # documents that a message names


@dataclass(eq=False)
class TrackedRequest:
    """A request on its way. `taken`: the engine has pulled it, so its death may be this request's doing."""

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
        self.out: dict[int, TrackedRequest] = {}  # with the engine's process, by number
        self._again: list[TrackedRequest] = []  # came back from a death; those with most deaths first
        self._condemned: tuple[TrackedRequest, str] | None = None  # one at most: it died alone
        self._count = self._fruitless = 0

    @property
    def room(self) -> bool:
        return sum(not asked.taken for asked in self.out.values()) < AHEAD

    @property
    def done(self) -> bool:
        return not self.out and not self._again and self._condemned is None

    @property
    def judging(self) -> bool:
        """Whether it is blank paper that the engine is asked about."""
        return self._condemned is not None

    def again(self) -> TrackedRequest | None:
        """The next that came back, or the question before a verdict, if it may be asked now."""
        if self._condemned is not None:
            return None if self.out else self.new(_about_blank_paper(self._condemned[0].request))
        if not self._again:
            return None
        asked = self._again[0]
        company = _company(asked.deaths)
        same = all(other.deaths == asked.deaths for other in self.out.values())
        if self.out and (not same or len(self.out) >= company):
            return None
        self._again.remove(asked)
        self.out[asked.number] = asked
        return asked

    @property
    def open(self) -> bool:
        """Whether a new request may join: no suspect is under way or waits, and no verdict is open."""
        return not (self._again or self.judging or any(asked.deaths for asked in self.out.values()))

    def new(self, request: Request) -> TrackedRequest:
        self._count += 1
        self.out[self._count] = asked = TrackedRequest(self._count, request)
        return asked

    def take(self, number: int) -> None:
        self.out[number].taken = True

    def answered(self, number: int, said: Mapping[str, Any]) -> Reply:
        """The reply, of what the engine said; to blank paper it is the verdict on what was condemned."""
        self._fruitless = 0
        request = self.out.pop(number).request
        if self._condemned is None:
            return Reply(request, **said)
        (asked, reason), self._condemned = self._condemned, None
        told = f"the engine died {POISON} times at it; the last time, alone: {reason}"
        return Reply(asked.request, "", "error", told, error_code="poison")

    def died(self, reason: str) -> list[TrackedRequest]:
        """Everybody comes back. -> the suspects. Raises ModelError when it is the engine that is broken."""
        if self._condemned is not None:
            self.out.clear()  # blank paper is no suspect
        suspects = [asked for asked in self.out.values() if asked.taken]
        self._fruitless += 1
        for asked in suspects:
            asked.deaths, asked.taken = asked.deaths + 1, False
            if asked.deaths >= POISON:
                self._condemned = asked, reason
        back = [asked for asked in (*self.out.values(), *self._again) if asked.deaths < POISON]
        self._again = sorted(back, key=lambda asked: (-asked.deaths, asked.number))
        self.out.clear()
        if self._fruitless >= FRUITLESS:
            raise ModelError(
                f"The engine died {FRUITLESS} times one after another without an answer, the last time so: {reason}. "
                "Nothing is lost: what was in hand goes back to the inbox."
            )
        return suspects


def named(asked: list[TrackedRequest]) -> str:
    """The documents' names, the first few of many."""
    names = list(dict.fromkeys(each.name for each in asked))
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")


def _company(deaths: int) -> int:
    return 1 if deaths == POISON - 1 else COMPANY if deaths else AHEAD * COMPANY * COMPANY


def _about_blank_paper(request: Request) -> Request:
    """The same question about white pages of the same size, and an answer that may be short."""
    document = replace(request.document, name=BLANK)
    pages = tuple(
        replace(page, words=(), image=None if page.image is None else np.full_like(page.image, 255))
        for page in request.pages
    )
    question = request.question if document.question is None else BLANK
    most = min(request.max_new_tokens, BLANK_TOKENS)
    return replace(request, document=document, pages=pages, question=question, earlier=(), max_new_tokens=most)
