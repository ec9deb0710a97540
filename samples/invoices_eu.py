"""The German and French invoices. Every company, person, place and number is invented."""

from datetime import date
from decimal import Decimal
from typing import Any

from invoices import NAMES, tax
from printed import Printed, amount, day, text
from sample import Column, Sample, cells, heads, priced, rows
from sheet import GREY, RED, Sheet


def german() -> Sample:
    style = "1.234,56"
    lines, net = priced(
        """
            Spannzange ER32, 12 mm | 15 | 18.90
            Spannzange ER32, 16 mm | 10 | 18.90
            Schaftfräser VHM 10 mm, // 4-schneidig, beschichtet | 24 | 42.35
            Wendeplatte CNMG 120408 | 100 | 6.78
            Kühlschmierstoff KS 20, Kanister 25 l | 4 | 139.00
            Messschieber 150 mm, digital | 3 | 67.50
            Innensechskantschraube M8x40 | 500 | 0.21
            Gewindebohrer M6 | 12 | 14.95
            Gewindebohrer M10 | 12 | 19.40
            Zentrierbohrer Form A 3,15 | 20 | 5.60
            Parallelunterlagen, Satz | 2 | 184.00
            Anschlagleiste 300 mm | 5 | 33.25
            Putztücher, Karton | 6 | 28.80
            Schutzbrille klar | 30 | 4.95
            Montagestunden | 12.5 | 78.00
            Fracht und Verpackung | 1 | 96.50
        """,
        style,
        ",",
    )
    mwst = tax(net, "19")
    fields: dict[str, Any] = {
        "invoice_number": text("RE-2025-03187"),
        "issue_date": day(date(2025, 3, 14), "%d.%m.%Y"),
        "due_date": day(date(2025, 4, 13), "%d.%m.%Y"),
        "currency": Printed("EUR", "EUR"),
        "supplier": {
            "name": text("Kaltbach Werkzeugbau GmbH"),
            "vat_id": text("DE999300771"),
            "address": text("Am Erfundenen Anger 7, 09999 Musterau"),
        },
        "customer": {"name": text("Rädermacher & Söhne KG")},
        "lines": lines,
        "net_total": amount(net, style),
        "tax_total": amount(mwst, style),
        "total": amount(net + mwst, style),
    }
    columns = [
        Column("Pos.", 70),
        Column("Bezeichnung", 100),
        Column("Menge", 330, "right"),
        Column("Einzelpreis", 420, "right"),
        Column("Betrag EUR", 528, "right"),
    ]
    first, second = Sheet(), Sheet()
    first.text(528, 74, "KALTBACH", "lato black", 26, "right", (60, 60, 64))
    first.text(528, 90, "Werkzeuge · Vorrichtungen · Sonderbau", "lato", 8.5, "right", GREY)
    first.text(70, 138, "Kaltbach Werkzeugbau GmbH · Am Erfundenen Anger 7, 09999 Musterau", "lato", 7.5)
    first.line((70, 141), (318, 141), width=0.4)
    first.text(
        70, 158, fields["customer"]["name"].words + "\nEinkauf\nHinter der Mühle 3\n09998 Beispielhausen", "lato", 10.5
    )
    first.text(70, 262, "Rechnung", "lato bold", 17)
    for offset, (label, words) in enumerate(
        [
            ("Rechnungsnummer:", fields["invoice_number"].words),
            ("Rechnungsdatum:", fields["issue_date"].words),
            ("Kundennummer:", "40771"),
            ("Lieferdatum:", "11.03.2025"),
            ("Zahlbar bis:", fields["due_date"].words),
        ]
    ):
        first.text(360, 172 + 15 * offset, label, "lato", 9.5)
        first.text(528, 172 + 15 * offset, words, "lato", 9.5, "right")
    first.text(70, 286, "Wir danken für Ihren Auftrag und berechnen wie folgt:", "lato", 9.5)
    carried = sum((line["amount"].value for line in lines[:11]), Decimal(0))
    for sheet, y, part, start in ((first, 316.0, lines[:11], 1), (second, 118.0, lines[11:], 12)):
        heads(sheet, y, columns, "lato bold", 9)
        sheet.line((70, y + 5), (528, y + 5), width=0.9)
        body: list[list[Printed | str | None]] = [
            [str(number), *row] for number, row in enumerate(cells(part, *NAMES), start)
        ]
        if sheet is second:
            sheet.text(70, y + 22, "Übertrag von Seite 1", "lato", 9.5)
            sheet.text(528, y + 22, amount(carried, style).words, "lato", 9.5, "right")
            y += 28
        y = rows(sheet, y + 24, columns, body, "lato", 9.8, 30)
        sheet.line((70, y - 14), (528, y - 14), width=0.5)
        if sheet is first:
            sheet.text(420, y + 4, "Übertrag", "lato", 9.5, "right")
            sheet.text(528, y + 4, amount(carried, style).words, "lato", 9.5, "right")
    second.text(70, 76, "Rechnung RE-2025-03187, Seite 2", "lato", 9.5, ink=GREY)
    for label, value, font in (
        ("Nettobetrag", "net_total", "lato"),
        ("zzgl. 19 % MwSt.", "tax_total", "lato"),
        ("Gesamtbetrag", "total", "lato bold"),
    ):
        y += 17
        second.text(420, y, label, font, 10.5, "right")
        second.text(528, y, fields[value].words, font, 10.5, "right")
    second.line((330, y + 4), (528, y + 4), width=0.9)
    second.text(
        70,
        y + 60,
        "Zahlbar innerhalb von 30 Tagen ohne Abzug auf unser Konto bei der Fantasiebank Musterau,\n"
        "IBAN DE00 9999 0000 0000 0417 70.",
        "lato",
        9.5,
    )
    for sheet in (first, second):
        sheet.line((70, 778), (528, 778), width=0.4, ink=GREY)
        sheet.text(
            299,
            790,
            "Kaltbach Werkzeugbau GmbH · Geschäftsführerin: Ottilie Nirgends · "
            "HRB 00999 Musterau · USt-IdNr. DE999300771",
            "lato",
            7.5,
            "center",
            GREY,
        )
    second.stamp(215, 640, 62, "BEZAHLT", "02. APR. 2025", ink=(190, 40, 45), degrees=11)
    first.hand(400, 128, "sachl. richtig  O.N.", "hand", 12)
    return Sample(
        "invoices/german_scan.pdf",
        "invoice",
        "Rechnung, scanned PDF of two pages, paid stamp",
        "carried sum (Übertrag) on both pages, comma decimals, skew, stamp, fold",
        (first, second),
        fields,
    )


def french() -> Sample:
    style = "1 234,56"
    lines, net = priced(
        """
            Terreau universel, sac 40 l | 60 | 7.35
            Bulbes de tulipes, lot de 50 | 22 | 18.60
            Poterie émaillée, diamètre 30 | 16 | 24.90
            Tuyau d'arrosage 25 m | 4 | 39.50
            Conseil et plantation, heures | 9 | 44.00
        """,
        style,
        ",",
    )
    tva = tax(net, "20")
    fields: dict[str, Any] = {
        "invoice_number": text("F2025-0093"),
        "issue_date": day(date(2025, 2, 7), "%d/%m/%Y"),
        "due_date": day(date(2025, 3, 9), "%d/%m/%Y"),
        "currency": Printed("€", "EUR"),
        "supplier": {
            "name": text("Pépinière du Val Songeur SARL"),
            "vat_id": text("FR99999040717"),
            "address": text("3 chemin des Brumes, 99120 Villefeinte"),
        },
        "customer": {"name": text("Hôtel de la Lune Claire")},
        "lines": lines,
        "net_total": amount(net, style, " €"),
        "tax_total": amount(tva, style, " €"),
        "total": amount(net + tva, style, " €"),
    }
    columns = [
        Column("Désignation", 64),
        Column("Qté", 332, "right"),
        Column("P.U. HT", 420, "right"),
        Column("Montant HT", 530, "right"),
    ]
    sheet = Sheet()
    sheet.text(64, 92, "Pépinière du Val Songeur SARL", "garamond", 23, ink=(40, 90, 50))
    sheet.text(
        64, 110, "3 chemin des Brumes, 99120 Villefeinte\nTél. 09 99 00 41 77\nN° TVA FR99999040717", "garamond", 11.5
    )
    sheet.text(360, 180, "Facturé à", "garamond", 11, ink=GREY)
    sheet.text(
        360, 198, fields["customer"]["name"].words + "\n12 quai des Ombres\n99340 Port-Imaginaire", "garamond", 13
    )
    sheet.text(64, 282, "Facture n° " + fields["invoice_number"].words, "garamond", 17)
    sheet.text(
        64,
        304,
        "Date de facture : " + fields["issue_date"].words + "\nDate d'échéance : " + fields["due_date"].words,
        "garamond",
        12.5,
    )
    sheet.line((60, 348), (534, 348), width=0.8)
    heads(sheet, 362, columns, "serif bold", 10.5)
    sheet.line((60, 369), (534, 369), width=0.8)
    y = rows(sheet, 392, columns, cells(lines, *NAMES), "garamond", 12.5, 26)
    sheet.line((60, y - 10), (534, y - 10), width=0.8)
    for label, value, font in (
        ("Total HT", "net_total", "garamond"),
        ("TVA 20 %", "tax_total", "garamond"),
        ("Total TTC", "total", "garamond"),
    ):
        y += 20
        sheet.text(420, y, label, font, 13, "right")
        sheet.text(530, y, fields[value].words, font, 13, "right")
    sheet.text(
        64,
        y + 70,
        "Règlement à 30 jours par virement. Pas d'escompte pour paiement anticipé.\n"
        "SARL au capital de 9 000 € - RCS Villefeinte 999 041 770",
        "garamond",
        10.5,
        ink=GREY,
    )
    sheet.hand(330, y + 130, "reçu le 10/02  - M.", "hand", 15, RED)
    return Sample(
        "invoices/upside_down.jpg",
        "invoice",
        "Facture, one page, scanned upside down",
        "turned by 180° and nothing in the file says so; French, blank as thousands sign",
        (sheet,),
        fields,
    )
