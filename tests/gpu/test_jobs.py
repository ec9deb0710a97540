"""Every shipped job through the whole pipeline with the tiny Qwen2.5-VL: prompts, schemas and shapes hold.

Random weights say nothing true, and would fill every text to its last allowed letter. So texts are made short here, and
lists have one row; what the shortened schema allows, the job's own allows too.
"""

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.engine import PageSpec, Partial, Reply, Request
from pipeline.reporting.run_report import RunReport
from pipeline.runs.session import Session
from pipeline.schema.fields import leaves
from pipeline.schema.job import Job, load_jobs
from pipeline.schema.settings import load_settings
from pipeline.storage.record_store import RecordStore
from tests.support import qwen_tiny as tiny
from tests.support.ear import Ear

torch = tiny.torch
pq = pytest.importorskip("pyarrow.parquet")
jsonschema = pytest.importorskip("jsonschema", reason="needs jsonschema: pip install -e '.[test-gpu]'")

from models.qwen_vl import QwenVL  # noqa: E402

PROJECT = Path(__file__).parents[2]
JOBS = [job.model_copy(update={"preprocess": ()}) for job in load_jobs(PROJECT / "jobs")]  # what it sees is all one
TRUTH = [json.loads(line) for line in (PROJECT / "samples" / "truth.jsonl").read_text("utf-8").splitlines()]
LETTERS, FREE_TOKENS = 3, 12


def short(schema: Any) -> Any:
    if isinstance(schema, list):
        return [short(each) for each in schema]
    if not isinstance(schema, Mapping):
        return schema
    made = {key: short(each) for key, each in schema.items()}
    if schema.get("type") in ("string", ["string", "null"]):
        made["maxLength"] = min(LETTERS, schema.get("maxLength", LETTERS))
    if schema.get("type") == "array" and "maxItems" in schema:
        made["maxItems"] = max(1, schema.get("minItems", 1))
    return made


class Short:
    """The engine, asked for short answers; whoever asked gets replies to what was asked."""

    name = "qwen_vl"
    page_spec = PageSpec(multiple_px=28, max_pixels=60 * 28 * 28, min_pixels=4 * 28 * 28, window_pages=4)

    def __init__(self, model: QwenVL) -> None:
        self.model, self.replies = model, list[Reply]()
        self.unsupported_reason, self.provenance, self.close = model.unsupported_reason, model.provenance, model.close

    def answer(self, requests: Iterable[Request | None]) -> Iterator[Reply]:
        asked: dict[int, Request] = {}

        def shortened() -> Iterator[Request | None]:
            for request in requests:
                if request is None:
                    yield None
                    continue
                made = replace(request, schema=short(request.schema))
                if request.schema is None:
                    made = replace(made, max_new_tokens=FREE_TOKENS)
                asked[id(made)] = request
                yield made

        for reply in self.model.answer(shortened()):
            if isinstance(reply, Partial):
                continue
            self.replies.append(replace(reply, request=asked[id(reply.request)]))
            yield self.replies[-1]


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Reply], RunReport, list[str]]:
    """One run over a sample of every inbox: the root, what the model said, the account, what was noted."""
    root = tmp_path_factory.mktemp("root")
    for box in sorted({job.inbox for job in JOBS}):
        folder = root / "inbox" / box
        folder.mkdir(parents=True)
        sample = next(line["file"] for line in TRUTH if line["file"].startswith(f"{box}/"))
        for path in (PROJECT / "samples" / box).glob(f"{Path(sample).name}*"):
            shutil.copyfile(path, folder / path.name)
    weights = tiny.folder(tmp_path_factory.mktemp("weights") / "tiny", weights=True)
    settings_file = weights / "config.json"  # long answers need more room than other tests of the tiny model
    settings_file.write_text(settings_file.read_text("utf-8").replace('_embeddings": 4096', '_embeddings": 16384'))
    model, ear = Short(QwenVL(weights, device="cpu")), Ear()
    settings = load_settings(None, root=root, workers=1, settle_s=0)
    with Session(settings, JOBS, model, "tiny", ear) as session:
        run_report = session.batch()
    return root, model.replies, run_report, ear.notes


def test_every_document_is_answered_and_none_waits(night: tuple[Path, list[Reply], RunReport, list[str]]) -> None:
    _, _, run_report, notes = night
    counts = run_report.summary()
    assert run_report.faults() == []
    assert [entry.error for entry in run_report.entries if entry.error] == []
    assert counts["done"] == counts["taken"] == len({job.inbox for job in JOBS})
    assert not [note for note in notes if "wait" in note]


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)
def test_what_it_says_fits_the_form_and_becomes_a_row(
    night: tuple[Path, list[Reply], RunReport, list[str]], job: Job
) -> None:
    root, replies, _, _ = night
    own = [reply for reply in replies if reply.request.job.name == job.name and reply.finish != "length"]
    said = [reply for reply in replies if reply.request.job.name == job.name]
    assert said
    for reply in own:
        if reply.request.schema is not None:
            jsonschema.validate(json.loads(reply.text), reply.request.schema)
    assert all(reply.request.schema is None for reply in said if reply not in own)  # only free text is cut off here
    (record,) = [record for _, day in RecordStore(root).days(job) for record in day]
    assert record.error is None
    assert set(record.data) >= set(job.fields)
    assert record.provenance["engine"] == "qwen_vl"
    (file,) = (root / "results" / job.name).glob("*.parquet")
    (row,) = pq.read_table(file).to_pylist()
    assert set(job.fields) <= set(row)
    assert row["status"] == record.status


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)
def test_the_prompt_names_every_field_and_the_schema_has_it(
    night: tuple[Path, list[Reply], RunReport, list[str]], job: Job
) -> None:
    request = next(reply.request for reply in night[1] if reply.request.job.name == job.name)
    if job.instructions:
        assert job.instructions.strip() in request.question
    if request.schema is None:
        assert len(job.fields) == 1
        return
    assert list(request.schema["properties"]) == list(job.fields)
    for path, leaf in leaves(job.fields):
        assert path.rsplit(".", 1)[-1] in request.question
        if leaf.type == "box":
            assert "bbox_2d" in request.question
            assert f"{request.pages[0].width} x {request.pages[0].height} pixels" in request.question
