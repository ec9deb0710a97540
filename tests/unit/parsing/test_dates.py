"""Dates and times: what is printed is what is read, in many countries' ways, and never another value."""

from datetime import date, time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.parsing import dates, times

DAYS = st.dates(date(1900, 1, 1), date(2099, 12, 31))
MONTHS = {
    "en": "January February March April May June July August September October November December",
    "de": "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
    "fr": "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
    "es": "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
    "ms": "Januari Februari Mac April Mei Jun Julai Ogos September Oktober November Disember",
    "nl": "januari februari maart april mei juni juli augustus september oktober november december",
    "it": "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre",
    "pt": "janeiro fevereiro março abril maio junho julho agosto setembro outubro novembro dezembro",
    "pl": "stycznia lutego marca kwietnia maja czerwca lipca sierpnia września października listopada grudnia",
}
CHINESE = "〇一二三四五六七八九"


def chinese(number: int) -> str:
    tens, ones = divmod(number, 10)
    return ("" if tens == 0 else "十" if tens == 1 else CHINESE[tens] + "十") + (CHINESE[ones] if ones else "")


def printed(day: date) -> list[tuple[str, str]]:
    """The ways to print a day, and the order that is asked for."""
    y, m, d = day.year, day.month, day.day
    ways = [
        (f"{d:02}/{m:02}/{y}", "DMY"), (f"{m:02}/{d:02}/{y}", "MDY"), (f"{d}.{m}.{y}", "DMY"),
        (f"{d:02}-{m:02}-{y}", "DMY"),
        (day.isoformat(), "DMY"), (day.isoformat(), "MDY"), (f"{y}/{m:02}/{d:02}", "YMD"), (f"{y}年{m}月{d}日", "DMY"),
        ("".join(CHINESE[int(char)] for char in str(y)) + f"年{chinese(m)}月{chinese(d)}日", "DMY"),
        (f"{y}{m:02}{d:02}", "DMY"), (f"{day.isoformat()}T10:20:30Z", "DMY"),
    ]  # fmt: skip
    for language, names in MONTHS.items():
        name = names.split()[m - 1]
        ways.append((f"{d}. {name} {y}" if language == "de" else f"{d} {name} {y}", "DMY"))
    name = MONTHS["en"].split()[m - 1]
    return [*ways, (f"{name} {d}, {y}", "MDY"), (f"{d}-{name[:3]}-{y}", "DMY"), (f"{d}{name[:3].upper()}{y}", "DMY")]


@given(DAYS)
def test_a_printed_date_reads_as_itself(day: date) -> None:
    for text, order in printed(day):
        assert dates.read(text, order) == day, text


@given(DAYS)
def test_full_width_digits_are_digits(day: date) -> None:
    wide = day.isoformat().translate(str.maketrans("0123456789-", "０１２３４５６７８９－"))
    assert dates.read(wide) == day


@given(st.text(max_size=40))
def test_no_text_makes_dates_or_times_fail(text: str) -> None:
    for one in [*dates.find(text), *times.find(text)]:
        assert 0 <= one.start < one.end <= len(text)
        assert 0 < one.quality <= 1
    dates.read(text)
    times.read(text)


@given(DAYS, st.sampled_from(["INV ", "5 ", "x", "12/", "no. "]), st.sampled_from(["", "1", " 7", "/3"]))
@settings(max_examples=60)
def test_more_than_a_date_is_not_read_as_one(day: date, before: str, after: str) -> None:
    assert dates.read(f"{before}{day:%d/%m/%Y}{after}", "DMY") is None


@pytest.mark.parametrize(
    ("text", "order", "expected"),
    [
        ("05/13/2018", "DMY", date(2018, 5, 13)),
        ("02.03.99", "DMY", date(1999, 3, 2)),
        ("Mon, 15 Jun 2024 10:20 PM", "DMY", date(2024, 6, 15)),
        ("15th day of June, 2024", "MDY", date(2024, 6, 15)),
        ("1er mars 2020", "DMY", date(2020, 3, 1)),
        ("15 de junio de 2024", "DMY", date(2024, 6, 15)),
        ("31/02/2024", "DMY", None),
        ("06/2024", "DMY", None),
        ("18/O1/2018", "DMY", None),
        ("01/02/2020 03/04/2020", "DMY", None),
        ("192.168.10.20", "DMY", None),
    ],
)
def test_read(text: str, order: str, expected: date | None) -> None:
    assert dates.read(text, order) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("19/10/201820:49:59 #01", ["2018-10-19"]),
        ("12-01-19 21:13 SH01", ["2019-01-12"]),
        ("18/O1/2018 10:27", ["2018-01-18"]),
        ("01.05.14-31.05.14", ["2014-05-01", "2014-05-31"]),
        ("Mar06'16", ["2016-03-06"]),
        ("ThuAug09,2012", ["2012-08-09"]),
        ("IV-180112", []),
        ("02-3521.88", []),
    ],
)
def test_find_in_noise(text: str, expected: list[str]) -> None:
    assert [one.value.isoformat() for one in dates.find(text)] == expected


def test_what_was_mended_is_less_sure() -> None:
    assert dates.find("18/O1/2018")[0].quality < dates.find("18/01/2018")[0].quality


@given(st.times().map(lambda moment: moment.replace(microsecond=0, tzinfo=None)))
def test_a_printed_time_reads_as_itself(moment: time) -> None:
    minute = moment.replace(second=0)
    half = "AM" if moment.hour < 12 else "PM"
    assert times.read(moment.isoformat()) == moment
    assert times.read(f"{moment:%H:%M}") == minute
    assert times.read(f"{moment:%H}h{moment:%M}") == minute
    assert times.read(f"{moment:%H.%M} Uhr") == minute
    assert times.read(f"{moment.hour}时{moment.minute}分") == minute
    assert times.read(f"{moment.hour % 12 or 12}:{moment.minute:02} {half}") == minute


@pytest.mark.parametrize("text", ["24:00", "12:60", "10:20+08:00", "1234", "10:20 11:30", "13:00 AM"])
def test_no_time_is_made_up(text: str) -> None:
    assert times.read(text) is None
