"""The job model and its loading: what to read from the documents of one inbox. One YAML file in jobs/."""

import hashlib
import json
import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, TypeAdapter, ValidationError, field_validator, model_validator
from pydantic import Field as Key
from pydantic_core import PydanticCustomError

from pipeline.core.errors import ConfigError, Fault
from pipeline.core.geometry import Region
from pipeline.core.suggest import unknown
from pipeline.schema import rules, yaml_source
from pipeline.schema.fields import (
    FIELD_TYPES,
    TYPE_FAULTS,
    AnyField,
    Closed,
    Field,
    PageRegion,
    Text,
    column_names,
    field_names,
)
from pipeline.schema.rules import Rule

Step = Literal["orient", "deskew"]
STEPS: tuple[Step, ...] = ("orient", "deskew")
NAME = re.compile(r"[^\W_][\w-]{0,79}")
ENDINGS = (".yaml", ".yml")


def _named(name: Any) -> Any:
    if isinstance(name, str) and not NAME.fullmatch(name):
        raise ValueError(f'"{name}" cannot be a folder name everywhere; use letters, digits, - and _ (at most 80)')
    return name


def _rule(text: Any) -> Any:
    if isinstance(text, str):
        return rules.parse(text)
    if isinstance(text, Rule):
        return text
    raise ValueError("must be one line of text; put it in quotes")


_FIELD: TypeAdapter[Field] = TypeAdapter(AnyField)
FolderName = Annotated[str, BeforeValidator(_named)]


class Job(Closed):
    """Keys as in docs/jobs.md. Frozen and picklable."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    name: FolderName
    inbox: FolderName = ""
    per: Literal["document", "page"] = "document"
    role: Text = "You read scanned business documents with great care."
    instructions: str = Key(default="", max_length=20_000)
    preprocess: tuple[Step, ...] = STEPS
    region: PageRegion | None = None
    fields: dict[str, AnyField] = Key(min_length=1)
    tolerance: Decimal = Key(default=Decimal(0), ge=0)
    rules: tuple[Annotated[Rule, BeforeValidator(_rule)], ...] = ()
    window: int | None = Key(default=None, ge=1, le=1000)
    review_below: float = Key(default=0.5, ge=0, le=1)
    max_new_tokens: int | None = Key(default=None, ge=1, le=32_768)
    second_look: bool = False
    questions: bool = False

    @model_validator(mode="before")
    @classmethod
    def _own_inbox(cls, given: Any) -> Any:
        """The inbox is the job's name unless the job says otherwise."""
        if isinstance(given, dict) and given.get("inbox") in (None, ""):
            name = given.get("name")
            return {**given, "inbox": name if isinstance(name, str) and NAME.fullmatch(name) else "unnamed"}
        return given

    @field_validator("preprocess")
    @classmethod
    def _once(cls, steps: tuple[Step, ...]) -> tuple[Step, ...]:
        if len(set(steps)) < len(steps):
            raise ValueError("names a step twice")
        return tuple(step for step in STEPS if step in steps)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        found = _misfits(self.fields, frozenset(), enumerate(self.rules))
        if self.questions and self.per == "page":
            found.append((("per",), "a question is about all pictures that came with it: per: document"))
        if self.questions and "question" in {name.casefold() for name in self.fields}:
            found.append((("fields", "question"), 'the table of such a job has a column "question" of its own'))
        if found:
            text = "; ".join(f"{yaml_source.path_text(place)}: {fault}" for place, fault in found)
            raise PydanticCustomError("faults", "{text}", {"text": text, "faults": found})
        return self

    @property
    def parts(self) -> "tuple[Job, ...]":
        """One sub-job for the fields without a region, then one for each region.

        The pages of a sub-job are cropped to its `region`; its fields have none.
        """
        by_region: dict[Region | None, dict[str, Field]] = {None: {}}
        for name, field in self.fields.items():
            plain = field if field.region is None else field.model_copy(update={"region": None})
            by_region.setdefault(field.region, {})[name] = plain
        if len(by_region) == 1:
            return (self,)
        return tuple(
            self.model_copy(update={"fields": fields, "rules": (), "region": region or self.region})
            for region, fields in by_region.items()
            if fields
        )

    @cached_property
    def digest(self) -> str:
        """SHA-256 in hex of all that affects an answer: not comments, the order of keys, `name` and `inbox`."""
        keys = {key: each for key, each in _canonical(self).items() if key not in ("name", "inbox")}
        return hashlib.sha256(json.dumps(keys, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def _canonical(value: Any) -> Any:
    """A canonical JSON value. Keys at their default are left out, so that new keys change no digest."""
    if isinstance(value, Closed):
        kept = {key: getattr(value, key) for key, info in type(value).model_fields.items()}
        defaults = {key: info.default for key, info in type(value).model_fields.items()}
        plain = {key: _canonical(each) for key, each in kept.items() if key == "type" or each != defaults[key]}
        return {key: each for key, each in plain.items() if each is not None}
    if isinstance(value, Mapping):
        return [[key, _canonical(each)] for key, each in value.items()]  # the order of fields and options matters
    if isinstance(value, Rule):
        return value.text
    if isinstance(value, Region):
        return [value.left, value.top, value.width, value.height]
    if isinstance(value, Decimal):
        return str(value.normalize())
    return [_canonical(each) for each in value] if isinstance(value, tuple | list) else value


def parse_job(raw: bytes, file: str = "job.yaml") -> Job:
    """Parse the YAML text of a job. Raises ConfigError with all faults."""
    return _job(yaml_source.parse(raw, file))


def load_job(path: Path) -> Job:
    """Load a job file. Raises ConfigError with all faults."""
    return _job(yaml_source.read(path))


def _job(source: yaml_source.Source) -> Job:
    data = {"name": Path(source.file).stem, **source.data}
    try:
        return Job.model_validate(data)
    except ValidationError as error:
        faults = yaml_source.validation_faults(error, source, _keys_at)
        if not any(item["type"] == "faults" for item in error.errors()):
            faults += [source.fault(place, fault) for place, fault in _misfits(*_sound_parts(source.data))]
        raise ConfigError(sorted(faults, key=lambda fault: fault.line or 0)) from None


def _misfits(
    fields: Mapping[str, Field], broken: Collection[str], numbered: Iterable[tuple[int, Rule]]
) -> list[tuple[yaml_source.Place, str]]:
    """Faults of field names and of rules. Rules about broken fields are not checked."""
    misnamed = list(field_names.faults([*column_names(fields), *broken], top=True))
    found: list[tuple[yaml_source.Place, str]] = [(("fields", name), fault) for name, fault in misnamed]
    unclear = {unicodedata.normalize("NFKC", name) for name in (*broken, *dict(misnamed))}  # as rules spell them
    for index, rule in numbered:
        if not rule.names & unclear:
            found += [(("rules", index), fault) for fault in rules.faults(rule, fields, broken)]
    return found


def _sound_parts(data: Mapping[str, Any]) -> tuple[dict[str, Field], list[str], list[tuple[int, Rule]]]:
    """Of a job with faults: valid fields, names of invalid ones, and the rules that parse."""
    sound: dict[str, Field] = {}
    broken: list[str] = []
    given = data.get("fields")
    for name, keys in given.items() if isinstance(given, dict) else ():
        try:
            sound[name] = _FIELD.validate_python(keys)
        except ValidationError:
            broken.append(name)
    parsed: list[tuple[int, Rule]] = []
    lines = data.get("rules")
    for index, line in enumerate(lines if (sound or broken) and isinstance(lines, list) else ()):
        with suppress(ValueError):
            parsed.append((index, _rule(line)))
    return sound, broken, parsed


def _keys_at(place: yaml_source.Place, around: Mapping[str, Any]) -> list[str]:
    if not place:
        return list(Job.model_fields)
    if place[-1] == "region":
        return ["left", "top", "width", "height"]
    kind = FIELD_TYPES.get(str(around.get("type")))
    return list(kind.model_fields) if kind else []


def files(folder: Path) -> list[Path]:
    """The job files in the folder, by name. Raises ConfigError where the folder cannot be read."""
    try:
        paths = sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigError([Fault(str(folder), None, "", "is not a folder; jobs are YAML files in a folder")]) from None
    except OSError as error:
        raise ConfigError([Fault(str(folder), None, "", f"cannot be read: {error.strerror or error}")]) from None
    return [path for path in paths if path.suffix in ENDINGS and not path.name.startswith(".")]


def load_jobs(folder: Path, names: Sequence[str] = ()) -> list[Job]:
    """The jobs of a folder, by name, or only those named.

    Raises ConfigError with all faults of all files and of installed field types.
    """
    jobs: dict[str, tuple[Job, yaml_source.Source]] = {}
    faults: list[Fault] = list(TYPE_FAULTS)
    for path in files(folder):
        try:
            source = yaml_source.read(path)
            job = _job(source)
        except ConfigError as error:
            faults += error.faults
            continue
        if (first := jobs.setdefault(job.name.casefold(), (job, source))[1]) is not source:
            first_name = Path(first.file).name
            faults.append(source.fault(("name",), f'"{job.name}" is the name of the job in {first_name} too'))
    faults += _inbox_conflicts(list(jobs.values()))
    if not jobs and not faults:
        faults.append(Fault(str(folder), None, "", "has no job; `run_batch.py new NAME` writes one"))
    wanted = {name.casefold(): name for name in names}
    if not faults:
        known = [job.name for job, _ in jobs.values()]
        for name in wanted.values():
            if name.casefold() not in jobs:
                faults.append(Fault(str(folder), None, name, unknown(name, known, "job")))
    if faults:
        raise ConfigError(faults)
    return [job for key, (job, _) in sorted(jobs.items()) if not wanted or key in wanted]


def _inbox_conflicts(jobs: Sequence[tuple[Job, yaml_source.Source]]) -> list[Fault]:
    """Faults of jobs that share an inbox but differ in `questions`."""
    faults: list[Fault] = []
    first: dict[str, Job] = {}
    for job, source in jobs:
        other = first.setdefault(job.inbox, job)
        if other.questions != job.questions:
            takes = ("documents alone", "questions with their pictures")[other.questions]
            message = f"{str(job.questions).lower()}, but {other.name} reads {takes} from the same inbox/{job.inbox}"
            faults.append(source.fault(("questions",), f"{message}; give one of them another inbox"))
    return faults
