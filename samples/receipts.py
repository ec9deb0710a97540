"""The English, Malaysian and Chinese receipts. Every shop, address and number is invented."""

from datetime import date, time
from decimal import Decimal
from typing import Any

from printed import Printed, amount, clock, count, day, text
from sample import Sample, listed
from sheet import Sheet

Line = dict[str, Printed]
WIDTH = 226.0  # 80 mm paper


def bought(items: str, style: str = "1,234.56") -> tuple[list[Line], Decimal]:
    """Lines from rows of description | quantity | price of one; and their sum."""
    lines = [
        {"description": text(name), "quantity": count(number), "amount": amount(int(number) * Decimal(price), style)}
        for name, number, price in listed(items)
    ]
    return lines, sum((line["amount"].value for line in lines), Decimal(0))


def cafe() -> Sample:
    lines, total = bought("""
            Flat white | 2 | 3.60
            Pot of Assam | 1 | 3.20
            Eggs on sourdough | 1 | 9.75
            Mushroom tartine | 1 | 10.50
            Carrot cake | 2 | 4.25
            Sparkling water | 1 | 2.90
        """)
    inside = (total - total / Decimal("1.2")).quantize(Decimal("0.01"))
    fields: dict[str, Any] = {
        "company": text("The Copper Kettle"),
        "address": text("27 Weaver's Row, Little Haddenwick, ZX4 7LM"),
        "phone": text("09990 417 700"),
        "date": day(date(2025, 2, 14), "%d/%m/%Y"),
        "time": clock(time(11, 42)),
        "lines": lines,
        "currency": Printed("£", "GBP"),
        "subtotal": amount(total),
        "tax": amount(inside),
        "total": amount(total, sign="£"),
        "payment": Printed("VISA", "card"),
    }
    sheet, mid = Sheet(WIDTH, 452), WIDTH / 2
    sheet.text(mid, 36, "The Copper Kettle", "script", 23, "center")
    sheet.text(mid, 54, "27 Weaver's Row\nLittle Haddenwick, ZX4 7LM\nTel. 09990 417 700", "till", 8.5, "center")
    sheet.text(16, 104, "Table 7", "till", 9)
    sheet.text(210, 104, "14/02/2025 11:42", "till", 9, "right")
    sheet.text(mid, 118, "-" * 36, "till", 9, "center")
    y = 134.0
    for line in lines:
        sheet.text(16, y, f"{line['quantity'].words} {line['description'].words}", "till", 9.5)
        sheet.text(210, y, line["amount"].words, "till", 9.5, "right")
        y += 17
    sheet.text(mid, y, "-" * 36, "till", 9, "center")
    for label, value, font, size in (("Subtotal", "subtotal", "till", 9.5), ("TOTAL", "total", "till bold", 14)):
        y += 21
        sheet.text(16, y, label, font, size)
        sheet.text(210, y, fields[value].words, font, size, "right")
    sheet.text(16, y + 22, "VAT 20% incl.", "till", 9)
    sheet.text(210, y + 22, fields["tax"].words, "till", 9, "right")
    sheet.text(16, y + 40, "VISA **** **** **** 0417", "till", 9)
    sheet.text(210, y + 56, "APPROVED", "till", 9, "right")
    sheet.text(mid, y + 92, "Service is not included.\nSee you again!", "till", 9, "center")
    return Sample(
        "receipts/cafe_slanted.jpg",
        "receipt",
        "café receipt on a wooden table",
        "photographed at a slant, a hand's shadow across the lower half",
        (sheet,),
        fields,
    )


def supermarket() -> Sample:
    lines, total = bought(
        """
            BERAS WANGI 5KG | 1 | 32.90
            TELUR GRED A 30S | 1 | 14.40
            SUSU SEGAR 1L | 2 | 7.50
            ROTI GANDUM | 1 | 4.20
            BAWANG BESAR KG | 1 | 3.85
            KENTANG KG | 1 | 4.60
            LOBAK MERAH | 1 | 3.10
            TOMATO 500G | 2 | 2.95
            SAWI MANIS | 1 | 2.40
            CILI MERAH 200G | 1 | 3.30
            AYAM SEGAR | 1 | 18.75
            IKAN TENGGIRI | 1 | 27.58
            SOS TIRAM | 1 | 6.80
            KICAP MANIS | 1 | 5.95
            MINYAK MASAK 2KG | 1 | 13.90
            GULA HALUS 1KG | 2 | 2.85
            TEPUNG GANDUM 1KG | 1 | 3.20
            KOPI O 20S | 1 | 9.90
            TEH UNCANG 100S | 1 | 11.50
            BISKUT LEMAK | 1 | 5.40
            MEE KUNING | 2 | 1.80
            TAUFU | 3 | 1.50
            LIMAU NIPIS | 1 | 2.75
            PISANG MAS | 1 | 4.35
            EPAL FUJI 6S | 1 | 8.90
            SABUN CUCI 2KG | 1 | 15.60
            PENCUCI PINGGAN | 1 | 6.25
            TISU MUKA 5S | 1 | 10.90
            UBAT GIGI | 2 | 8.45
            SYAMPU 340ML | 1 | 16.30
            BATERI AA 4S | 1 | 12.80
            BEG SAMPAH L | 1 | 5.70
        """
    )
    inside = (total * 6 / 106).quantize(Decimal("0.01"))
    rounded = (total * 20).quantize(Decimal("1")) / 20
    fields: dict[str, Any] = {
        "company": text("PASAR RAYA BINTANG SENJA SDN BHD"),
        "address": text("LOT 41-G, JALAN ANGAN-ANGAN 7, TAMAN IMPIAN KHAYAL, 09900 BANDAR REKAAN"),
        "phone": text("09-990 4177"),
        "date": day(date(2024, 12, 28), "%d-%m-%Y"),
        "time": clock(time(19, 6, 33), "%H:%M:%S"),
        "lines": lines,
        "currency": Printed("RM", "MYR"),
        "subtotal": amount(total),
        "tax": amount(inside),
        "total": amount(rounded),
        "payment": Printed("CASH", "cash"),
    }
    sheet, mid = Sheet(WIDTH, 760), WIDTH / 2
    sheet.text(mid, 30, "PASAR RAYA BINTANG SENJA\nSDN BHD", "mono bold", 12, "center")
    sheet.text(
        mid,
        60,
        "(99041-X)\nLOT 41-G, JALAN ANGAN-ANGAN 7,\nTAMAN IMPIAN KHAYAL,\n09900 BANDAR REKAAN\nTEL: 09-990 4177",
        "mono",
        9,
        "center",
    )
    sheet.text(mid, 128, "TAX INVOICE", "mono bold", 11, "center")
    sheet.text(14, 146, "DATE: 28-12-2024  TIME: 19:06:33\nCASHIER: 03 LELA   BILL: 0041770", "mono", 9)
    sheet.text(14, 180, "ITEM               QTY    RM", "mono bold", 9)
    sheet.line((14, 184), (212, 184))
    y = 197.0
    for line in lines:
        sheet.text(14, y, line["description"].words, "mono", 9.2)
        sheet.text(138, y, line["quantity"].words, "mono", 9.2, "right")
        sheet.text(212, y, line["amount"].words, "mono", 9.2, "right")
        y += 13.2
    sheet.line((14, y - 8), (212, y - 8))
    paid = Decimal(400) if rounded <= 400 else Decimal(450)
    for label, words, font in (
        ("SUBTOTAL", fields["subtotal"].words, "mono"),
        ("ROUNDING ADJ", amount(rounded - total).words, "mono"),
        ("TOTAL RM", fields["total"].words, "mono bold"),
        ("CASH", amount(paid).words, "mono"),
        ("CHANGE", amount(paid - rounded).words, "mono"),
    ):
        y += 13.5
        sheet.text(14, y - 6, label, font, 10.5 if "bold" in font else 9.5)
        sheet.text(212, y - 6, words, font, 10.5 if "bold" in font else 9.5, "right")
    sheet.text(14, y + 14, f"SST 6% INCLUDED      {fields['tax'].words:>10}", "mono", 9)
    sheet.text(mid, y + 36, "TERIMA KASIH\nGOODS SOLD ARE NOT RETURNABLE", "mono", 8.5, "center")
    return Sample(
        "receipts/supermarket_long.jpg",
        "receipt",
        "long till receipt, Malaysian supermarket",
        "32 lines, faded thermal print, weak columns, rounding, cash and change",
        (sheet,),
        fields,
    )


def corner_shop() -> Sample:
    lines, total = bought(
        """
            农家鲜牛奶950ml | 2 | 12.80
            全麦吐司 | 1 | 9.90
            乌龙茶500ml | 3 | 4.50
            卤味拼盘 | 1 | 26.80
            抽纸3包 | 1 | 15.90
            柠檬糖 | 2 | 3.60
        """
    )
    fields: dict[str, Any] = {
        "company": text("半山便利店"),
        "address": text("青岚市竹里区听风路88号"),
        "phone": text("0999-4177088"),
        "date": day(date(2025, 1, 9), "%Y-%m-%d"),
        "time": clock(time(21, 35, 12), "%H:%M:%S"),
        "lines": lines,
        "currency": Printed("¥", "CNY"),
        "subtotal": None,
        "tax": None,
        "total": amount(total, sign="¥"),
        "payment": Printed("微信支付", "mobile"),
    }
    sheet, mid = Sheet(WIDTH, 420), WIDTH / 2
    sheet.text(mid, 40, "半山便利店", "hei bold", 18, "center")
    sheet.text(mid, 60, "欢迎光临", "hei", 10, "center")
    sheet.text(14, 84, "单号:20250109004177\n日期:2025-01-09 21:35:12\n收银员:小满", "hei", 10, leading=1.5)
    sheet.text(14, 138, "商品", "hei", 10)
    sheet.text(150, 138, "数量", "hei", 10, "right")
    sheet.text(212, 138, "金额", "hei", 10, "right")
    sheet.line((14, 143), (212, 143))
    y = 160.0
    for line in lines:
        sheet.text(14, y, line["description"].words, "hei", 10.5)
        sheet.text(150, y, line["quantity"].words, "hei", 10.5, "right")
        sheet.text(212, y, line["amount"].words, "hei", 10.5, "right")
        y += 18
    sheet.line((14, y - 10), (212, y - 10))
    sheet.text(14, y + 6, f"件数:{sum(line['quantity'].value for line in lines)}", "hei", 10)
    sheet.text(14, y + 28, "合计", "hei bold", 14)
    sheet.text(212, y + 28, fields["total"].words, "hei bold", 14, "right")
    sheet.text(14, y + 48, "微信支付", "hei", 10.5)
    sheet.text(212, y + 48, amount(total).words, "hei", 10.5, "right")
    sheet.text(14, y + 80, "电话:0999-4177088\n地址:青岚市竹里区听风路88号", "hei", 10, leading=1.5)
    sheet.text(mid, y + 126, "请保留小票,谢谢惠顾", "hei", 9.5, "center")
    return Sample(
        "receipts/corner_shop.webp",
        "receipt",
        "小票 of a corner shop, WEBP",
        "slanted the other way, warm lamp light, address at the foot",
        (sheet,),
        fields,
    )
