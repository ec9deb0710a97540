"""Who is asked next, and in what company, when the engine has died: the suspects' list of a supervisor.

What an engine had pulled when it died is suspect. After one death suspects are asked again, a few at a time and without
anybody new; after two each is asked alone; one that dies a third time is poison. The verdict waits for the engine's
next reply, so that an engine that can answer nothing is not taken for a night full of poison.
"""

from dataclasses import dataclass

from pipeline.errors import ModelError
from pipeline.types import Reply, Request

AHEAD = 8  # requests that wait in the engine's process, so that it need not wait for the parent
COMPANY = 16  # suspects asked together: few enough that asking each alone afterwards costs little
POISON = 3  # deaths
FRUITLESS = 8  # deaths one after another without a reply, until the engine is given up: two poisons cost six
NAMED = 3  # documents that a message names


@dataclass(eq=False)
class Asked:
    """A request on its way. `taken`: the engine has pulled it, so its death may be this request's doing."""

    number: int
    request: Request
    deaths: int = 0
    taken: bool = False

    @property
    def name(self) -> str:
        return self.request.document.name


class Docket:
    """One stream of requests through an engine that may die."""

    def __init__(self) -> None:
        self.out: dict[int, Asked] = {}  # with the engine's process, by number
        self._again: list[Asked] = []  # came back from a death; those with most deaths first
        self._condemned: list[tuple[Asked, str]] = []
        self._count = self._fruitless = 0

    @property
    def room(self) -> bool:
        return sum(not asked.taken for asked in self.out.values()) < AHEAD

    @property
    def done(self) -> bool:
        return not self.out and not self._again

    def again(self) -> Asked | None:
        """The next that came back, if it may be asked now."""
        if not self._again:
            return None
        # with a verdict open, the least suspect shows best whether the engine can answer at all
        asked = self._again[-1 if self._condemned else 0]
        company = 1 if self._condemned else _company(asked.deaths)
        same = all(other.deaths == asked.deaths for other in self.out.values())
        if self.out and (not same or len(self.out) >= company):
            return None
        self._again.remove(asked)
        self.out[asked.number] = asked
        return asked

    @property
    def open(self) -> bool:
        """Whether a new request may join: no suspect is under way or waits. While a verdict is open, it goes alone."""
        if self._again or any(asked.deaths for asked in self.out.values()):
            return False
        return not self._condemned or not self.out

    def new(self, request: Request) -> Asked:
        self._count += 1
        self.out[self._count] = asked = Asked(self._count, request)
        return asked

    def take(self, number: int) -> None:
        self.out[number].taken = True

    def answered(self, number: int) -> Request:
        """The request of a reply. Verdicts may now be given: see `verdicts`."""
        self._fruitless = 0
        return self.out.pop(number).request

    def died(self, reason: str) -> list[Asked]:
        """Everybody comes back. -> the suspects. Raises ModelError when it is the engine that is broken."""
        suspects = [asked for asked in self.out.values() if asked.taken]
        self._fruitless += 1
        for asked in suspects:
            asked.deaths, asked.taken = asked.deaths + 1, False
            if asked.deaths >= POISON:
                self._condemned.append((asked, reason))
        back = [asked for asked in (*self.out.values(), *self._again) if asked.deaths < POISON]
        self._again = sorted(back, key=lambda asked: (-asked.deaths, asked.number))
        self.out.clear()
        if self._fruitless >= FRUITLESS:
            raise ModelError(
                f"The engine died {FRUITLESS} times one after another without an answer, the last time so: {reason}. "
                "Nothing is lost: what was in hand goes back to the inbox."
            )
        return suspects

    def verdicts(self) -> list[Reply]:
        """The replies of those that are poison. Call after a reply, and at the end."""
        condemned, self._condemned = self._condemned, []
        return [
            Reply(asked.request, "", "error", f"the engine died {POISON} times at it; the last time, alone: {reason}",
                  error_code="poison")
            for asked, reason in condemned
        ]  # fmt: skip


def named(asked: list[Asked]) -> str:
    """The documents' names, the first few of many."""
    names = list(dict.fromkeys(each.name for each in asked))
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")


def _company(deaths: int) -> int:
    return 1 if deaths == POISON - 1 else COMPANY if deaths else AHEAD * COMPANY * COMPANY
