"""Numbers, money and measures: minus signs live, every country's separators, and never a silently other value."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.parsing import numbers, quantities

AMOUNTS = st.decimals(-(10**9), 10**9, places=2, allow_nan=False, allow_infinity=False)


def grouped(value: Decimal, thousands: str, point: str) -> str:
    return f"{value:,.2f}".replace(",", "t").replace(".", point).replace("t", thousands)


@given(
    AMOUNTS,
    st.sampled_from(
        [(",", "."), (".", ","), (" ", ","), (" ", "."), ("'", "."), ("’", "."), ("\u00a0", ","), ("", "."), ("", ",")]
    ),
)
def test_a_printed_amount_reads_as_itself(value: Decimal, separators: tuple[str, str]) -> None:
    value += Decimal(0)  # no minus zero
    text = grouped(value, *separators)
    assert numbers.read(text) == value, text
    assert numbers.read(text, separators[1]) == value, text


@given(AMOUNTS.filter(lambda value: value > 0))
def test_minus_signs_live(value: Decimal) -> None:
    plain = f"{value:,.2f}"
    for text in (
        f"-{plain}",
        f"({plain})",
        f"{plain}-",
        f"−{plain}",
        f"-RM {plain}",
        f"RM-{plain}",
        f"€ -{plain}",
        f"-{plain} EUR",
        f"－{plain}",
    ):
        assert numbers.read(text) == -value, text
        assert [one.value for one in numbers.find(text)] == [-value], text


@given(
    AMOUNTS.filter(lambda value: value >= 0),
    st.sampled_from(["$", "€ ", "RM", "EUR ", "¥", "￥", "US$", "CHF ", "zł "]),
)
def test_a_currency_changes_nothing(value: Decimal, sign: str) -> None:
    assert numbers.read(f"{sign}{value:.2f}") == value
    assert numbers.find(f"Total {sign}{value:.2f}")[-1].value == value


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("Summe 1 234 €", ["1234"]),
        ("1 000 000", ["1000000"]),
        ("1 234,56", ["1234.56"]),
        ("2 100 PLUS", ["2", "100"]),  # two of the article "100 PLUS"
        ("1 234 5.00", ["1", "234", "5.00"]),
    ],
)
def test_thousands_behind_a_blank(line: str, values: list[str]) -> None:
    assert [str(one.value) for one in numbers.find(line)] == values


@given(st.text(max_size=40))
def test_no_text_makes_numbers_fail(text: str) -> None:
    for one in numbers.find(text):
        assert 0 <= one.start < one.end <= len(text)
        assert 0 < one.quality <= 1
    value = numbers.read(text)
    assert value is None or any(char.isdecimal() for char in text)
    numbers.currency(text)


@pytest.mark.parametrize(
    ("text", "decimal", "expected"),
    [
        ("1.234", None, "1234"), ("1.234", ".", "1.234"), ("1.234", ",", "1234"), ("0.125", None, "0.125"),
        ("12.34", ",", None),
        ("12,34,567.00", None, "1234567.00"), ("1.234.567,89", None, "1234567.89"), ("12,34", None, "12.34"),
        ("12,-", None, "12"),
        ("１２．５０元", None, "12.50"), ("19 %", None, "19"), (".50", None, "0.50"), ("12.50 13.00", None, None),
        ("1,23,4", None, None),
        ("3.5万", None, None), ("12.", None, None), ("50.0O", None, None), ("5²", None, None),
        ("-(5)", None, None), ("5-3", None, None),
        ("12/05/2018", None, None), ("(5", None, None), ("12.345,67.8", None, None),
    ],
)  # fmt: skip
def test_read(text: str, decimal: str | None, expected: str | None) -> None:
    assert numbers.read(text, decimal) == (None if expected is None else Decimal(expected))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 X 19.00 19.00", ["1", "19.00", "19.00"]), ("TOTAL RM33.92", ["33.92"]), ("60. 30", ["60.30"]),
        ("100.00SR", ["100.00"]),
        ("Rounding -0.02", ["-0.02"]), ("TEL 07-3507405", []), ("12/05/2018", []), ("Time 12:30.00", []),
        ("INV-123", []),
        ("1 234,56 EUR", ["1234.56"]), ("TOTAL - 5.00", ["5.00"]), ("50.0O", ["50.00"]),
    ],
)  # fmt: skip
def test_find_in_noise(text: str, expected: list[str]) -> None:
    assert [one.value for one in numbers.find(text)] == [Decimal(value) for value in expected]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("RM 5", "MYR"),
        ("5 €", "EUR"),
        ("S$5", "SGD"),
        ("$5", "USD"),
        ("¥5", None),
        ("合计 ¥5", "CNY"),
        ("5 kr", None),
        ("FIRM 5", None),
    ],
)
def test_currency(text: str, code: str | None) -> None:
    assert numbers.currency(text) == code


@pytest.mark.parametrize(
    ("text", "unit", "expected"),
    [
        ("1.2 MPa", "kPa", ("1200", "MPa")), ("95 °F", "degC", ("35", "°F")), ("12,5 kg", "g", ("12500", "kg")),
        ("3公斤", "kg", ("3", "公斤")), ("1450 r/min", "rpm", ("1450", "r/min")), ("-5℃", "degC", ("-5", "℃")),
        ("3 m²", "cm²", ("30000", "m²")), ("0.5", "bar", ("0.5", "")), ("5 apples", "kg", None),
        ("5 kg", "m", None), ("kg", "kg", None),
        ("36度", "°C", ("36", "度")), ("36°", "°C", ("36", "°")), ("90°", "degF", ("90", "°")), ("36度", "degF", None),
        ("36°", "K", None), ("45度", "degree", ("45", "度")), ("120度", "kWh", ("120", "度")),
        ("10 kg/cm²", "MPa", ("0.980665", "kg/cm²")), ("10 kg", "MPa", None),
        ("12.5立方米/小时", "m**3/h", ("12.5", "立方米/小时")), ("36 C", "°C", ("36", "C")), ("98.6F", "°C", None),
        ("98.6F", "°F", ("98.6", "F")), ("20 Grad", "°C", ("20", "Grad")), ("36 C", "K", None),
        ("2 C", "A*h", ("0.000555555555556", "C")),
    ],
)  # fmt: skip
def test_measures(text: str, unit: str, expected: tuple[str, str] | None) -> None:
    assert quantities.read(text, unit) == (None if expected is None else (Decimal(expected[0]), expected[1]))


@pytest.mark.parametrize("printed", ["lb/00", "e/00", "m**9**9**9", "/", "**"])
def test_what_is_no_unit_is_none(printed: str) -> None:
    assert quantities.unit(printed) is None


@pytest.mark.parametrize(
    ("printed", "wanted"),
    [("rpm", "Hz"), ("°", "%"), ("Stk", "%"), ("kg", "kPa"), ("Nm", "m"), ("°C", "kPa"), ("flurb", "m"), ("m2", "m3")],
)
def test_units_of_other_things_are_not_brought_to_each_other(printed: str, wanted: str) -> None:
    assert quantities.convert(Decimal(60), printed, wanted) is None


UNITS = ["kPa", "bar", "psi", "kgf/cm²", "MPa", "mmHg"]


@given(
    value=st.decimals(Decimal("0.001"), Decimal(10**6), places=3),
    one=st.sampled_from(UNITS),
    two=st.sampled_from(UNITS),
)
def test_a_measure_comes_back_from_another_unit(value: Decimal, one: str, two: str) -> None:
    there = quantities.convert(value, one, two)
    assert there is not None
    back = quantities.convert(there, two, one)
    assert back is not None
    assert abs(back - value) <= abs(value) * Decimal("1e-10")


@given(value=st.decimals(-1000, 10**6, places=2), unit=st.sampled_from(["°C", "°F", "K", "%", "mm", "rpm", *UNITS]))
def test_a_printed_measure_is_read_as_it_is(value: Decimal, unit: str) -> None:
    assert quantities.read(f"{value} {unit}", unit) == (value, unit)


def test_measures_are_found_on_a_line() -> None:
    found = quantities.find("压力: 1.2 MPa 温度: 35℃", "kPa")
    assert [(one.value, "压力: 1.2 MPa 温度: 35℃"[one.start : one.end]) for one in found] == [
        ((Decimal(1200), "MPa"), "1.2 MPa")
    ]


@pytest.mark.parametrize(
    ("text", "found", "whole"),
    [
        ("Pressure 5 kg", "5", "5 kg"),
        ("Pressure 5 kg/cm² dry", "5", "5 kg/cm²"),
        ("35 Temperature", "35", "35"),
        ("35 Temp: 20", "35", "35"),
        ("0～1.6 MPa", "1.6 MPa", "0～1.6 MPa"),
        ("20 ± 2 °C", "20", "20 ± 2 °C"),
        ("≤ 40 °C", "40 °C", "≤ 40 °C"),
        ("No. 7 35 kPa", "35 kPa", "35 kPa"),
        ("温度 36 正常", "36", "36"),
    ],
)
def test_all_that_is_printed_of_a_measure(text: str, found: str, whole: str) -> None:
    at = text.index(found)
    start, end = quantities.whole(text, at, at + len(found))
    assert text[start:end] == whole


@given(st.text("0123456789.,-~±<> °CkPabartoMm正常", max_size=25), st.integers(0, 25), st.integers(1, 6))
def test_no_text_makes_the_whole_of_a_measure_fail(text: str, start: int, length: int) -> None:
    first, last = quantities.whole(text, min(start, len(text)), min(start + length, len(text)))
    assert 0 <= first <= min(start, len(text)) <= min(start + length, len(text)) <= last <= len(text)


@given(st.text(max_size=25), st.sampled_from(["kPa", "degC", "%", "rpm", "nonsense"]))
def test_no_text_makes_measures_fail(text: str, unit: str) -> None:
    assert quantities.read(text, unit) is None or any(letter.isnumeric() for letter in text)
    assert all(0 <= one.start < one.end <= len(text) for one in quantities.find(text, unit))
