"""The German and Spanish receipts. Every shop, address and number is invented."""

from datetime import date, time
from decimal import Decimal
from typing import Any

from printed import Printed, amount, clock, count, day, text
from receipts import WIDTH, bought
from sample import Sample
from sheet import Sheet


def bakery() -> Sample:
    style = "1.234,56"
    lines, total = bought(
        """
            Roggenmischbrot 1 kg | 1 | 4.80
            Laugenbrezel | 4 | 0.95
            Butterhörnchen | 3 | 1.45
            Käsekuchen | 2 | 3.20
            Filterkaffee groß | 1 | 2.90
        """,
        style,
    )
    inside = (total * 7 / 107).quantize(Decimal("0.01"))
    fields: dict[str, Any] = {
        "company": text("Bäckerei Morgenrot GmbH"),
        "address": text("Lindenzeile 12, 09997 Traumstadt"),
        "phone": text("0999 / 41 77 0"),
        "date": day(date(2025, 4, 5), "%d.%m.%Y"),
        "time": clock(time(8, 17)),
        "lines": lines,
        "currency": Printed("EUR", "EUR"),
        "subtotal": amount(total - inside, style),
        "tax": amount(inside, style),
        "total": amount(total, style),
        "payment": Printed("Bar", "cash"),
    }
    given = Decimal(50)
    sheet, mid = Sheet(WIDTH, 430), WIDTH / 2
    sheet.text(mid, 36, "Bäckerei Morgenrot GmbH", "typewriter bold", 13, "center")
    sheet.text(mid, 52, "Lindenzeile 12\n09997 Traumstadt\nTel. 0999 / 41 77 0", "typewriter", 10, "center")
    sheet.text(mid, 102, "Steuer-Nr. 999/041/7700", "typewriter", 9, "center")
    sheet.text(212, 128, "EUR", "typewriter", 10.5, "right")
    y = 145.0
    for line in lines:
        sheet.text(14, y, f"{line['quantity'].words} x {line['description'].words}", "typewriter", 10.5)
        sheet.text(212, y, line["amount"].words, "typewriter", 10.5, "right")
        y += 17.5
    sheet.line((14, y - 9), (212, y - 9), width=0.9)
    for label, words, size in (
        ("SUMME EUR", fields["total"].words, 13.5),
        ("Bar", amount(given, style).words, 10.5),
        ("Rückgeld", amount(given - total, style).words, 10.5),
    ):
        y += 17
        sheet.text(14, y - 6, label, "typewriter bold" if size > 12 else "typewriter", size)
        sheet.text(212, y - 6, words, "typewriter bold" if size > 12 else "typewriter", size, "right")
    sheet.text(14, y + 20, f"MwSt 7%   Netto {fields['subtotal'].words}", "typewriter", 10)
    sheet.text(212, y + 20, fields["tax"].words, "typewriter", 10, "right")
    sheet.text(14, y + 48, "05.04.2025   08:17 Uhr   Bon 4177", "typewriter", 10)
    sheet.text(mid, y + 74, "Vielen Dank und guten Morgen!", "typewriter", 10, "center")
    return Sample(
        "receipts/bakery_crumpled.jpg",
        "receipt",
        "Kassenbon of a bakery",
        "crumpled and folded, on dark stone, cash and change near the sum",
        (sheet,),
        fields,
    )


def fuel() -> Sample:
    style, litres, price = "1.234,56", Decimal("38.46"), Decimal("1.529")
    total = (litres * price).quantize(Decimal("0.01"))
    net = (total / Decimal("1.21")).quantize(Decimal("0.01"))
    line = {"description": text("GASOLINA 95"), "quantity": count(litres, ","), "amount": amount(total, style)}
    fields: dict[str, Any] = {
        "company": text("Estación El Espejismo S.L."),
        "address": text("Ctra. de la Nada km 41,7, 09994 Villa Quimera"),
        "phone": text("999 041 770"),
        "date": day(date(2025, 5, 30), "%d/%m/%y"),
        "time": clock(time(16, 24)),
        "lines": [line],
        "currency": Printed("EUR", "EUR"),
        "subtotal": amount(net, style),
        "tax": amount(total - net, style),
        "total": amount(total, style),
        "payment": Printed("TARJETA", "card"),
    }
    sheet, mid = Sheet(WIDTH, 330), WIDTH / 2
    sheet.text(mid, 30, "Estación El Espejismo S.L.", "till bold", 10.5, "center")
    sheet.text(
        mid,
        46,
        "Ctra. de la Nada km 41,7\n09994 Villa Quimera\nTel. 999 041 770   CIF B99041770",
        "till",
        8.5,
        "center",
    )
    sheet.text(14, 94, "Fecha: 30/05/25   Hora: 16:24\nTicket: 000417-B   Surtidor: 7", "till", 9, leading=1.5)
    sheet.text(14, 130, "Producto        Litros     Importe", "till bold", 9)
    sheet.line((14, 135), (212, 135))
    sheet.text(14, 150, "GASOLINA 95", "till", 9)
    sheet.text(132, 150, line["quantity"].words, "till", 9, "right")
    sheet.text(212, 150, line["amount"].words, "till", 9, "right")
    sheet.text(14, 165, "Precio/litro 1,529", "till", 9)
    y = 190.0
    for label, value in (("Base imponible", "subtotal"), ("IVA 21%", "tax")):
        sheet.text(14, y, label, "till", 9)
        sheet.text(212, y, fields[value].words, "till", 9, "right")
        y += 16
    sheet.text(14, y + 8, "TOTAL EUR", "till bold", 13)
    sheet.text(212, y + 8, fields["total"].words, "till bold", 13, "right")
    sheet.text(14, y + 32, "TARJETA ************0417", "till", 9)
    sheet.text(mid, y + 66, "GRACIAS POR SU VISITA\nBuen viaje", "till", 9, "center")
    return Sample(
        "receipts/fuel_faded.jpg",
        "receipt",
        "Spanish fuel receipt, scanned",
        "pale ink, a crease down the middle, tax before the sum, two-digit year",
        (sheet,),
        fields,
    )
