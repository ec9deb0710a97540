"""Each field type: what it accepts as printed, what it refuses, and that no answer makes it fall over."""

import json
import re
from datetime import date, time
from decimal import Decimal
from time import process_time
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from pipeline.schema.fields import (
    FIELD_TYPES,
    AnyField,
    Field,
    IntegerField,
    MoneyField,
    NumberField,
    coerce_object,
    column,
    is_empty,
    leaf_values,
    leaves,
    missing,
    object_schema,
)
from pipeline.schema.fields.number import Numeric

ADAPTER: TypeAdapter[Any] = TypeAdapter(dict[str, AnyField])


def field(**keys: Any) -> Field:
    made: Field = ADAPTER.validate_python({"it": keys})["it"]
    return made


EVERY: dict[str, Field] = {
    "text": field(type="text"),
    "id": field(type="text", kind="id", pattern="[A-Z]{2}[0-9]{4,6}"),
    "integer": field(type="integer"),
    "number": field(type="number"),
    "money": field(type="money"),
    "yen": field(type="money", decimals=0),
    "date": field(type="date"),
    "time": field(type="time"),
    "yesno": field(type="yesno", yes=["合格"], no=["不合格"]),
    "choice": field(type="choice", options={"EUR": ["€"], "USD": ["$"], "none": []}),
    "many": field(type="choice", options=["red", "green", "blue"], many=True),
    "measure": field(type="measure", unit="kPa"),
    "celsius": field(type="measure", unit="°C"),
    "share": field(type="measure", unit="%"),
    "torque": field(type="measure", unit="Nm"),
    "prose": field(type="prose"),
    "page": field(type="prose", verbatim=True),
    "markdown": field(type="markdown", columns=["Part", "Count"]),
    "code": field(type="code", language="python"),
    "vue": field(type="code", language="vue"),
    "data": field(type="code", language="json"),
    "box": field(type="box"),
    "group": field(type="group", fields={"name": {"type": "text"}, "since": {"type": "date"}}),
    "rows": field(type="list", fields={"amount": {"type": "money"}, "when": {"type": "date"}}),
    "plain": field(type="list", item={"type": "number"}),
}


@pytest.mark.parametrize(
    ("kind", "printed", "value"),
    [
        ("text", "  Acme \t GmbH\r\n\n Bonn ", "Acme GmbH\nBonn"),
        ("text", 4711, "4711"),
        ("text", Decimal("1.50"), "1.50"),
        ("text", "None", "None"),
        ("text", "null", None),
        ("text", "a\x00b\ud800c", "abc"),
        ("id", "AB 12 345", "AB12345"),
        ("integer", "1.234", 1234),
        ("integer", "１２", 12),
        ("integer", 12.0, 12),
        ("number", "1.234,5", 1234.5),
        ("number", Decimal("1.234"), 1.234),
        ("money", "1.234,56 €", Decimal("1234.56")),
        ("money", "USD 1,234.5", Decimal("1234.50")),
        ("money", "1.234", Decimal("1234.00")),
        ("money", "(12.50)", Decimal("-12.50")),
        ("money", 7, Decimal("7.00")),
        ("money", "—", None),
        ("yen", "￥１，２００", Decimal(1200)),
        ("date", "2024年6月15日", date(2024, 6, 15)),
        ("date", "03/04/2024", date(2024, 4, 3)),
        ("date", "2024-06-15", date(2024, 6, 15)),
        ("time", "2:05 pm", time(14, 5)),
        ("time", "14:05:09", time(14, 5, 9)),
        ("yesno", "是", True),
        ("yesno", "不合格", False),
        ("yesno", "☑", True),
        ("yesno", "☐", False),
        ("yesno", "[x] yes [ ] no", True),
        ("yesno", "是☐ 否☑", False),
        ("yesno", "n/a", None),
        ("choice", " eur", "EUR"),
        ("choice", "€", "EUR"),
        ("choice", "☐ EUR ☑ USD", "USD"),
        ("choice", "none", "none"),
        ("many", "blue, red", ["red", "blue"]),
        ("many", "☑ red ☐ green ☒ blue", ["red", "blue"]),
        ("many", None, []),
        ("measure", "1.2 MPa", 1200.0),
        ("measure", "35", 35.0),
        ("measure", 1.5, 1.5),
        ("measure", "1.2MPa", 1200.0),
        ("measure", "12 bar", 1200.0),
        ("measure", "１２．５ kPa", 12.5),
        ("measure", "−5 kPa", -5.0),
        ("measure", "0.5 kgf/cm2", 49.03325),
        ("celsius", "98.6 °F", 37.0),
        ("celsius", "−40℃", -40.0),
        ("celsius", "300 K", 26.85),
        ("share", "12,5 %", 12.5),
        ("share", "5‰", 0.5),
        ("torque", "20 N·m", 20.0),
        ("box", [1, 2, 31, 42], {"page": None, "x": 1.0, "y": 2.0, "width": 30.0, "height": 40.0}),
        ("group", {"name": "A", "else": 1}, {"name": "A", "since": None}),
        ("group", None, {"name": None, "since": None}),
        ("rows", None, []),
        (
            "rows",
            [{"amount": "1,00"}, None],
            [{"amount": Decimal("1.00"), "when": None}, {"amount": None, "when": None}],
        ),
        ("plain", ["1", "2,5"], [1.0, 2.5]),
    ],
)
def test_reads_what_is_printed(kind: str, printed: Any, value: Any) -> None:
    got = EVERY[kind].coerce(printed)
    assert (got.value, got.problems) == (value, ())
    assert type(got.value) is type(value)


@pytest.mark.parametrize(
    ("kind", "printed", "code"),
    [
        ("text", True, "wrong_type"),
        ("text", ["a"], "wrong_type"),
        ("text", "x" * 501, "not_allowed"),
        ("id", "ab1234", "not_allowed"),
        ("integer", "12.5", "not_allowed"),
        ("integer", True, "wrong_type"),
        ("number", "1.234", "wrong_type"),  # 1234 or 1.234: the job does not say
        ("number", "12 or 13", "wrong_type"),
        ("number", float("nan"), "wrong_type"),
        ("money", "12.345,678", "not_allowed"),
        ("money", Decimal("0.001"), "not_allowed"),
        ("money", "9" * 20, "not_allowed"),
        ("date", "31/02/2024", "wrong_type"),
        ("date", "1/2/2024 or 3/2/2024", "wrong_type"),
        ("date", False, "wrong_type"),
        ("time", "25:00", "wrong_type"),
        ("yesno", "x", "wrong_type"),  # a cross is yes in one country and no in the next
        ("yesno", "☑ yes ☑ no", "wrong_type"),
        ("choice", "GBP", "not_allowed"),
        ("choice", "☑ EUR ☑ USD", "not_allowed"),
        ("measure", "3 kg", "wrong_type"),
        ("measure", "0~1.6 MPa", "wrong_type"),
        ("measure", "0-1.6 MPa", "wrong_type"),
        ("measure", "1 to 2 MPa", "wrong_type"),
        ("measure", "1.2 ± 0.1 MPa", "wrong_type"),
        ("measure", "<5 kPa", "wrong_type"),
        ("measure", "€ 5", "wrong_type"),
        ("measure", "5 kPa 6", "wrong_type"),
        ("measure", "12 flurb", "wrong_type"),
        ("measure", "1.234 MPa", "wrong_type"),
    ],
)
def test_a_doubtful_answer_is_null_with_a_reason(kind: str, printed: Any, code: str) -> None:
    got = EVERY[kind].coerce(printed)
    assert got.value is None
    assert [problem.code for problem in got.problems] == [code]


def test_a_bad_cell_leaves_its_neighbours_and_names_its_place() -> None:
    got = EVERY["rows"].coerce([{"amount": "1.00", "when": "?"}, "row", {"amount": "x"}])
    assert [row["amount"] for row in got.value] == [Decimal("1.00"), None, None]
    assert [problem.path_suffix for problem in got.problems] == ["[0].when", "[1]", "[2].amount"]


def test_the_decimal_sign_of_the_job_settles_what_is_ambiguous() -> None:
    assert field(type="number", decimal=",").coerce("1.234").value == 1234.0
    assert field(type="number", decimal=".").coerce("1.234").value == 1.234
    assert field(type="measure", unit="bar", decimal=".").coerce("1.234 bar").value == 1.234
    assert field(type="number", decimals=2).coerce("1.234").value == 1234.0


def test_a_range_holds() -> None:
    part = field(type="money", minimum=0, maximum="99.50")
    assert part.coerce("99.50").value == Decimal("99.50")
    assert [part.coerce(each).problems[0].code for each in ("-0.01", "99.51")] == ["not_allowed"] * 2


def test_required_is_asked_at_every_depth() -> None:
    fields = ADAPTER.validate_python(
        {
            "supplier": {"type": "group", "fields": {"name": {"type": "text", "required": True}}},
            "party": {"type": "group", "required": True, "fields": {"name": {"type": "text"}}},
            "lines": {"type": "list", "required": True, "fields": {"amount": {"type": "money", "required": True}}},
            "colours": {"type": "choice", "options": ["a"], "many": True, "required": True},
        }
    )
    data, _ = coerce_object(fields, {"lines": [{"amount": "1"}, {"amount": None}]})
    assert list(missing(fields, data)) == ["supplier.name", "party", "lines[1].amount", "colours"]
    data, _ = coerce_object(fields, {})
    assert "lines" in list(missing(fields, data))


def test_leaf_paths_of_the_job_and_of_the_data() -> None:
    assert [path for path, _ in leaves(EVERY)][-6:] == [
        "box",
        "group.name",
        "group.since",
        "rows.amount",
        "rows.when",
        "plain",
    ]
    data = {name: each.nothing().value for name, each in EVERY.items()} | {
        "rows": [{"amount": 1, "when": None}],
        "plain": [3],
    }
    paths = [path for path, _, _ in leaf_values(EVERY, data)]
    assert paths[-3:] == ["rows[0].amount", "rows[0].when", "plain[0]"]
    assert [column(path) for path in paths[-3:]] == ["rows.amount", "rows.when", "plain"]


@pytest.mark.parametrize("name", EVERY)
def test_the_example_reads_well_and_fits_its_column(name: str) -> None:
    value, problems = EVERY[name].coerce(EVERY[name].example())
    assert problems == ()
    stored = pa.array([value, None], type=EVERY[name].arrow()).to_pylist()
    assert stored == [value, None]


def test_every_type_of_the_table_is_tried_here() -> None:
    assert {each.type for each in EVERY.values()} == set(FIELD_TYPES)


@pytest.mark.parametrize("name", EVERY)
def test_schemas_stay_within_what_a_decoder_can_enforce(name: str) -> None:
    def look(node: Any) -> None:
        if isinstance(node, dict):
            assert (
                not {"uniqueItems", "not", "if", "then", "else", "patternProperties", "dependentSchemas"} & node.keys()
            )
            if node.get("type") == "object":
                assert node["additionalProperties"] is False
                assert node["required"] == list(node["properties"])
            elif node.get("type") == "array":
                assert node["maxItems"] > 0
            elif "string" in node.get("type", ()) and "enum" not in node:
                assert node["maxLength"] > 0
            for each in node.values():
                look(each)
        elif isinstance(node, list):
            for each in node:
                look(each)

    schema = object_schema({name: EVERY[name]})
    look(schema)
    assert json.loads(json.dumps(schema)) == schema


@pytest.mark.parametrize("pattern", [r"(a|a)+", r"(a+)+$", r"(a|aa)+", r"(?:a?){60}a{60}", r"(a*)*b\1"])
def test_no_pattern_holds_up_a_night(pattern: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.schema.fields.bounded_regex.MATCH_S", 0.1)
    began = process_time()
    found = field(type="text", pattern=pattern).coerce("a" * 58 + "!")
    assert found.value is None
    assert [problem.code for problem in found.problems] == ["not_allowed"]
    assert process_time() - began < 3


def test_large_patterns_of_real_forms_are_taken() -> None:
    pattern = r"(?:[A-Z]{2}\d{2}(?: ?[0-9A-Z]{4}){5}(?: ?[0-9A-Z]{1,3})?|\w{1,200}[/{}-](\d{4}-){3}\d{1,12})"
    assert field(type="text", pattern=pattern).coerce("FR14 2004 1010 0505 0001 3M02 606").value
    assert field(type="text", pattern=pattern).coerce("长江/2024-0001-0002-12").value == "长江/2024-0001-0002-12"


@pytest.mark.parametrize("pattern", [r"(?=a)b", r"(?!x)y", r"(a)\1", r"\bword\b", r"a+?", r"^A$"])
def test_a_pattern_beyond_a_decoder_is_checked_afterwards_only(pattern: str) -> None:
    assert "pattern" not in field(type="text", pattern=pattern).answer_schema()


def test_words_tell_type_labels_hint_and_inner_fields() -> None:
    words = field(type="money", labels=["合计", "Total"], hint="with tax").prompt_text()
    assert words == 'an amount of money, as printed; printed near "合计" or "Total"; with tax'
    assert EVERY["group"].prompt_text().split("\n")[1:] == [
        "  - name: text",
        f"  - since: {EVERY['date'].prompt_text()}",
    ]
    region = field(type="text", region={"left": 0.5, "top": 0, "width": 0.5, "height": 0.25})
    assert "between 50% and 100% of the page's width" in region.prompt_text()


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"type": "text", "pattern": "("}, "regular expression"),
        ({"type": "text", "pattern": "(" * 5000 + ")" * 5000}, "regular expression"),
        ({"type": "text", "pattern": "((a{1000}){1000}){1000}"}, "too large"),
        ({"type": "text", "pattern": "a{99999999999999}"}, "too large"),
        ({"type": "measure", "unit": "flurb"}, "not a unit"),
        ({"type": "choice", "options": []}, "at least 1"),
        ({"type": "choice", "options": ["a", "A "]}, "means"),
        ({"type": "choice", "options": ["a", "a"]}, "twice"),
        ({"type": "yesno", "yes": ["ok"], "no": ["OK"]}, "under yes and under no"),
        ({"type": "number", "minimum": 2, "maximum": 1}, "more than maximum"),
        ({"type": "list"}, "either fields"),
        ({"type": "list", "item": {"type": "text"}, "fields": {"a": {"type": "text"}}}, "either fields"),
        ({"type": "list", "item": {"type": "list", "item": {"type": "text"}}}, "single value"),
        ({"type": "list", "fields": {"a": {"type": "list", "item": {"type": "text"}}}}, "too deep"),
        ({"type": "group", "fields": {"a b": {"type": "text"}}}, "letters, digits"),
        ({"type": "text", "region": {"left": 0.5, "top": 0, "width": 0.6, "height": 1}}, "leaves the page"),
        ({"type": "text", "size": 3}, "size"),
    ],
)
def test_a_wrong_declaration_is_refused(keys: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(says)):
        field(**keys)


def test_fields_can_be_made_in_python_too() -> None:
    assert [made().type for made in (IntegerField, MoneyField, NumberField)] == ["integer", "money", "number"]


@pytest.mark.parametrize("name", EVERY)
def test_a_decoder_takes_the_schema(name: str) -> None:
    matcher = pytest.importorskip("llguidance", reason="llguidance comes with the gpu extra").LLMatcher
    grammar = matcher.grammar_from_json_schema(object_schema({name: EVERY[name]}))
    assert matcher.validate_grammar(grammar) == ""


@pytest.mark.parametrize(
    "text", ["1," * 50_000, "1 " * 50_000, "☑ " * 20_000, "01.02.2024 " * 9_000, "9" * 100_000, "(" * 99_999]
)
def test_a_very_long_answer_costs_a_moment_only(text: str) -> None:
    began = process_time()
    for name, each in EVERY.items():
        value, problems = each.coerce(text)
        assert problems or name in ("many", "rows", "plain", "group")
        assert is_empty(value) or name == "many" or each.long_text  # long texts are kept, with a problem
    assert process_time() - began < 1


# --- whatever comes

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.decimals()
    | st.text()
    | st.sampled_from(["☑", "1.234", "01/02"]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["name", "since", "amount", "when", "z"]), inner)
    ),
    max_leaves=12,
)


@given(answer=JSON, name=st.sampled_from(sorted(EVERY)))
def test_no_answer_makes_a_field_raise_and_every_value_fits_its_column(answer: Any, name: str) -> None:
    value, problems = EVERY[name].coerce(answer)
    pa.array([value], type=EVERY[name].arrow())
    assert all(problem.message for problem in problems)


VALUES: dict[str, st.SearchStrategy[Any]] = {
    "text": st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=40).filter(
        lambda text: text != "null"
    ),
    "integer": st.integers(-(2**63) + 1, 2**63 - 1),
    "number": st.floats(-1e29, 1e29, allow_subnormal=False).filter(lambda value: not 0 < abs(value) < 1e-29),
    "money": st.decimals(Decimal(-(10**14)), Decimal(10**14), places=2),
    "date": st.dates(date(1900, 1, 1), date(2100, 12, 31)),
    "time": st.times().map(lambda value: value.replace(microsecond=0)),
    "yesno": st.booleans(),
    "choice": st.sampled_from(["EUR", "USD", "none"]),
    "many": st.lists(st.sampled_from(["red", "green", "blue"]), unique=True).map(
        lambda chosen: [each for each in ("red", "green", "blue") if each in chosen]
    ),
    "measure": st.floats(-1e9, 1e9, allow_subnormal=False).filter(lambda value: not 0 < abs(value) < 1e-20),
}


@given(data=st.data(), name=st.sampled_from(sorted(VALUES)))
def test_a_typed_value_survives_json(data: st.DataObject, name: str) -> None:
    value = data.draw(VALUES[name])
    if name == "text":
        value = EVERY["text"].coerce(value).value
    printed = json.dumps(value, default=lambda each: each.isoformat() if isinstance(each, date | time) else str(each))
    again, problems = EVERY[name].coerce(json.loads(printed, parse_float=Decimal))
    assert (again, problems) == (value, ())


@given(
    value=st.decimals(Decimal(-(10**9)), Decimal(10**9), places=4),
    places=st.integers(0, 4),
    decimal=st.sampled_from([None, ",", "."]),
)
def test_a_number_that_was_found_is_spelled_so_that_it_reads_as_itself(
    value: Decimal, places: int, decimal: str | None
) -> None:
    value = round(value, places)
    for keys in ({"type": "money", "decimals": 4}, {"type": "number"}, {"type": "measure", "unit": "kPa"}):
        kind = field(**keys, decimal=decimal)
        assert isinstance(kind, Numeric)
        read, problems = kind.coerce(kind.spelled(value))
        assert (float(read), problems) == (float(value), ())
