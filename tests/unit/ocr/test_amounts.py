"""Sums and dates on small pages drawn in letters: arithmetic helps, and nothing is guessed without support."""

import json
from typing import Any

import pytest

from tests.support.lettered import ask

MONEY: dict[str, Any] = {"type": "money"}
SLANTED = """
Flat white    7.20
Pot of tea    34.85
Subtotal      £42.05
              £42.05
TOTAL         7.01
VAT 20% incl.
"""


def told(fields: dict[str, Any], page: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(ask(fields, page).text)
    return answer


@pytest.mark.parametrize(
    "page",
    [
        "Happy New Year 2003!\nWith love from all of us",
        "The ratio was 0.70 in the first year and fell\nin the years that followed.",
        "Chapter 12\nIt was in 1998 that the house was sold.",
    ],
)
@pytest.mark.parametrize("name", ["total", "subtotal", "tax", "due"])
def test_a_lonely_number_is_no_sum(name: str, page: str) -> None:
    assert told({name: MONEY}, page) == {name: None}


def test_a_sum_with_its_label_needs_no_more() -> None:
    assert told({"total": MONEY}, "Total 2003") == {"total": "2003"}


def test_the_tax_that_a_rate_proves_is_not_the_total() -> None:
    found = told({"subtotal": MONEY, "tax": MONEY, "total": MONEY}, SLANTED)
    assert found == {"subtotal": "42.05", "tax": "7.01", "total": "42.05"}


def test_one_printed_amount_is_one_sum() -> None:
    page = "Article A   100.00\nArticle B   50.00\nArticle C   24.56\nTotal   174.56   22.69\nTotal incl VAT   197.25"
    found = told({"net_total": MONEY, "tax_total": MONEY, "total": MONEY}, page)
    assert found == {"net_total": "174.56", "tax_total": "22.69", "total": "197.25"}


def test_a_due_date_needs_its_own_label() -> None:
    fields = {"issue_date": {"type": "date"}, "due_date": {"type": "date"}}
    assert told(fields, "Invoice Date: 08.11.2024\nTotal 12.50") == {"issue_date": "2024-11-08", "due_date": None}
    assert told(fields, "Invoice Date: 08.11.2024\nDue Date: 08.12.2024")["due_date"] == "2024-12-08"


def test_the_day_of_delivery_is_not_the_day_of_issue() -> None:
    page = "Lieferdatum: 01.02.2024\nRechnungsdatum: 05.02.2024"
    assert told({"issue_date": {"type": "date"}}, page) == {"issue_date": "2024-02-05"}


def test_net_is_what_the_tax_was_added_to() -> None:
    page = "Summe Positionen   202,76\nRabatt   -8,93\nSteuerbasisbetrag   193,83\nUSt   36,83\nGesamtbetrag   230,66"
    assert told({"net_total": MONEY}, page) == {"net_total": "193.83"}
