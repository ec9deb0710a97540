"""Draw all samples and write what is true of them: `python samples/make.py [FILE ...]`. Same bytes on every run.

A developer's tool; nothing else needs it. Debian packages with the fonts, all under open licences:

    apt-get install fonts-liberation fonts-dejavu-core fonts-lato fonts-ebgaramond fonts-courier-prime \
                    fonts-dancingscript fonts-dkg-handwriting fonts-breip fonts-noto-cjk fonts-arphic-uming \
                    fonts-arphic-gkai00mp

and, beside the project's own packages, `pip install reportlab` for the born-digital PDF. Scanmill itself never uses it.
"""

import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import deliveries
import inspections
import invoices
import invoices_eu
import invoices_zh
import looks
import numpy as np
import papers
import receipts
import receipts_eu
import simplejson
from printed import as_printed, as_typed, emptied
from sample import Sample
from ways import WAYS

HERE = Path(__file__).parent
SEED = 417


def blank() -> Sample:
    return Sample(
        "invoices/blank_page.jpg",
        "invoice",
        "the empty back of a page",
        "nothing to read: the front shines through a little",
        (invoices_eu.french().sheets[0],),
        {name: emptied(branch) for name, branch in invoices_eu.french().fields.items()},
        "blank",
    )


def broken() -> Sample:
    return Sample(
        "invoices/broken.pdf",
        "invoice",
        "a PDF whose copying was cut off",
        "the second half of its bytes is missing",
        (invoices_eu.german().sheets[0],),
        {},
        "failed",
    )


SAMPLES: tuple[Callable[[], Sample], ...] = (
    invoices.english,
    invoices_eu.german,
    invoices_zh.two_pages,
    invoices_zh.fapiao,
    invoices.catering,
    invoices_eu.french,
    blank,
    broken,
    receipts.cafe,
    receipts.supermarket,
    receipts_eu.bakery,
    receipts.corner_shop,
    receipts_eu.fuel,
    inspections.pump,
    inspections.compressor,
    deliveries.lieferschein,
    deliveries.turned,
    deliveries.songhuodan,
    papers.pump_table,
    looks.gauge,
    looks.picture,
    looks.figure,
    looks.vue,
    looks.html,
    looks.solder,
    papers.french_letter,
    papers.agreement,
    looks.question,
)


def truth(sample: Sample) -> dict[str, Any]:
    """One line of truth.jsonl; `norm` has the fields whose typed value is not just the words."""
    words, values = as_printed(sample.fields), as_typed(sample.fields)
    norm = {name: value for name, value in values.items() if value != words[name]}
    meta: dict[str, Any] = {"note": f"{sample.what}: {sample.hard}", "expected": sample.expected}
    if sample.mentions:
        meta["mentions"] = sample.mentions
    return {"file": sample.file, "job": sample.job, "fields": words, "norm": norm, "meta": meta}


def table(samples: list[Sample]) -> str:
    """The table at the end of README.md; a document that several jobs read stands there once."""
    samples = list({sample.file: sample for sample in samples}.values())
    rows = [f"| [{sample.file}]({sample.file}) | {sample.what} | {sample.hard} |" for sample in samples]
    return "\n".join(["| file | what it is | what makes it hard |", "|---|---|---|", *rows]) + "\n"


def main(wanted: list[str]) -> None:
    samples = [make() for make in SAMPLES]
    drawn: set[str] = set()
    for sample in samples:
        path = HERE / sample.file
        if (wanted and path.name not in wanted) or sample.file in drawn:
            continue
        drawn.add(sample.file)
        path.parent.mkdir(exist_ok=True)
        WAYS[path.stem](sample, path, np.random.default_rng([SEED, zlib.crc32(path.name.encode())]))
        print(f"{path.stat().st_size / 1024:7.0f} KiB  {sample.file}")
    lines = [simplejson.dumps(truth(sample), ensure_ascii=False, use_decimal=True) for sample in samples]
    (HERE / "truth.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    readme = HERE / "README.md"
    readme.write_text(readme.read_text(encoding="utf-8").split("| file |")[0] + table(samples), encoding="utf-8")
    print(f"{sum((HERE / file).stat().st_size for file in {each.file for each in samples}) / 2**20:7.2f} MiB in all")


if __name__ == "__main__":
    main(sys.argv[1:])
