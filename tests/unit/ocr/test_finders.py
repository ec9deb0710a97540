"""What each finder proposes and the engine picks, on small pages drawn in letters."""

import json
from typing import Any

import pytest

from models.ocr.candidates.finders.choices import ticks
from models.ocr.candidates.finders.companies import sender_name, without_number
from tests.support.lettered import ask

PAID = "Item   5.00\nTotal   12.58\nRounding   0.02\nRounded Total   12.60\nCash   20.00\nChange   7.40"


@pytest.mark.parametrize(
    ("field", "page", "value"),
    [
        ({"type": "money", "labels": ["Total"]}, PAID, "12.60"),
        ({"type": "money", "labels": ["Sum"]}, "Gesamtsumme   9,50\nSum   1.234,50-", "-1234.50"),
        ({"type": "integer", "labels": ["Pages"]}, "Pages: 7\nCopies: 3", 7),
        ({"type": "number", "labels": ["Weight"]}, "Height   2.50\nWeight   12.5", "12.5"),
        ({"type": "measure", "unit": "kPa", "labels": ["Pressure"]}, "Pressure   1.2 MPa\nLength   3 m", "1.2 MPa"),
        ({"type": "time", "labels": ["Start"]}, "Start: 08:15\nEnd: 17:30", "08:15:00"),
        ({"type": "text", "kind": "email"}, "Write to office@example.com now", "office@example.com"),
        ({"type": "text", "kind": "url"}, "See www.example.com for more", "www.example.com"),
        ({"type": "text", "kind": "phone", "labels": ["Fax"]}, "Tel: 030 1234567\nFax: 030 7654321", "030 7654321"),
        ({"type": "text", "kind": "id", "labels": ["Order No"]}, "Invoice No: A-11\nOrder No: B-22/3", "B-22/3"),
        ({"type": "text", "labels": ["Remarks"]}, "Name   Ada\nRemarks   left at the gate", "left at the gate"),
        ({"type": "text", "labels": ["备注"]}, "姓名：王小明\n备注：无", "无"),
        ({"type": "yesno", "labels": ["Leak"]}, "Leak   □ yes ☑ no", False),
        ({"type": "yesno", "labels": ["已检查"]}, "☑已检查", True),
        ({"type": "choice", "options": ["male", "female"], "labels": ["Sex"]}, "Sex   □ male ☑ female", "female"),
        ({"type": "choice", "options": {"card": ["VISA"], "cash": ["CASH"]}, "labels": ["Paid"]}, "Paid: VISA", "card"),
    ],
)  # fmt: skip
def test_the_value_beside_its_label(field: dict[str, Any], page: str, value: Any) -> None:
    assert json.loads(ask({"x": field}, page).text) == {"x": value}


@pytest.mark.parametrize(
    ("text", "boxes"),
    [
        ("☑是 □否", [("是", True), ("否", False)]),
        ("是☑ 否□", [("是", True), ("否", False)]),
        ("yes", []),
        ("□A □B ☑C", [("A", False), ("B", False), ("C", True)]),
    ],
)
def test_ticks(text: str, boxes: list[tuple[str, bool]]) -> None:
    assert ticks(text) == boxes


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("OCEAN TRADING SDN BHD (123456-X)", "OCEAN TRADING SDN BHD"),
        ("AURORA LTD CO. REG NO: 200012345678", "AURORA LTD"),
        ("Aurora Ltd", "Aurora Ltd"),
        ("(12345)", "(12345)"),
    ],
)
def test_a_name_loses_its_register_number(text: str, name: str) -> None:
    assert without_number(text) == name


def test_labels_of_two_rows_are_not_one_label() -> None:
    """Cash over Change is not "Cash Change": 20.00 is paid, 7.40 goes back, 12.60 was the price."""
    page = "Nails   12.60\nCash   20.00\nChange   7.40"
    assert json.loads(ask({"cash": {"type": "money"}, "change": {"type": "money"}}, page).text) == {
        "cash": "20.00",
        "change": "7.40",
    }


def test_a_label_broken_over_two_lines_is_one_label() -> None:
    page = "Invoice   Customer\nNumber    No\nR-77      K-12"
    assert json.loads(ask({"invoice_number": {"type": "text"}}, page).text) == {"invoice_number": "R-77"}


SUPPLIER = {"supplier": {"type": "group", "fields": {"name": {"type": "text", "kind": "company"}}}}
CUSTOMER = {"customer": {"type": "group", "fields": {"name": {"type": "text", "kind": "company"}}}}


@pytest.mark.parametrize(
    ("fields", "page", "path", "name"),
    [
        (
            SUPPLIER, "Invoice 77\nSeller\nNumber: 5499\nName: Harbour Lamps Ltd\nAddress: 3 Quay Street\n"
            "Buyer\nName: Milltown Books Ltd\nAddress: 9 Mill Lane", "supplier", "Harbour Lamps Ltd",
        ),
        (
            CUSTOMER, "Invoice 77\nSeller\nNumber: 5499\nName: Harbour Lamps Ltd\nAddress: 3 Quay Street\n"
            "Buyer\nName: Milltown Books Ltd\nAddress: 9 Mill Lane", "customer", "Milltown Books Ltd",
        ),
        (SUPPLIER, "电子发票\n销售方\n名称:听雨市墨笺文具有限公司\n金额 20.00", "supplier", "听雨市墨笺文具有限公司"),
    ],
)  # fmt: skip
def test_the_name_in_the_block_of_its_party(fields: dict[str, Any], page: str, path: str, name: str) -> None:
    assert json.loads(ask(fields, page).text)[path] == {"name": name}


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("Holzbau Nordwind GmbH · Am Anger 7, 09999 Musterau", "Holzbau Nordwind GmbH"),
        ("Au grand four SARL - 12 rue du Lac - 99340 Villefeinte", "Au grand four SARL"),
        ("Holzbau Nordwind GmbH", ""),
        ("Am Anger 7 · 09999 Musterau", ""),
        ("Nordwind GmbH · Seit vielen Jahren für Sie da", ""),
    ],
)
def test_the_sender_over_an_address_window(line: str, name: str) -> None:
    assert sender_name(line) == name


def test_a_town_with_its_postcode_is_no_name_with_a_number() -> None:
    assert without_number("FAIRPORT, MI 48104") == "FAIRPORT, MI 48104"


def test_a_place_between_street_and_telephone_belongs_to_the_address() -> None:
    page = "BLUE DOOR MINIMART\nNO 19 JALAN UTAMA 4.\nMEDAN NIAGA DAMAI\nTEL 016-5498845\nTOTAL   5.00"
    found = json.loads(ask({"address": {"type": "text", "kind": "address"}}, page).text)
    assert found == {"address": "NO 19 JALAN UTAMA 4. MEDAN NIAGA DAMAI"}
