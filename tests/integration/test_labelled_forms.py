"""Filled Chinese forms that nobody here drew, through a job like inspection_form and the CPU engine.

The same command over all of them stands with its figures in docs/accuracy.md; here are the fullest three.
"""

import json
import subprocess
import sys
from pathlib import Path

from pipeline.schema.job import parse_job

PROJECT = Path(__file__).parents[2]
JOB = PROJECT / "benchmarks" / "accuracy" / "xfund_zh.yaml"
FORMS = 3


def test_eval_prints_how_right_a_job_is_on_chinese_forms(shared: Path, tmp_path: Path) -> None:
    asked = set(parse_job(JOB.read_bytes(), str(JOB)).fields)
    lines = (shared / "xfund_zh" / "labels.jsonl").read_text("utf-8").splitlines()
    lines.sort(key=lambda line: len(asked & set(json.loads(line)["fields"])), reverse=True)
    (tmp_path / "labels.jsonl").write_text("\n".join(lines[:FORMS]), "utf-8")
    (tmp_path / "img").symlink_to(shared / "xfund_zh" / "img")
    words = ["eval", str(JOB), str(tmp_path / "labels.jsonl"), "--config", "configs/cpu.yaml"]
    words += ["--html", str(tmp_path / "eval.html"), "--json"]
    done = subprocess.run([sys.executable, "run_batch.py", *words], cwd=PROJECT, capture_output=True, check=True)
    told = json.loads(done.stdout)
    assert told["documents"] == FORMS
    assert told["overall"]["labelled"] >= 15
    assert told["overall"]["exact"] >= 0.6 * told["overall"]["labelled"]
    assert told["overall"]["invented"] <= 1
