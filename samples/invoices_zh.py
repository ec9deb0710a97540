"""The Chinese invoices. Every company, person, place and number is invented."""

import re
from datetime import date
from decimal import Decimal
from typing import Any

from invoices import NAMES, tax
from printed import Printed, amount, day, text
from sample import Column, Sample, cells, heads, priced, rows
from sheet import A4, GREY, Sheet

DEEP = (130, 40, 20)


def two_pages() -> Sample:
    lines, net = priced(
        """
            不锈钢压力表 Y-100 | 24 | 86.00
            双金属温度计 WSS-411 | 18 | 128.50
            电磁流量计 DN50 | 2 | 3650.00
            涡街流量计 DN80 | 1 | 4280.00
            压力变送器 0-1.6MPa | 6 | 960.00
            热电阻 Pt100 | 30 | 72.80
            铠装热电偶 K型 | 15 | 95.00
            浮球液位计 | 4 | 1180.00
            针形截止阀 DN10 | 40 | 46.50
            三通阀组 | 8 | 318.00
            铜制活接头 M20 | 100 | 7.60
            缓冲管 U型 | 24 | 19.90
            屏蔽电缆 2×1.0 // (米) | 350 | 4.35
            接线盒 防爆型 | 12 | 135.00
            数显仪表 XMT-808 | 5 | 268.00
            记录仪打印纸 | 60 | 8.50
            密封垫片 | 200 | 1.25
            安装支架 | 36 | 22.00
            现场调试服务费 | 3 | 800.00
            运输费 | 1 | 450.00
        """,
        joint="",
    )
    vat = tax(net, "13")
    fields: dict[str, Any] = {
        "invoice_number": text("YD20240615087"),
        "issue_date": day(date(2024, 6, 15), "zh"),
        "due_date": day(date(2024, 7, 15), "zh"),
        "currency": Printed("人民币", "CNY"),
        "supplier": {
            "name": text("云渡市青禾仪表有限公司"),
            "vat_id": text("91990000MA0QH417X7"),
            "address": text("云渡市望潮区织云路417号"),
        },
        "customer": {"name": text("北岭县松溪供水有限公司")},
        "lines": lines,
        "net_total": amount(net),
        "tax_total": amount(vat),
        "total": amount(net + vat, sign="¥"),
    }
    columns = [
        Column("序号", 72, "center"),
        Column("商品名称", 98),
        Column("数量", 332, "right"),
        Column("单价", 424, "right"),
        Column("金额", 526, "right"),
    ]
    first, second = Sheet(), Sheet()
    for number, sheet in enumerate((first, second), 1):
        sheet.text(298, 70, fields["supplier"]["name"].words, "song bold", 17, "center")
        sheet.text(298, 94, "销 售 发 票", "song bold", 14, "center")
        sheet.text(526, 812, f"第 {number} 页 共 2 页", "song", 8.5, "right")
    first.text(62, 128, "购货单位:" + fields["customer"]["name"].words, "song", 10.5)
    first.text(62, 147, "地址:北岭县松溪镇水厂路2号", "song", 10.5)
    first.text(62, 166, "币种:人民币", "song", 10.5)
    first.text(350, 128, "发票号码:" + fields["invoice_number"].words, "song", 10.5)
    first.text(350, 147, "开票日期:" + fields["issue_date"].words, "song", 10.5)
    first.text(350, 166, "付款期限:" + fields["due_date"].words, "song", 10.5)
    for sheet, top, part, start in ((first, 182.0, lines[:14], 1), (second, 118.0, lines[14:], 15)):
        body: list[list[Printed | str | None]] = [
            [str(number), *row] for number, row in enumerate(cells(part, *NAMES), start)
        ]
        heads(sheet, top + 17, columns, "song bold", 10.5)
        y = rows(sheet, top + 47, columns, body, "song", 10.5, 38)
        bottom = y - 18
        for x in (55, 90, 272, 342, 436, 534):
            sheet.line((x, top), (x, bottom))
        sheet.line((55, top), (534, top), width=1)
        sheet.line((55, top + 26), (534, top + 26))
        sheet.line((55, bottom), (534, bottom), width=1)
    first.text(526, 790, "(接下页)", "song", 9, "right")
    for label, value, font in (
        ("合计金额", "net_total", "song"),
        ("税额(13%)", "tax_total", "song"),
        ("价税合计", "total", "song bold"),
    ):
        y += 22
        second.text(410, y, label, font, 11, "right")
        second.text(526, y, fields[value].words, font, 11, "right")
    second.text(62, y + 50, "销货单位:" + fields["supplier"]["name"].words, "song", 10.5)
    second.text(62, y + 69, "纳税人识别号:" + fields["supplier"]["vat_id"].words, "song", 10.5)
    second.text(62, y + 88, "地址:" + fields["supplier"]["address"].words, "song", 10.5)
    second.text(62, y + 107, "开户行:虚构银行云渡支行 账号:0099 0417 7000 01", "song", 10.5)
    second.text(62, y + 150, "开票人:", "song", 10.5)
    second.hand(104, y + 150, "沈未央", "kai", 16)
    second.text(230, y + 150, "复核:", "song", 10.5)
    second.hand(262, y + 151, "陆听澜", "kai", 16)
    second.stamp(440, y + 120, 56, "云渡市青禾仪表有限公司", "财务专用章", shape="seal", degrees=-7, font="song bold")
    return Sample(
        "invoices/chinese_two_pages.tiff",
        "invoice",
        "销售发票, TIFF of two pages, black and white",
        "lines over two pages, two-tone fax-like scan, seal over the print, supplier at the foot",
        (first, second),
        fields,
    )


def fapiao() -> Sample:
    lines, net = priced(
        """
            *纸制品*复印纸 A4 70g | 40 | 18.50
            *文具*中性笔 0.5mm 黑 | 120 | 1.35
            *办公设备*碎纸机 S-9 | 2 | 436.28
        """
    )
    vat = tax(net, "13")
    fields: dict[str, Any] = {
        "invoice_number": text("24990000000041770093"),
        "issue_date": day(date(2024, 11, 8), "zh"),
        "due_date": None,
        "currency": Printed("¥", "CNY"),
        "supplier": {
            "name": text("听雨市墨笺文化用品有限公司"),
            "vat_id": text("91990100MA0MJ093Y1"),
            "address": text("听雨市画桥区半夏街9号"),
        },
        "customer": {"name": text("拾光市晴川工程咨询有限公司")},
        "lines": lines,
        "net_total": amount(net, "1234.56", "¥"),
        "tax_total": amount(vat, "1234.56", "¥"),
        "total": amount(net + vat, "1234.56", "¥"),
    }
    wide, high = A4[0], 400.0
    sheet = Sheet(wide, high)
    sheet.text(298, 46, "电子发票(普通发票)", "song bold", 18, "center", DEEP)
    sheet.line((190, 54), (406, 54), width=0.8, ink=DEEP)
    sheet.line((190, 57), (406, 57), width=0.8, ink=DEEP)
    for offset, (label, value) in enumerate((("发票号码:", "invoice_number"), ("开票日期:", "issue_date"))):
        sheet.text(418, 44 + 17 * offset, label, "song", 9.5, ink=DEEP)
        sheet.text(464, 44 + 17 * offset, fields[value].words, "song", 9.5)
    sheet.frame(30, 80, 535, 250, 0.9, DEEP)
    for x, side in ((30, "购\n买\n方"), (298, "销\n售\n方")):
        sheet.text(x + 10, 98, side, "song", 9, "center", DEEP, 1.45)
        sheet.line((x + 20, 80), (x + 20, 140), ink=DEEP)
    sheet.line((298, 80), (298, 140), ink=DEEP)
    sheet.line((30, 140), (565, 140), ink=DEEP)
    for x, name, number in (
        (54, fields["customer"]["name"], "91990200MA0QC117Z5"),
        (322, fields["supplier"]["name"], fields["supplier"]["vat_id"].words),
    ):
        sheet.text(x, 99, "名称:", "song", 9.5, ink=DEEP)
        sheet.text(x + 30, 99, name.words, "song", 9.5)
        sheet.text(x, 126, "纳税人识别号:", "song", 9.5, ink=DEEP)
        sheet.text(x + 68, 126, number, "song", 9.5)
    columns = [
        Column("项目名称", 38),
        Column("单位", 232, "center"),
        Column("数量", 300, "right"),
        Column("单价", 366, "right"),
        Column("金额", 444, "right"),
        Column("税率", 488, "center"),
        Column("税额", 556, "right"),
    ]
    heads(sheet, 155, columns, "song", 9.5, DEEP)
    body: list[list[Printed | str | None]] = [
        [
            row["description"],
            unit,
            row["quantity"],
            row["unit_price"],
            row["amount"],
            "13%",
            amount(tax(row["amount"].value, "13"), "1234.56"),
        ]
        for row, unit in zip(lines, ("包", "支", "台"), strict=True)
    ]
    rows(sheet, 177, columns, body, "song", 9.5, 21)
    sheet.text(60, 274, "合    计", "song", 9.5, ink=DEEP)
    sheet.text(444, 274, fields["net_total"].words, "song", 9.5, "right")
    sheet.text(556, 274, fields["tax_total"].words, "song", 9.5, "right")
    sheet.line((30, 286), (565, 286), ink=DEEP)
    sheet.text(60, 312, "价税合计(大写)", "song", 9.5, ink=DEEP)
    sheet.text(190, 312, in_words(net + vat), "song", 10)
    sheet.text(418, 312, "(小写)", "song", 9.5, ink=DEEP)
    sheet.text(456, 312, fields["total"].words, "song bold", 11)
    sheet.text(36, 348, "备注:销售方地址 " + fields["supplier"]["address"].words, "song", 9, ink=GREY)
    sheet.text(60, 380, "开票人:温如玉", "song", 9.5, ink=DEEP)
    sheet.stamp(480, 118, 44, "听雨市墨笺文化用品有限公司", "发票专用章", shape="seal", degrees=9, font="song bold")
    return Sample(
        "invoices/fapiao.webp",
        "invoice",
        "电子发票, printed and scanned, WEBP",
        "half a page high, seal over the seller, total also in words",
        (sheet,),
        fields,
    )


def in_words(total: Decimal) -> str:
    """An amount below ten thousand yuan in bankers' Chinese."""
    digits, units = "零壹贰叁肆伍陆柒捌玖", "仟佰拾元角分"
    cents = f"{total:.2f}".replace(".", "").rjust(6, "0")
    spelled = "".join(digits[int(digit)] + unit for digit, unit in zip(cents, units, strict=True))
    spelled = re.sub("零+", "零", re.sub("零[仟佰拾角]", "零", spelled)).lstrip("零").replace("零元", "元")
    return re.sub("零?零分$", "整", spelled)
