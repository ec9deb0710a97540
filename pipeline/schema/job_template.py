"""The commented job that `run_batch.py new NAME` writes."""

import os
from pathlib import Path

from pipeline.core.errors import ConfigError, Fault
from pipeline.schema.job import NAME

_TEXT = """\
# What to read from the documents that people drop into inbox/{name}/.
# Change what is here, delete what you do not need, then look at it with: python run_batch.py show {name}
# docs/jobs.md explains every key.

name: {name}
# inbox: {name}                  # another folder below inbox/; several jobs may share one
# questions: true               # a question comes with each document: see "Questions" in docs/jobs.md
# per: page                      # one answer a page; without this line, one answer from all pages of a document
instructions: >-
  Read the invoice. Copy values as they are printed; compute nothing.

# What is read. The names become the columns of the table; they may be in any language.
# `labels` are the words printed next to the value. `required` values that are not found put the document under review.
fields:
  number: {{type: text, kind: id, required: true, labels: [Invoice No, Rechnungsnummer, 发票号码]}}
  issue_date: {{type: date, required: true, order: DMY, labels: [Date, Datum, 日期]}}   # or MDY, YMD
  supplier:
    type: group                  # values that belong together
    fields:
      name: {{type: text, kind: company}}
      address: {{type: text, kind: address}}
  lines:
    type: list                   # one row for each line of the invoice
    fields:
      description: {{type: text}}
      quantity: {{type: number}}
      amount: {{type: money}}
  paid: {{type: yesno, labels: [Paid]}}
  currency: {{type: choice, options: {{EUR: [€, Euro], USD: [$], CNY: [¥, 元]}}}}
  total: {{type: money, required: true, labels: [Total, Amount due], hint: the final amount to pay}}
# More types: integer, time, measure (unit: kPa), markdown.
# For engines that look at pictures: prose, code (language: html), box.

# What must add up. A rule with a value that was not found is skipped.
tolerance: 0.02                  # for == between amounts
rules:
  - sum(lines.amount) == total
  - issue_date <= today

review_below: 0.5                # values that the engine is less sure of put the document under review
"""


def job_template(name: str) -> str:
    """The YAML of a new job. Raises ConfigError where the name is not allowed."""
    if not NAME.fullmatch(name):
        raise ConfigError([Fault("new", None, name, "a job's name has only letters, digits, - and _ (at most 80)")])
    return _TEXT.format(name=name)


def write(folder: Path, name: str) -> Path:
    """Write the template into the folder. Raises ConfigError where the file exists or cannot be written."""
    text = job_template(name)
    path = folder / f"{name}.yaml"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "w", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigError([Fault(str(path), None, "", "exists already; choose another name")]) from None
    except OSError as error:
        raise ConfigError([Fault(str(path), None, "", f"cannot be written: {error.strerror or error}")]) from None
    return path
