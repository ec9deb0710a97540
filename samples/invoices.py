"""The English and American invoices. Every company, person, place and number is invented."""

from datetime import date
from decimal import Decimal
from typing import Any

from printed import Printed, amount, day, text
from sample import Column, Sample, cells, heads, priced, rows
from sheet import A4, BLUE, GREY, Sheet

NAMES = ("description", "quantity", "unit_price", "amount")
PALE = (228, 233, 240)


def tax(net: Decimal, percent: str) -> Decimal:
    return (net * Decimal(percent) / 100).quantize(Decimal("0.01"))


def english() -> Sample:
    lines, net = priced(
        """
            Bourdon gauge 100 mm, 0-16 bar | 12 | 38.40
            Bourdon gauge 63 mm, 0-10 bar | 8 | 24.15
            Diaphragm seal, 1/2 in BSP // stainless steel, with certificate | 6 | 112.00
            Capillary line 2 m | 6 | 31.75
            Isolating valve, brass | 20 | 9.85
            Snubber insert 0.3 mm | 20 | 2.10
            Level transmitter LT-440 | 2 | 684.00
            Mounting bracket, galvanised | 14 | 6.45
            Cable gland M20 | 40 | 1.20
            Signal cable, screened, per metre | 125.5 | 1.84
            Junction box IP66 | 5 | 27.30
            Temperature probe Pt100, 150 mm | 9 | 46.90
            Thermowell, 1/2 in NPT | 9 | 58.20
            Display unit, panel mounted | 3 | 143.50
            Calibration on site, hours | 7.5 | 72.00
            Travel, flat rate | 1 | 85.00
            Spare gasket set | 25 | 3.36
            Name plates, engraved | 16 | 4.75
            Siphon pipe, U form | 12 | 8.95
            Thread sealant, 50 ml | 10 | 7.25
            Pressure switch, 2-10 bar | 4 | 61.40
            Flow indicator DN25 | 3 | 118.60
            Hose, reinforced, per metre | 48.5 | 3.70
            Warning labels, roll | 2 | 19.99
        """
    )
    vat = tax(net, "20")
    fields: dict[str, Any] = {
        "invoice_number": text("FIW-20417"),
        "issue_date": day(date(2025, 5, 19), "long"),
        "due_date": day(date(2025, 6, 18), "long"),
        "currency": Printed("GBP", "GBP"),
        "supplier": {
            "name": text("Fernhollow Instrument Works Ltd"),
            "vat_id": text("GB999040717"),
            "address": text("14 Foxglove Lane, Millbrook-on-Tarn, ZX9 4QY"),
        },
        "customer": {"name": text("Greywater Pumping Trust")},
        "lines": lines,
        "net_total": amount(net),
        "tax_total": amount(vat),
        "total": amount(net + vat, sign="£"),
    }
    columns = [
        Column("Description", 62),
        Column("Qty", 342, "right"),
        Column("Unit price", 430, "right"),
        Column("Amount", 533, "right"),
    ]
    first, second = Sheet(), Sheet()
    for number, sheet in enumerate((first, second), 1):
        sheet.area(0, 0, A4[0], 10, BLUE)
        sheet.text(62, 66, fields["supplier"]["name"].words, "sans bold", 15, ink=BLUE)
        sheet.text(62, 82, fields["supplier"]["address"].words, "sans", 8.5, ink=GREY)
        sheet.text(
            62,
            800,
            "Fernhollow Instrument Works Ltd  ·  Registered in Tarnshire No. 00990099  ·  VAT No. GB999040717",
            size=7.5,
            ink=GREY,
        )
        sheet.text(533, 800, f"Page {number} of 2", size=7.5, align="right", ink=GREY)
    first.text(533, 66, "INVOICE", "sans bold", 20, "right", GREY)
    first.text(62, 136, "Bill to", "sans bold", 8.5, ink=GREY)
    first.text(
        62,
        152,
        fields["customer"]["name"].words + "\nAccounts Payable\nStation House, Lower Weir Road\nEddlesborough ZX2 1AB",
        size=10,
    )
    for offset, (label, words) in enumerate(
        [
            ("Invoice number", fields["invoice_number"].words),
            ("Invoice date", fields["issue_date"].words),
            ("Due date", fields["due_date"].words),
            ("Your order", "PO 88-1306"),
            ("Currency", "GBP"),
        ]
    ):
        first.text(360, 152 + 15 * offset, label, size=9, ink=GREY)
        first.text(533, 152 + 15 * offset, words, "sans bold", 9, "right")
    y = 262.0
    for sheet, part in ((first, lines[:18]), (second, lines[18:])):
        sheet.area(56, y - 13, 483, 19, PALE)
        heads(sheet, y, columns, ink=BLUE)
        y = rows(sheet, y + 24, columns, cells(part, *NAMES), size=9.5, pitch=25)
        sheet.line((56, y - 12), (539, y - 12), width=0.8, ink=BLUE)
        if sheet is first:
            sheet.text(533, y + 6, "continued on page 2", size=8.5, align="right", ink=GREY)
            y = 132.0
    for label, value, font in (
        ("Net total", "net_total", "sans"),
        ("VAT 20%", "tax_total", "sans"),
        ("Total due", "total", "sans bold"),
    ):
        y += 20
        second.text(430, y, label, font, 10, "right")
        second.text(533, y, fields[value].words, font, 10, "right")
    second.text(
        62,
        y + 70,
        "Please pay to: Bank of Nowhere, sort code 99-00-99, account 00417700.\n"
        "Quote the invoice number. Goods remain ours until paid.",
        size=9,
    )
    return Sample(
        "invoices/english_two_pages.pdf",
        "invoice",
        "English invoice, born-digital PDF of two pages",
        "lines go on over the page; text layer, no scan",
        (first, second),
        fields,
    )


def catering() -> Sample:
    lines, net = priced(
        """
            Lunch buffet, per guest | 85 | 21.50
            Oat milk, 1 qt carton | 24 | 3.15
            Coffee service, urns | 4 | 62.00
            Dessert trays | 7 | 38.75
            Table linen, rental | 18 | 9.40
            Serving staff, hours | 22.5 | 28.00
        """
    )
    sales = tax(net, "8.25")
    fields: dict[str, Any] = {
        "invoice_number": text("1187-B"),
        "issue_date": day(date(2025, 3, 3), "us"),
        "due_date": day(date(2025, 4, 2), "us"),
        "currency": Printed("$", "USD"),
        "supplier": {
            "name": text("Juniper Creek Catering Co."),
            "vat_id": None,
            "address": text("900 Nowhere Boulevard, Suite 12, Maple Bluff Falls"),
        },
        "customer": {"name": text("Quillmere Public Library")},
        "lines": lines,
        "net_total": amount(net, sign="$"),
        "tax_total": amount(sales, sign="$"),
        "total": amount(net + sales, sign="$"),
    }
    columns = [
        Column("ITEM", 66),
        Column("QTY", 330, "right"),
        Column("RATE", 424, "right"),
        Column("AMOUNT", 528, "right"),
    ]
    sheet = Sheet()
    sheet.text(298, 92, "Juniper Creek Catering Co.", "serif bold", 24, "center", (90, 50, 30))
    sheet.text(298, 112, "900 Nowhere Boulevard, Suite 12, Maple Bluff Falls", "serif", 10.5, "center")
    sheet.text(298, 126, "(555) 010-0417", "serif", 10.5, "center")
    sheet.line((60, 142), (535, 142), width=1.6, ink=(90, 50, 30))
    sheet.text(66, 184, "Invoice No. " + fields["invoice_number"].words, "serif bold", 13)
    sheet.text(
        66, 204, "Date: " + fields["issue_date"].words + "\nPayment due: " + fields["due_date"].words, "serif", 11.5
    )
    sheet.text(340, 184, "Bill To:", "serif bold", 11.5)
    sheet.text(340, 201, "Quillmere Public Library\n44 Lantern Street\nQuillmere", "serif", 11.5)
    sheet.area(60, 266, 475, 22, (238, 228, 216))
    heads(sheet, 281, columns, "serif bold", 10.5)
    y = rows(sheet, 312, columns, cells(lines, *NAMES), "serif", 12, 30)
    sheet.line((60, y - 14), (535, y - 14))
    for label, value, font in (
        ("Subtotal", "net_total", "serif"),
        ("Sales tax 8.25%", "tax_total", "serif"),
        ("Balance Due", "total", "serif bold"),
    ):
        y += 22
        sheet.text(424, y, label, font, 12.5, "right")
        sheet.text(528, y, fields[value].words, font, 12.5, "right")
    sheet.text(298, y + 80, "Thank you for having us!", "script", 22, "center", (90, 50, 30))
    sheet.hand(80, y + 150, "ok to pay - Winnie", "hand", 20)
    return Sample(
        "invoices/phone_exif.jpg",
        "invoice",
        "American invoice, a telephone's picture",
        "lies on its side until its EXIF tag is obeyed; slant, shadow, paper that waves",
        (sheet,),
        fields,
    )
