"""The listener of the tests: it remembers what it was told."""

from pipeline.account import Account, Entry


class Ear:
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.entries: list[Entry] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def started(self, waiting: int) -> None: ...
    def answering(self, document_id: str, text: str) -> None: ...

    def finished(self, entry: Entry) -> None:
        self.entries.append(entry)

    def ended(self, account: Account) -> None: ...
