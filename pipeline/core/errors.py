"""Exceptions with their exit codes, and the errors of documents with cause and cure.

An exception stops something; an `Issue` (types.py) describes something. `.error.json`, the report and docs/errors.md
are all made from `DOCUMENT_ERRORS`, by `formats.explain_error`, which fills in the names of the formats.
"""

from dataclasses import dataclass

from pipeline.core.safe_text import sanitize

OK, SOME_FAILED, BAD_CONFIG, CANNOT_RUN, BUSY, INTERRUPTED = 0, 1, 2, 3, 75, 130


class ScanmillError(Exception):
    """Stops the run. `exit_code` is what the command line returns; `logged`: the log of the run has it already."""

    exit_code = CANNOT_RUN
    logged = False


@dataclass(frozen=True, slots=True)
class Fault:
    """One error in a job or config file: its place, and what would be right."""

    file: str
    line: int | None
    key: str
    message: str

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return sanitize(f"{place}: {self.key}: {self.message}" if self.key else f"{place}: {self.message}")


class ConfigError(ScanmillError):
    """A job or config file is wrong. Raised once, before any work, with all faults."""

    exit_code = BAD_CONFIG

    def __init__(self, faults: list[Fault]) -> None:
        self.faults = faults
        super().__init__("\n".join(str(fault) for fault in faults))


class ModelError(ScanmillError):
    """The model cannot run here: weights missing or broken, no memory, no engine."""

    exit_code = CANNOT_RUN


class LibraryError(ModelError):
    """A library cannot be loaded: it is not installed, or the system lacks one that it needs."""

    def __init__(self, what: str, cure: str) -> None:
        self.what, self.cure = what, cure
        super().__init__(what, cure)

    def __str__(self) -> str:
        return f"{self.what}. {self.cure}"


class StorageError(ScanmillError):
    """The root cannot be written: full disk, read-only folder, a share that went away."""

    exit_code = CANNOT_RUN


class BusyError(ScanmillError):
    """Another run holds the lock of this root."""

    exit_code = BUSY


@dataclass(frozen=True, slots=True)
class Cause:
    """Cause and cure of a document error, for the person who dropped the file."""

    cause: str
    cure: str


DOCUMENT_ERRORS: dict[str, Cause] = {
    "empty": Cause("The file has no bytes.", "Scan or copy it again; the copy may have been cut off."),
    "unsupported": Cause(
        "The file is not a PDF or a picture that Scanmill reads.",
        "Save it as {formats} and drop it again.",
    ),
    "broken": Cause(
        "The file is damaged: it cannot be decoded.", "Open it on your computer and save or scan it again."
    ),
    "encrypted": Cause(
        "The PDF asks for a password.",
        "Save a copy without a password and drop that one, or add the password to the config.",
    ),
    "no_pages": Cause("The file opens but has no pages.", "Check the original; export it again."),
    "too_large": Cause(
        "The file is larger than the limit `limits.file_mib` of the config.", "Split it, or raise the limit."
    ),
    "too_many_pages": Cause(
        "The document has more pages than the limit `limits.pages` of the config.", "Split it, or raise the limit."
    ),
    "too_many_pixels": Cause(
        "A page has more pixels than the limit `limits.megapixels` of the config.",
        "Scan at a lower resolution, or raise the limit.",
    ),
    "too_slow": Cause(
        "Reading took longer than the limit `limits.seconds` of the config, and was stopped.",
        "Save it in a simpler form (print it to PDF), or raise the limit.",
    ),
    "too_much_time": Cause(
        "Reading all pages of the document took longer than the limit `limits.document_seconds` of the config, and was "
        "stopped.",
        "Save it in a simpler form (print it to PDF), split it, or raise the limit.",
    ),
    "too_much_memory": Cause(
        "Reading needed more memory than the limit `limits.memory_mib` of the config, and was stopped.",
        "Scan at a lower resolution, or raise the limit.",
    ),
    "crashed": Cause(
        "The file made its decoder crash. The crash was contained; the run went on.",
        "Treat the file with suspicion. Print it to a new PDF and drop that one.",
    ),
    "not_a_file": Cause(
        "It is a link, a folder or a device, not a file. Scanmill never follows links.", "Drop the file itself."
    ),
    "not_readable": Cause("Scanmill has no right to read the file.", "Give the user that runs Scanmill read rights."),
    "vanished": Cause(
        "The file was removed while it was read.", "Drop it again, and do not move it before it is processed."
    ),
    "no_question": Cause(
        "The job answers questions, and no usable question came with the pictures.",
        "Write the question as plain text of at most 64 KiB into a file of the picture's name and .txt (for photo.jpg: "
        "photo.jpg.txt) and drop both, or put it into the folder as question.txt and run `run_batch.py retry`.",
    ),
    "no_picture": Cause(
        "The picture of the question is missing.",
        "Drop the picture and the question together. A question without a picture: name it like question.txt.",
    ),
    "only_reads": Cause(
        "The question needs an engine that understands it; the CPU engine only reads the text on pictures.",
        "Run with the GPU engine (`engine: qwen_vl`), after `run_batch.py retry`.",
    ),
    "engine": Cause(
        "The engine could not answer for this document.", "Run `run_batch.py retry`; if it fails again, report it."
    ),
    "poison": Cause(
        "The engine crashed three times while it processed this document, the last time with no other document. It "
        "was set aside so that the others could be read.",
        "Look at the document. Scan it again or split it, and drop it again. If it looks ordinary, report it.",
    ),
}


class DocumentError(Exception):
    """One document cannot be read. It is moved to failed/ with an `.error.json`; the run continues."""

    def __init__(self, code: str, detail: str = "") -> None:
        assert code in DOCUMENT_ERRORS, code
        self.code, self.detail = code, detail
        super().__init__(f"{code}: {detail}" if detail else code)

    def __reduce__(self) -> tuple[type["DocumentError"], tuple[str, str]]:  # for pickling: args are not the parameters
        return DocumentError, (self.code, self.detail)
