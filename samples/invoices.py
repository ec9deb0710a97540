"""The invoices: English, German, French and Chinese. Every company, person, place and number is invented."""

from datetime import date
from decimal import Decimal

from printed import Printed, amount, day, text
from sample import Column, Sample, cells, heads, priced, rows
from sheet import BLUE, GREY, RED, A4, Sheet

NAMES = ("description", "quantity", "unit_price", "amount")
PALE = (228, 233, 240)


def tax(net: Decimal, percent: str) -> Decimal:
    return (net * Decimal(percent) / 100).quantize(Decimal("0.01"))


def english() -> Sample:
    lines, net = priced(
        [
            ("Bourdon gauge 100 mm, 0-16 bar", "12", "38.40"), ("Bourdon gauge 63 mm, 0-10 bar", "8", "24.15"),
            ("Diaphragm seal, 1/2 in BSP\nstainless steel, with certificate", "6", "112.00"), ("Capillary line 2 m", "6", "31.75"),
            ("Isolating valve, brass", "20", "9.85"), ("Snubber insert 0.3 mm", "20", "2.10"),
            ("Level transmitter LT-440", "2", "684.00"), ("Mounting bracket, galvanised", "14", "6.45"),
            ("Cable gland M20", "40", "1.20"), ("Signal cable, screened, per metre", "125.5", "1.84"),
            ("Junction box IP66", "5", "27.30"), ("Temperature probe Pt100, 150 mm", "9", "46.90"),
            ("Thermowell, 1/2 in NPT", "9", "58.20"), ("Display unit, panel mounted", "3", "143.50"),
            ("Calibration on site, hours", "7.5", "72.00"), ("Travel, flat rate", "1", "85.00"),
            ("Spare gasket set", "25", "3.36"), ("Name plates, engraved", "16", "4.75"),
        ]
    )  # fmt: skip
    vat = tax(net, "20")
    fields = {
        "invoice_number": text("FIW-20417"), "issue_date": day(date(2025, 5, 19), "long"), "due_date": day(date(2025, 6, 18), "long"),
        "currency": Printed("GBP", "GBP"),
        "supplier": {"name": text("Fernhollow Instrument Works Ltd"), "vat_id": text("GB999040717"),
                     "address": text("14 Foxglove Lane, Millbrook-on-Tarn, ZX9 4QY")},
        "customer": {"name": text("Greywater Pumping Trust")},
        "lines": lines, "net_total": amount(net), "tax_total": amount(vat), "total": amount(net + vat, sign="£"),
    }  # fmt: skip
    columns = [Column("Description", 62), Column("Qty", 342, "right"), Column("Unit price", 430, "right"), Column("Amount", 533, "right")]
    first, second = Sheet(), Sheet()
    for number, sheet in enumerate((first, second), 1):
        sheet.area(0, 0, A4[0], 10, BLUE)
        sheet.text(62, 66, fields["supplier"]["name"].words, "sans bold", 15, ink=BLUE)
        sheet.text(62, 82, fields["supplier"]["address"].words, "sans", 8.5, ink=GREY)
        sheet.text(62, 800, "Fernhollow Instrument Works Ltd  ·  Registered in Tarnshire No. 00990099  ·  VAT No. GB999040717", size=7.5, ink=GREY)
        sheet.text(533, 800, f"Page {number} of 2", size=7.5, align="right", ink=GREY)
    first.text(533, 66, "INVOICE", "sans bold", 20, "right", GREY)
    first.text(62, 136, "Bill to", "sans bold", 8.5, ink=GREY)
    first.text(62, 152, fields["customer"]["name"].words + "\nAccounts Payable\nStation House, Lower Weir Road\nEddlesborough ZX2 1AB", size=10)
    for offset, (label, words) in enumerate(
        [("Invoice number", fields["invoice_number"].words), ("Invoice date", fields["issue_date"].words), ("Due date", fields["due_date"].words),
         ("Your order", "PO 88-1306"), ("Currency", "GBP")]
    ):  # fmt: skip
        first.text(360, 152 + 15 * offset, label, size=9, ink=GREY)
        first.text(533, 152 + 15 * offset, words, "sans bold", 9, "right")
    y = 262.0
    for sheet, part in ((first, lines[:13]), (second, lines[13:])):
        sheet.area(56, y - 13, 483, 19, PALE)
        heads(sheet, y, columns, ink=BLUE)
        y = rows(sheet, y + 24, columns, cells(part, *NAMES), size=9.5, pitch=33)
        sheet.line((56, y - 12), (539, y - 12), width=0.8, ink=BLUE)
        if sheet is first:
            sheet.text(533, y + 6, "continued on page 2", size=8.5, align="right", ink=GREY)
            y = 132.0
    for label, value, font in (("Net total", "net_total", "sans"), ("VAT 20%", "tax_total", "sans"), ("Total due", "total", "sans bold")):
        y += 20
        second.text(430, y, label, font, 10, "right")
        second.text(533, y, fields[value].words, font, 10, "right")
    second.text(62, y + 70, "Please pay to: Bank of Nowhere, sort code 99-00-99, account 00417700.\nQuote the invoice number. Goods remain ours until paid.", size=9)
    return Sample("invoices/english_two_pages.pdf", "invoice", "English invoice, born-digital PDF of two pages",
                  "lines go on over the page; text layer, no scan", (first, second), fields)  # fmt: skip


def german() -> Sample:
    style = "1.234,56"
    lines, net = priced(
        [
            ("Spannzange ER32, 12 mm", "15", "18.90"), ("Spannzange ER32, 16 mm", "10", "18.90"), ("Schaftfräser VHM 10 mm,\n4-schneidig, beschichtet", "24", "42.35"),
            ("Wendeplatte CNMG 120408", "100", "6.78"), ("Kühlschmierstoff KS 20, Kanister 25 l", "4", "139.00"), ("Messschieber 150 mm, digital", "3", "67.50"),
            ("Innensechskantschraube M8x40", "500", "0.21"), ("Gewindebohrer M6", "12", "14.95"), ("Gewindebohrer M10", "12", "19.40"),
            ("Zentrierbohrer Form A 3,15", "20", "5.60"), ("Parallelunterlagen, Satz", "2", "184.00"), ("Anschlagleiste 300 mm", "5", "33.25"),
            ("Putztücher, Karton", "6", "28.80"), ("Schutzbrille klar", "30", "4.95"), ("Montagestunden", "12.5", "78.00"), ("Fracht und Verpackung", "1", "96.50"),
        ], style, ",",
    )  # fmt: skip
    mwst = tax(net, "19")
    fields = {
        "invoice_number": text("RE-2025-03187"), "issue_date": day(date(2025, 3, 14), "%d.%m.%Y"), "due_date": day(date(2025, 4, 13), "%d.%m.%Y"),
        "currency": Printed("EUR", "EUR"),
        "supplier": {"name": text("Kaltbach Werkzeugbau GmbH"), "vat_id": text("DE999300771"),
                     "address": text("Am Erfundenen Anger 7, 09999 Musterau")},
        "customer": {"name": text("Rädermacher & Söhne KG")},
        "lines": lines, "net_total": amount(net, style), "tax_total": amount(mwst, style), "total": amount(net + mwst, style),
    }  # fmt: skip
    columns = [Column("Pos.", 70), Column("Bezeichnung", 100), Column("Menge", 330, "right"), Column("Einzelpreis", 420, "right"), Column("Betrag EUR", 528, "right")]
    first, second = Sheet(), Sheet()
    first.text(528, 74, "KALTBACH", "lato black", 26, "right", (60, 60, 64))
    first.text(528, 90, "Werkzeuge · Vorrichtungen · Sonderbau", "lato", 8.5, "right", GREY)
    first.text(70, 138, "Kaltbach Werkzeugbau GmbH · Am Erfundenen Anger 7, 09999 Musterau", "lato", 7.5)
    first.line((70, 141), (318, 141), width=0.4)
    first.text(70, 158, fields["customer"]["name"].words + "\nEinkauf\nHinter der Mühle 3\n09998 Beispielhausen", "lato", 10.5)
    first.text(70, 262, "Rechnung", "lato bold", 17)
    for offset, (label, words) in enumerate(
        [("Rechnungsnummer:", fields["invoice_number"].words), ("Rechnungsdatum:", fields["issue_date"].words), ("Kundennummer:", "40771"),
         ("Lieferdatum:", "11.03.2025"), ("Zahlbar bis:", fields["due_date"].words)]
    ):  # fmt: skip
        first.text(360, 172 + 15 * offset, label, "lato", 9.5)
        first.text(528, 172 + 15 * offset, words, "lato", 9.5, "right")
    first.text(70, 286, "Wir danken für Ihren Auftrag und berechnen wie folgt:", "lato", 9.5)
    carried = sum((line["amount"].value for line in lines[:11]), Decimal(0))
    for sheet, y, part, start in ((first, 316.0, lines[:11], 1), (second, 118.0, lines[11:], 12)):
        heads(sheet, y, columns, "lato bold", 9)
        sheet.line((70, y + 5), (528, y + 5), width=0.9)
        body = [[str(number), *row] for number, row in enumerate(cells(part, *NAMES), start)]
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
    for label, value, font in (("Nettobetrag", "net_total", "lato"), ("zzgl. 19 % MwSt.", "tax_total", "lato"), ("Gesamtbetrag", "total", "lato bold")):
        y += 17
        second.text(420, y, label, font, 10.5, "right")
        second.text(528, y, fields[value].words, font, 10.5, "right")
    second.line((330, y + 4), (528, y + 4), width=0.9)
    second.text(70, y + 60, "Zahlbar innerhalb von 30 Tagen ohne Abzug auf unser Konto bei der Fantasiebank Musterau,\nIBAN DE00 9999 0000 0000 0417 70.", "lato", 9.5)
    for sheet in (first, second):
        sheet.line((70, 778), (528, 778), width=0.4, ink=GREY)
        sheet.text(299, 790, "Kaltbach Werkzeugbau GmbH · Geschäftsführerin: Ottilie Nirgends · HRB 00999 Musterau · USt-IdNr. DE999300771", "lato", 7.5, "center", GREY)
    second.stamp(215, 640, 62, "BEZAHLT", "02. APR. 2025", ink=(190, 40, 45), degrees=11)
    first.hand(400, 128, "sachl. richtig  O.N.", "hand", 12)
    return Sample("invoices/german_scan.pdf", "invoice", "Rechnung, scanned PDF of two pages, paid stamp",
                  "carried sum (Übertrag) on both pages, comma decimals, skew, stamp, fold", (first, second), fields)  # fmt: skip


def french() -> Sample:
    style = "1 234,56"
    lines, net = priced(
        [("Terreau universel, sac 40 l", "60", "7.35"), ("Bulbes de tulipes, lot de 50", "22", "18.60"), ("Poterie émaillée, diamètre 30", "16", "24.90"),
         ("Tuyau d'arrosage 25 m", "4", "39.50"), ("Conseil et plantation, heures", "9", "44.00")], style, ",",
    )  # fmt: skip
    tva = tax(net, "20")
    fields = {
        "invoice_number": text("F2025-0093"), "issue_date": day(date(2025, 2, 7), "%d/%m/%Y"), "due_date": day(date(2025, 3, 9), "%d/%m/%Y"),
        "currency": Printed("€", "EUR"),
        "supplier": {"name": text("Pépinière du Val Songeur SARL"), "vat_id": text("FR99999040717"), "address": text("3 chemin des Brumes, 99120 Villefeinte")},
        "customer": {"name": text("Hôtel de la Lune Claire")},
        "lines": lines, "net_total": amount(net, style, " €"), "tax_total": amount(tva, style, " €"), "total": amount(net + tva, style, " €"),
    }  # fmt: skip
    columns = [Column("Désignation", 64), Column("Qté", 332, "right"), Column("P.U. HT", 420, "right"), Column("Montant HT", 530, "right")]
    sheet = Sheet()
    sheet.text(64, 92, "Pépinière du Val Songeur SARL", "garamond bold", 20, ink=(40, 90, 50))
    sheet.text(64, 110, "3 chemin des Brumes, 99120 Villefeinte\nTél. 09 99 00 41 77\nN° TVA FR99999040717", "garamond", 11.5)
    sheet.text(360, 180, "Facturé à", "garamond", 11, ink=GREY)
    sheet.text(360, 198, fields["customer"]["name"].words + "\n12 quai des Ombres\n99340 Port-Imaginaire", "garamond", 13)
    sheet.text(64, 282, "Facture n° " + fields["invoice_number"].words, "garamond bold", 16)
    sheet.text(64, 304, "Date de facture : " + fields["issue_date"].words + "\nDate d'échéance : " + fields["due_date"].words, "garamond", 12.5)
    sheet.line((60, 348), (534, 348), width=0.8)
    heads(sheet, 362, columns, "garamond bold", 12)
    sheet.line((60, 369), (534, 369), width=0.8)
    y = rows(sheet, 392, columns, cells(lines, *NAMES), "garamond", 12.5, 26)
    sheet.line((60, y - 10), (534, y - 10), width=0.8)
    for label, value, font in (("Total HT", "net_total", "garamond"), ("TVA 20 %", "tax_total", "garamond"), ("Total TTC", "total", "garamond bold")):
        y += 20
        sheet.text(420, y, label, font, 13, "right")
        sheet.text(530, y, fields[value].words, font, 13, "right")
    sheet.text(64, y + 70, "Règlement à 30 jours par virement. Pas d'escompte pour paiement anticipé.\nSARL au capital de 9 000 € - RCS Villefeinte 999 041 770", "garamond", 10.5, ink=GREY)
    sheet.hand(330, y + 130, "reçu le 10/02  - M.", "hand", 15, RED)
    return Sample("invoices/upside_down.jpg", "invoice", "Facture, one page, scanned upside down",
                  "turned by 180° and nothing in the file says so; French, blank as thousands sign", (sheet,), fields)  # fmt: skip


def catering() -> Sample:
    lines, net = priced(
        [("Lunch buffet, per guest", "85", "21.50"), ("Oat milk, 1 qt carton", "24", "3.15"), ("Coffee service, urns", "4", "62.00"),
         ("Dessert trays", "7", "38.75"), ("Table linen, rental", "18", "9.40"), ("Serving staff, hours", "22.5", "28.00")]
    )  # fmt: skip
    sales = tax(net, "8.25")
    fields = {
        "invoice_number": text("1187-B"), "issue_date": day(date(2025, 3, 3), "us"), "due_date": day(date(2025, 4, 2), "us"), "currency": Printed("$", "USD"),
        "supplier": {"name": text("Juniper Creek Catering Co."), "vat_id": None, "address": text("900 Nowhere Boulevard, Suite 12, Maple Bluff Falls")},
        "customer": {"name": text("Quillmere Public Library")},
        "lines": lines, "net_total": amount(net, sign="$"), "tax_total": amount(sales, sign="$"), "total": amount(net + sales, sign="$"),
    }  # fmt: skip
    columns = [Column("ITEM", 66), Column("QTY", 330, "right"), Column("RATE", 424, "right"), Column("AMOUNT", 528, "right")]
    sheet = Sheet()
    sheet.text(298, 92, "Juniper Creek Catering Co.", "serif bold", 24, "center", (90, 50, 30))
    sheet.text(298, 112, "900 Nowhere Boulevard, Suite 12, Maple Bluff Falls", "serif", 10.5, "center")
    sheet.text(298, 126, "(555) 010-0417", "serif", 10.5, "center")
    sheet.line((60, 142), (535, 142), width=1.6, ink=(90, 50, 30))
    sheet.text(66, 184, "Invoice No. " + fields["invoice_number"].words, "serif bold", 13)
    sheet.text(66, 204, "Date: " + fields["issue_date"].words + "\nPayment due: " + fields["due_date"].words, "serif", 11.5)
    sheet.text(340, 184, "Bill To:", "serif bold", 11.5)
    sheet.text(340, 201, "Quillmere Public Library\n44 Lantern Street\nQuillmere", "serif", 11.5)
    sheet.area(60, 266, 475, 22, (238, 228, 216))
    heads(sheet, 281, columns, "serif bold", 10.5)
    y = rows(sheet, 312, columns, cells(lines, *NAMES), "serif", 12, 30)
    sheet.line((60, y - 14), (535, y - 14))
    for label, value, font in (("Subtotal", "net_total", "serif"), ("Sales tax 8.25%", "tax_total", "serif"), ("Balance Due", "total", "serif bold")):
        y += 22
        sheet.text(424, y, label, font, 12.5, "right")
        sheet.text(528, y, fields[value].words, font, 12.5, "right")
    sheet.text(298, y + 80, "Thank you for having us!", "script", 22, "center", (90, 50, 30))
    sheet.hand(80, y + 150, "ok to pay - Winnie", "hand", 20)
    return Sample("invoices/phone_exif.jpg", "invoice", "American invoice, a telephone's picture",
                  "lies on its side until its EXIF tag is obeyed; slant, shadow, paper that waves", (sheet,), fields)  # fmt: skip
