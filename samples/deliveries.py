"""The delivery notes: German, English and Chinese. Every company, person, place and number is invented."""

from datetime import date
from typing import Any

from printed import Printed, count, day, text
from sample import Column, Sample, cells, heads, listed, rows
from sheet import GREY, Sheet


def lieferschein() -> Sample:
    lines = goods(
        """
            HB-1010 | Buchenholzplatte 18 mm, 2,5 x 1,25 m | 12 | Stk
            HB-1044 | Eichenleiste 20 x 40 mm | 150 | m
            LK-2207 | Holzleim wasserfest, Eimer 10 kg | 4 | Eimer
            SR-0835 | Spanplattenschraube 4x50 | 20 | Pack
            SP-3120 | Schleifband K120 | 60 | Stk
            BS-0096 | Topfscharnier 110° | 96 | Stk
            GL-0700 | Parkettlack seidenmatt | 7.5 | l
        """,
        ",",
    )
    fields = delivery(
        "LS-77014",
        day(date(2025, 5, 22), "%d.%m.%Y"),
        "B-4417",
        "Holzkontor Auenblick GmbH",
        "Tischlerei Wunderlich & Tochter",
        lines,
        "H. Wunderlich",
    )
    sheet = Sheet()
    sheet.text(66, 84, "Holzkontor Auenblick GmbH", "sans bold", 17)
    sheet.text(66, 101, "Flößerweg 21 · 09996 Auenblick · Tel. 0999 417 70", "sans", 9, ink=GREY)
    sheet.line((66, 110), (530, 110), width=1.4)
    sheet.text(66, 160, "Tischlerei Wunderlich & Tochter\nSpäneallee 5\n09995 Hobelheim", "sans", 11)
    sheet.text(66, 262, "LIEFERSCHEIN", "sans bold", 18)
    for offset, (label, value) in enumerate(
        (
            ("Lieferschein-Nr.:", "delivery_number"),
            ("Lieferdatum:", "delivery_date"),
            ("Bestellnummer:", "order_number"),
        )
    ):
        sheet.text(350, 160 + 18 * offset, label, "sans", 10.5)
        sheet.text(530, 160 + 18 * offset, fields[value].words, "sans", 10.5, "right")
    columns = [
        Column("Pos.", 70),
        Column("Artikelnr.", 106),
        Column("Bezeichnung", 186),
        Column("Menge", 440, "right"),
        Column("Einheit", 470),
    ]
    heads(sheet, 302, columns, "sans bold", 10)
    sheet.line((66, 308), (530, 308))
    y = rows(
        sheet,
        330,
        columns,
        [[str(n), *row] for n, row in enumerate(cells(lines, "article_number", "description", "quantity", "unit"), 1)],
        "sans",
        10.5,
        28,
    )
    sheet.line((66, y - 12), (530, y - 12))
    sheet.text(66, y + 18, "Ware bitte sofort prüfen. Keine Preise auf diesem Beleg.", "sans", 10)
    sheet.text(66, y + 118, "Ware vollständig erhalten:", "sans", 10.5)
    sheet.hand(214, y + 116, "H. Wunderlich", "hand", 23)
    sheet.line((205, y + 122), (400, y + 122), width=0.5)
    sheet.text(205, y + 134, "Datum, Unterschrift", "sans", 8, ink=GREY)
    sheet.hand(420, y + 116, "22.5.25", "hand", 18)
    sheet.stamp(430, 664, 66, "WARENEINGANG", "22. MAI 2025", ink=(40, 60, 150), degrees=-8)
    return Sample(
        "delivery_notes/lieferschein.jpg",
        "delivery_note",
        "Lieferschein, grey scan",
        "signed and stamped over, folded, comma decimals, skew",
        (sheet,),
        fields,
    )


def turned() -> Sample:
    lines = goods("""
            QX-41 | Hex bolt M12 x 60, zinc plated | 400 | pcs
            QX-77 | Lock washer M12 | 400 | pcs
            RL-05 | Roller chain 08B-1, 5 m box | 6 | box
            GB-210 | Gear oil ISO 220, drum 20 l | 3 | drum
            BT-118 | V-belt SPA 1180 | 24 | pcs
        """)
    fields = delivery(
        "DN 60417",
        day(date(2025, 6, 30), "%d %b %Y"),
        "PO-3308",
        "Thistlemoor Bearings & Drives",
        "Saltmarsh Biscuit Works",
        lines,
        "T. Oakes",
    )
    sheet = Sheet()
    sheet.text(298, 86, "DELIVERY NOTE", "typewriter bold", 22, "center")
    sheet.frame(60, 106, 228, 92)
    sheet.text(70, 122, "From", "typewriter", 9.5, ink=GREY)
    sheet.text(
        70, 140, "Thistlemoor Bearings & Drives\nUnit 9, Imaginary Trading Park\nThistlemoor ZX8 5TT", "typewriter", 11
    )
    sheet.frame(306, 106, 228, 92)
    sheet.text(316, 122, "Deliver to", "typewriter", 9.5, ink=GREY)
    sheet.text(316, 140, "Saltmarsh Biscuit Works\nGoods In, Gate 2\nSaltmarsh ZX8 7BW", "typewriter", 11)
    sheet.text(
        64,
        234,
        "Delivery note no.: DN 60417\nDelivery date:     30 Jun 2025\nYour order no.:    PO-3308",
        "typewriter",
        12,
        leading=1.5,
    )
    columns = [Column("Article", 64), Column("Description", 140), Column("Quantity", 446, "right"), Column("Unit", 470)]
    sheet.line((60, 302), (534, 302), width=1)
    heads(sheet, 318, columns, "typewriter bold", 11.5)
    sheet.line((60, 326), (534, 326), width=1)
    y = rows(
        sheet, 350, columns, cells(lines, "article_number", "description", "quantity", "unit"), "typewriter", 11.5, 30
    )
    sheet.line((60, y - 14), (534, y - 14), width=1)
    sheet.text(64, y + 20, "2 pallets, 318 kg gross. Driver: Bram", "typewriter", 11)
    sheet.text(64, y + 110, "Received by:", "typewriter", 12)
    sheet.hand(160, y + 108, "T. Oakes", "hand round", 26, (20, 20, 24))
    sheet.line((152, y + 115), (330, y + 115), width=0.6)
    sheet.hand(360, y + 70, "1 drum dented!", "hand round", 18, (20, 20, 24))
    return Sample(
        "delivery_notes/turned_90.png",
        "delivery_note",
        "typewritten delivery note, PNG of 16 greys",
        "fed in sideways (90°) and nothing in the file says so; palette picture",
        (sheet,),
        fields,
    )


def songhuodan() -> Sample:
    lines = goods(
        """
            CJ-001 | 陶瓷花盆 直径20cm | 36 | 个
            CJ-014 | 紫砂茶壶 | 12 | 把
            BZ-203 | 气泡膜 50米 | 5 | 卷
            BZ-118 | 五层纸箱 | 80 | 只
            CJ-077 | 青花瓷碗 | 240 | 只
            MJ-009 | 竹编托盘 | 18 | 件
        """
    )
    fields = delivery(
        "SH-20241025-17",
        day(date(2024, 10, 25), "zh"),
        "DD-8830417",
        "清窑镇拾陶瓷器厂",
        "烟渚市小重山百货商行",
        lines,
        "江晚吟",
    )
    sheet = Sheet(595, 420)
    sheet.text(298, 50, "清窑镇拾陶瓷器厂", "ming", 19, "center")
    sheet.text(298, 76, "送 货 单", "ming", 17, "center")
    sheet.text(46, 102, "收货单位:烟渚市小重山百货商行", "ming", 12)
    sheet.text(46, 122, "订单号:DD-8830417", "ming", 12)
    sheet.text(350, 102, "单号:SH-20241025-17", "ming", 12)
    sheet.text(350, 122, "送货日期:2024年10月25日", "ming", 12)
    columns = [
        Column("编号", 54),
        Column("品名及规格", 130),
        Column("单位", 368, "center"),
        Column("数量", 446, "right"),
        Column("备注", 500, "center"),
    ]
    top = 134.0
    heads(sheet, top + 18, columns, "ming", 12)
    body = [[line["article_number"], line["description"], line["unit"], line["quantity"], None] for line in lines]
    rows(sheet, top + 44, columns, body, "ming", 12, 26)
    for number in range(8):
        sheet.line((46, top + 26 * number), (549, top + 26 * number))
    for x in (46, 120, 340, 396, 456, 549):
        sheet.line((x, top), (x, top + 182))
    sheet.text(46, 346, "送货单位(章):", "ming", 12)
    sheet.text(350, 346, "收货人(签字):", "ming", 12)
    sheet.hand(434, 348, "江晚吟", "kai", 22)
    sheet.text(46, 392, "第一联:存根(白)  第二联:客户(红)  第三联:回单(黄)", "ming", 9.5, ink=GREY)
    sheet.stamp(190, 340, 50, "清窑镇拾陶瓷器厂", "收发专用章", shape="seal", degrees=14, font="song bold")
    return Sample(
        "delivery_notes/songhuodan.webp",
        "delivery_note",
        "送货单, the pink carbon copy, WEBP",
        "dot-matrix print on pink paper, seal, half a page high",
        (sheet,),
        fields,
    )


def goods(items: str, point: str = ".") -> list[dict[str, Printed]]:
    """Lines from rows of article number | description | quantity | unit."""
    return [
        {
            "article_number": text(number),
            "description": text(name),
            "quantity": count(quantity, point),
            "unit": text(unit),
        }
        for number, name, quantity, unit in listed(items)
    ]


def delivery(
    number: str, when: Printed, order: str, supplier: str, recipient: str, lines: list[dict[str, Printed]], signed: str
) -> dict[str, Any]:
    return {
        "delivery_number": text(number),
        "delivery_date": when,
        "order_number": text(order),
        "supplier": {"name": text(supplier)},
        "recipient": {"name": text(recipient)},
        "lines": lines,
        "signed_by": text(signed),
    }
