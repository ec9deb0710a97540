"""Dates and times as careless tills print them: glued to each other, to labels, and to what follows."""

from datetime import date, time

import pytest

from pipeline.parsing import dates, numbers, times


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Mar06'16", date(2016, 3, 6)),
        ("ThuAug09,2012", date(2012, 8, 9)),
        ("0ct25'14 07:53AM", date(2014, 10, 25)),
        ("27Dec`16", date(2016, 12, 27)),
        ("DATE:-27-02-2014", date(2014, 2, 27)),
        ("Jun 15 12:47:59 2011", date(2011, 6, 15)),
        ("Sat Jun 15 12:47:59 MYT 2011", date(2011, 6, 15)),
        ("Date 20180428/191204", date(2018, 4, 28)),
    ],
)
def test_dates_of_tills(text: str, value: date) -> None:
    assert [one.value for one in dates.find(text, "MDY")] == [value]


@pytest.mark.parametrize("text", ["Jun15", "REF-27-02-2014", "20180428-1", "20180428.5"])
def test_what_is_no_whole_date(text: str) -> None:
    assert dates.find(text, "MDY") == []


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Time:12:05", time(12, 5)),
        ("02/25/201620:07:13", time(20, 7, 13)),
        ("3/5/20161:05PM", time(13, 5)),
        ("Mar06'1612:05PM", time(12, 5)),
        ("25/02/2014,12:05", time(12, 5)),
        ("8:22PMCashier", time(20, 22)),
        ("6:05:PM", time(18, 5)),
        ("9.45 pm", time(21, 45)),
        ("12:00 AMOUNT", time(12, 0)),
        ("1:27 PH", time(13, 27)),
    ],
)
def test_times_of_tills(text: str, value: time) -> None:
    assert [one.value for one in times.find(text)] == [value]


def test_a_letter_read_as_a_digit_does_not_leave_half_a_time() -> None:
    assert times.find("12:O5PM") == []


def test_dollars_with_one_letter() -> None:
    assert str(numbers.read("U$317.14")) == "317.14"
    assert numbers.currency("U$317.14") == "USD"
