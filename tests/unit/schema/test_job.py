"""Jobs: what a person may write, what is refused, and how each fault is told."""

import contextlib
import json
import pickle
import re
import textwrap
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import ConfigError
from pipeline.core.geometry import Region
from pipeline.schema import job_template, yaml_source
from pipeline.schema.fields import FIELD_TYPES, leaves
from pipeline.schema.job import Job, load_jobs, parse_job

GOOD = """\
name: invoice
fields:
  total: {type: money, labels: [Total]}
  issued: {type: date}
rules: [issued <= today]
"""


def put(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(textwrap.dedent(text), encoding="utf-8")
    return folder


def faults(text: str | bytes) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_job(text if isinstance(text, bytes) else textwrap.dedent(text).encode(), "job.yaml")
    return [str(fault) for fault in caught.value.faults]


def test_a_small_job_has_kind_defaults() -> None:
    job = parse_job(GOOD.encode())
    assert (job.name, job.inbox, job.per) == ("invoice", "invoice", "document")
    assert job.preprocess == ("orient", "deskew")
    assert (job.tolerance, job.window, job.region) == (Decimal(0), None, None)


def test_a_full_job() -> None:
    job = parse_job(
        b"name: gauge\ninbox: plant\nper: page\nregion: {left: 0, top: 0.5, width: 1, height: 0.5}\n"
        b"preprocess: [deskew]\n"
        b"tolerance: 0.02\nwindow: 2\nreview_below: 0.7\nmax_new_tokens: 99\nfields: {p: {type: measure, unit: bar}}\n"
    )
    assert (job.inbox, job.per, job.region) == ("plant", "page", Region(0, 0.5, 1, 0.5))
    assert (job.tolerance, job.window, job.max_new_tokens) == (Decimal("0.02"), 2, 99)


def test_the_name_is_the_file_s_unless_the_job_has_one(tmp_path: Path) -> None:
    put(tmp_path, 巡检="fields: {设备编号: {type: text}}", b="name: other\nfields: {a: {type: text}}")
    assert [job.name for job in load_jobs(tmp_path)] == ["other", "巡检"]
    assert [job.name for job in load_jobs(tmp_path, ["巡检"])] == ["巡检"]


def test_a_job_travels_between_processes() -> None:
    job = parse_job(GOOD.encode())
    again = pickle.loads(pickle.dumps(job))
    assert again == job
    assert again.digest == job.digest


# --- the digest

SAME = [
    ("comment", GOOD.replace("fields:", "# a remark\nfields:")),
    ("name and inbox", GOOD.replace("name: invoice", "name: bill\ninbox: elsewhere")),
    ("order of keys", "rules: [issued <= today]\n" + GOOD.replace("rules: [issued <= today]\n", "")),
    ("order of a field's keys", GOOD.replace("{type: money, labels: [Total]}", "{labels: [Total], type: money}")),
    ("a default written out", GOOD.replace("{type: date}", "{type: date, order: DMY, required: false}")),
    ("another way to write a number", GOOD + "tolerance: 0.0\n"),
]
TOTAL = "  total: {type: money, labels: [Total]}\n"
OTHER = [
    ("a label", GOOD.replace("[Total]", "[Sum]")),
    ("a type", GOOD.replace("type: money", "type: number")),
    ("order of fields", GOOD.replace(TOTAL, "").replace("rules", TOTAL + "rules")),
    ("a rule", GOOD.replace("<= today", "< today")),
    ("instructions", GOOD + "instructions: Look twice.\n"),
    ("tolerance", GOOD + "tolerance: 0.01\n"),
    ("region", GOOD + "region: {left: 0, top: 0, width: 1, height: 0.5}\n"),
    ("preprocess", GOOD + "preprocess: []\n"),
    ("review_below", GOOD + "review_below: 0.9\n"),
]  # fmt: skip


@pytest.mark.parametrize("text", [text for _, text in SAME], ids=[name for name, _ in SAME])
def test_what_changes_no_answer_changes_no_digest(text: str) -> None:
    assert text != GOOD
    assert parse_job(text.encode()).digest == parse_job(GOOD.encode()).digest


@pytest.mark.parametrize("text", [text for _, text in OTHER], ids=[name for name, _ in OTHER])
def test_what_changes_an_answer_changes_the_digest(text: str) -> None:
    assert text != GOOD
    digest = parse_job(text.encode()).digest
    assert digest != parse_job(GOOD.encode()).digest
    assert re.fullmatch("[0-9a-f]{64}", digest)


# --- faults


def test_all_faults_of_all_files_come_at_once_with_line_key_and_the_right_word(tmp_path: Path) -> None:
    put(
        tmp_path,
        a="""\
        name: a
        per: pages
        preprocess: [orient, denoise]
        region: {left: 0, top: 0, width: 2, height: 1}
        fields:
          total:
            type: money
            labelz: [Total]
          when: {type: dat}
          what: {}
          run: {type: text}
        tolerence: 1
        rules: [total == 1, when == 1, nothing == 1, = 2]
        """,
        b="name: b\nfields: {}\n",
        c="name: c\nfields:\n  total: {type: money}\nrules:\n  - total == 1\n  - totl == 1\n  - total > today\n",
        d="name: ../d\nfields: {a: {type: text}}\n",
        e="- not\n- a mapping\n",
    )
    with pytest.raises(ConfigError) as caught:
        load_jobs(tmp_path)
    told = [str(fault).removeprefix(f"{tmp_path}/") for fault in caught.value.faults]
    for expected in (
        'a.yaml:2: per: "pages" is not allowed; did you mean page?',
        'a.yaml:3: preprocess[1]: "denoise" is not allowed; allowed: orient, deskew',
        "a.yaml:4: region.width: must be at most 1",
        "a.yaml:8: fields.total.labelz: unknown key; did you mean labels?",
        'a.yaml:9: fields.when: "dat": unknown type; did you mean date?',
        "a.yaml:10: fields.what: needs a type, such as `type: text`",
        "a.yaml:12: tolerence: unknown key; did you mean tolerance?",
        'a.yaml:11: fields.run: the table has a column of its own called "run"; choose another name',
        "a.yaml:13: rules[2]: nothing == 1: there is no field nothing; there are run, total, when, what",
        'a.yaml:13: rules[3]: "= 2" is not a rule; write it as in: sum(lines.amount) == total',
        "b.yaml:2: fields: must not be empty",
        "c.yaml:6: rules[1]: totl == 1: there is no field totl; did you mean total?",
        "c.yaml:7: rules[2]: total > today: compares a number (total) with a date (today)",
        'd.yaml:1: name: "../d" cannot be a folder name everywhere; use letters, digits, - and _ (at most 80)',
        "e.yaml:1: must be a mapping of keys, one `key: value` a line",
    ):
        assert expected in told
    assert len(told) == 15


def test_rules_are_looked_at_even_when_fields_are_wrong() -> None:
    told = faults("name: a\nfields:\n  a: {type: text}\n  b: {type: txt}\nrules: [a > 1, b == 1, c == 1]\n")
    assert [fault.partition(": ")[2].partition(": ")[0] for fault in told] == ["fields.b", "rules[0]", "rules[2]"]


def test_rules_are_looked_at_even_when_no_field_is_right() -> None:
    told = faults('name: a\nfields:\n  total: {type: mony}\nrules:\n - total > 1\n - totl > 1\n - open("x") == 1\n')
    assert [fault.partition("rules")[2] for fault in told[1:]] == [
        "[1]: totl > 1: there is no field totl; did you mean total?",
        '[2]: open("x") == 1: open(…) is not known; there are sum, min, max, count, abs',
    ]


@pytest.mark.parametrize(
    "name", ["status", "Pages", "document_id", "confidence", "run", "2nd", "a b", "class", "today", "ｔｏｔａｌ"]
)
def test_a_field_name_that_would_break_the_table_or_the_rules(name: str) -> None:
    (told,) = faults(f"name: a\nfields:\n  ok: {{type: text}}\n  {name}: {{type: text}}\n")
    assert told.startswith(f"job.yaml:4: fields.{name}: ")


def test_two_fields_that_differ_in_capitals_only() -> None:
    assert "capitals only" in faults("name: a\nfields: {total: {type: text}, Total: {type: text}}")[0]


def test_bookkeeping_words_are_free_inside_a_group() -> None:
    job = parse_job(b"name: a\nfields: {g: {type: group, fields: {status: {type: text}, page: {type: integer}}}}")
    assert [path for path, _ in leaves(job.fields)] == ["g.status", "g.page"]


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "a b", "-x", "CON?", "x" * 81, "a\\b", "ok\n"])
def test_a_name_never_leads_outside(name: str) -> None:
    with pytest.raises(ValueError, match="folder name"):
        Job.model_validate({"name": name, "fields": {"a": {"type": "text"}}})
    with pytest.raises(ValueError, match="folder name"):
        Job.model_validate({"name": "a", "inbox": name or ".", "fields": {"a": {"type": "text"}}})


def test_two_jobs_of_one_name(tmp_path: Path) -> None:
    put(tmp_path, a="name: same\nfields: {a: {type: text}}", b="name: Same\nfields: {a: {type: text}}")
    with pytest.raises(ConfigError, match=r"b\.yaml:1: name: .* job in a\.yaml"):
        load_jobs(tmp_path)


def test_a_job_that_is_not_there_gets_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean invoice"):
        load_jobs(put(tmp_path, invoice=GOOD), ["invoices"])


def test_no_folder_and_no_jobs(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not a folder"):
        load_jobs(tmp_path / "none")
    with pytest.raises(ConfigError, match="has no job"):
        load_jobs(tmp_path)


def test_a_nested_fault_keeps_its_line_even_for_a_field_called_like_a_type() -> None:
    told = faults(
        "name: a\nfields:\n  list:\n    type: list\n    fields:\n      date:\n        type: date\n        ordr: DMY\n"
    )
    assert told == ["job.yaml:8: fields.list.fields.date.ordr: unknown key; did you mean order?"]


UNKIND = [  # what people write, and the word or the reason that they should be told
    ("fields: {a: {type: code}}", "fields.a.language: is missing"),
    ("fields: {a: {type: code, language: veu}}", '"veu" is not allowed; did you mean vue?'),
    ("fields: {a: {type: measure, units: MPa}}", "fields.a.units: unknown key; did you mean unit?"),
    ("fields: {a: {type: measure, unit: MPaa}}", "is not a unit that Scanmill knows; write it as in kPa"),
    ("fields: {a: {type: string}}", "did you mean text?"),
    ("fields: {a: {type: Text}}", "did you mean text?"),
    ("fields: {a: {type: float}}", "did you mean number?"),
    ("fields: {a: {type: bool}}", "did you mean yesno?"),
    ("fields: {a: {type: bbox}}", "did you mean box?"),
    ("fields: {a: {type: array}}", "did you mean list?"),
    ("fields: {a: {type: blob}}", "allowed: text, integer, number"),
    ("fields: {a: {tpye: text}}", "needs a type, such as `type: text`; tpye: did you mean type?"),
    ("fields: {a: text}", "fields.a: must be a mapping of keys, indented below it or in braces: {key: value}"),
    ("fields: [a, b]", "fields: must be a mapping of keys"),
    ("fields:\n  a:\n  type: text", "job.yaml:2: fields.a: must be a mapping of keys"),
    ("field: {a: {type: text}}", "field: unknown key; did you mean fields?"),
    ("fields: {a: {type: text, labelz: [x]}}", "fields.a.labelz: unknown key; did you mean labels?"),
    ("fields: {a: {type: text, regex: x}}", "did you mean pattern?"),
    ("fields: {a: {type: number, min: 1}}", "did you mean minimum?"),
    ("fields: {a: {type: text, labels: Total}}", "must be a list, such as [first, second]"),
    ("fields: {a: {type: text, required: ja}}", "must be true or false"),
    ("fields: {a: {type: choice}}", "fields.a.options: is missing; write it as in `options: [small, large]`"),
    ("role: you", "fields: is missing; write it as in `fields: {total: {type: money}}`"),
    ("fields: {a: {type: text, region: {left: 0}}}", "fields.a.region.top: is missing"),
    ("fields: {a: {type: choice, options: []}}", "fields.a.options: must not be empty"),
    ("fields: {a: {type: text, kind: adress}}", '"adress" is not allowed; did you mean address?'),
    ("fields: {a: {type: list, item: {type: list, item: {type: text}}}}", "give the list fields instead"),
    (
        "fields: {a: {type: list, item: {type: measure, unit: mm}}}",
        "has no place for how a measure is printed; give it fields: {value: {type: measure, …}}",
    ),
    ("fields: {a: {type: markdown, columns: b}}", "fields.a.columns: must be a list"),
    ("fields: {a: {type: box, unit: px}}", "fields.a.unit: unknown key; allowed: required, labels, hint, region"),
    ("prompt: read\nfields: {a: {type: text}}", "prompt: unknown key; did you mean instructions?"),
    ("engine: qwen\nfields: {a: {type: text}}", "engine: unknown key; allowed: name, inbox"),
    ("instructions: [read]\nfields: {a: {type: text}}", "instructions: must be text, not a list or keys"),
    ("window: 0\nfields: {a: {type: text}}", "window: must be at least 1"),
    ("review_below: 50\nfields: {a: {type: text}}", "review_below: must be at most 1"),
    ("second_look: maybe\nfields: {a: {type: text}}", "second_look: must be true or false"),
    ("fields:\n  a: {type: text\n  b: {type: text}", "is not closed, or a comma is missing before this"),
    ("fields:\n  a: {type: text}\n b: {type: text}", "is not indented as far as the lines"),
    (
        "fields:\n  a: {type: text, labels: [No, Order #]}\n  b: {type: text}",
        "job.yaml:2: has a # after a blank, which begins a comment; put text with # in quotes",
    ),
    ("instructions: Read: the total\nfields: {a: {type: text}}", 'put text with ": " in quotes'),
    ("role: @you\nfields: {a: {type: text}}", "put the text in quotes"),
    ("role: *you\nfields: {a: {type: text}}", "put the text in quotes"),
    ("role: 'you\nfields: {a: {type: text}}", "is opened above and never closed"),
]


@pytest.mark.parametrize(("text", "told"), UNKIND, ids=[text.replace("\n", " / ") for text, _ in UNKIND])
def test_what_people_get_wrong_is_told_in_plain_words(text: str, told: str) -> None:
    assert any(told in fault for fault in faults(text)), faults(text)


RULES = [
    ("n > d", "compares a number (n) with a date (d)"),
    ("d == 5", "compares a date (d) with a number (5)"),
    ("a in [1, 2]", "compares text (a) with a number (1)"),
    ("nn > 0", "there is no field nn; did you mean n?"),
    ("l.p == l.z", "there is no field l.z; there are p, q"),
    ("summ(l.p) == n", "summ(…) is not known; did you mean sum?"),
    ("len(a) > 1", "len(…) is not known; there are sum, min, max, count, abs"),
    ("__import__('os').system('x') == 1", "is not known"),
    ("a.upper() == 'X'", "is not known"),
    ("open('/etc/passwd') == a", "is not known"),
    ("(lambda: 1)() == 1", "is not known"),
    ("[x for x in l] == 1", "is not allowed in a rule"),
    ("n if y else n", "is not allowed in a rule"),
    ("n = 1", "equal is written =="),
    ("n > 1 and", "is not a rule"),
    ("c == 'zz'", '"zz" is not one of the options x, z'),
    ("y == 1", "compares yes or no (y) with a number (1)"),
    ("b > 1", "b is of type box, which rules cannot compare"),
    ("w == 'x'", "w is of type prose, which rules cannot compare"),
    ("n and y", "n is a number, not yes or no"),
    ("d > '2020-13-01'", '"2020-13-01" is not a date'),
    ("sum(n) > 1", "needs a column of a list"),
]


@pytest.mark.parametrize(("rule", "told"), RULES, ids=[rule for rule, _ in RULES])
def test_a_rule_that_means_nothing_or_calls_anything_is_refused_when_the_job_is_read(rule: str, told: str) -> None:
    text = f"""\
        fields:
          a: {{type: text}}
          n: {{type: money}}
          d: {{type: date}}
          y: {{type: yesno}}
          c: {{type: choice, options: [x, z]}}
          l: {{type: list, fields: {{p: {{type: money}}, q: {{type: number}}}}}}
          b: {{type: box}}
          w: {{type: prose}}
        rules:
          - {json.dumps(rule)}
        """
    (fault,) = faults(text)
    assert fault.startswith("job.yaml:11: rules[0]: ")
    assert told in fault


# --- YAML


def test_words_that_yaml_would_turn_into_something_else_stay_words() -> None:
    job = parse_job(
        b"name: a\nfields:\n  y: {type: yesno, yes: [Yes, on], no: [No, off]}\n  "
        b"c: {type: choice, options: [1, 007, 12:30, 2024-01-01]}\n"
    )
    assert job.fields["y"].yes == ("Yes", "on")  # type: ignore[attr-defined]
    assert list(job.fields["c"].options) == ["1", "007", "12:30", "2024-01-01"]  # type: ignore[attr-defined]


def test_anchors_save_typing() -> None:
    job = parse_job(b"name: a\nfields:\n  a: &money {type: money, labels: [x]}\n  b: *money\n")
    assert job.fields["a"] == job.fields["b"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name: a\nname: b\n", "job.yaml:2: name: is given twice, first in line 1"),
        ("name: a\nfields:\n\ta: {type: text}\n", "job.yaml:3: has a tab in its indentation; indent with blanks"),
        ("name: [a\n", "job.yaml:2: "),
        (b"name: a\nrole: \xff\n", "job.yaml:2: is not UTF-8 text; save it as UTF-8"),
        (b"name: a\x00\n", "job.yaml:1: has a character that YAML does not allow"),
        ("", "job.yaml: is empty"),
        ("# only a remark\n", "job.yaml: is empty"),
        ("just words\n", "job.yaml:1: must be a mapping"),
        ("name: a\n---\nname: b\n", "job.yaml:2: "),
        ("name: !!python/object/apply:os.system [echo]\n", "job.yaml:1: name: "),
        ("a: &a [*a]\n", "job.yaml:1: "),
        ("a: *b\n", "job.yaml:1: "),
        ("? [a]\n: b\n", "job.yaml:1: a key must be a plain word"),
        ("a: &a {b: 1}\nc: {<<: *a}\n", "job.yaml:2: <<: merging"),
        ("a: " + "[" * 60 + "]" * 60, "job.yaml:1: "),
    ],
)
def test_one_clear_fault_for_yaml_that_is_none(text: str | bytes, told: str) -> None:
    assert faults(text)[0].startswith(told)


def test_a_byte_order_mark_is_let_go() -> None:
    assert parse_job(b"\xef\xbb\xbf" + GOOD.encode()).name == "invoice"


def test_aliases_may_not_multiply() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    (told,) = faults("\n".join(lines))
    assert "aliases may not multiply" in told


@given(st.text(max_size=60) | st.text(st.sampled_from("a:-[]{}&*!|>'\"#%@,?\n \t<0.")), st.booleans())
def test_any_text_is_read_or_refused(text: str, as_bytes: bool) -> None:
    raw = text.encode("utf-16" if as_bytes else "utf-8", "surrogatepass")
    with contextlib.suppress(ConfigError):
        assert isinstance(yaml_source.parse(raw, "f").data, dict)


@given(
    st.dictionaries(
        st.sampled_from(list(Job.model_fields)),
        st.sampled_from([None, 1, "a", [], {}, [1], {"a": {}}, {"a": {"type": "text"}}, True]),
    )
)
def test_any_mapping_is_a_job_or_refused(keys: dict[str, object]) -> None:

    with contextlib.suppress(ConfigError):
        assert parse_job(json.dumps(keys).encode(), "job.yaml").fields


# --- the starter


@pytest.mark.parametrize("name", ["my_invoices", "设备-巡检"])
def test_the_starter_is_a_good_job(tmp_path: Path, name: str) -> None:
    path = job_template.write(tmp_path / "jobs", name)
    (job,) = load_jobs(tmp_path / "jobs")
    assert (job.name, job.inbox, path.name) == (name, name, f"{name}.yaml")
    assert {"group", "list", "date", "money", "choice"} <= {field.type for field in job.fields.values()}
    assert [kind for kind in FIELD_TYPES if kind not in path.read_text("utf-8")] == []


def test_the_starter_overwrites_nothing(tmp_path: Path) -> None:
    job_template.write(tmp_path, "a")
    (tmp_path / "a.yaml").write_text("mine")
    with pytest.raises(ConfigError, match="exists already"):
        job_template.write(tmp_path, "a")
    assert (tmp_path / "a.yaml").read_text() == "mine"
    with pytest.raises(ConfigError, match="only letters"):
        job_template.write(tmp_path, "../a")
