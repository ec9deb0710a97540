"""The inspection forms. Every company, person and number is invented."""

from datetime import date
from typing import Any

from printed import Printed, day, text
from sample import Column, Sample, heads, listed
from sheet import GREY, PEN, Sheet

OK, BAD = text("正常"), text("异常")
ENDINGS = ("可继续运行", "限期整改", "立即停机")


def inspection(
    file: str,
    what: str,
    hard: str,
    equipment: str,
    name: str,
    when: Printed,
    inspector: str,
    table: str,
    ending: str,
    ticked: bool,
) -> Sample:
    """A 设备巡检表. `table`: rows of what is looked at | what it should be | what is wrong with it (empty: nothing).
    `ticked`: the conclusion is a box with a pen's tick; else it is written out."""
    checks = listed(table)
    items: list[dict[str, Any]] = [
        {"项目": text(item), "结果": BAD if note else OK, "备注": text(note) if note else None}
        for item, _, note in checks
    ]
    fields: dict[str, Any] = {
        "设备编号": text(equipment),
        "设备名称": text(name),
        "巡检日期": when,
        "巡检人": text(inspector),
        "检查项": items,
        "异常项": [text(item) for item, _, note in checks if note],
        "结论": text(ending),
    }
    sheet = Sheet()
    sheet.text(298, 84, "设 备 巡 检 表", "song bold", 22, "center")
    sheet.text(540, 108, "编号:XJ-B-07", "song", 9, "right", GREY)
    top, left, right = 122.0, 56.0, 540.0
    for row, pair in enumerate(
        ((("设备编号", equipment), ("设备名称", name)), (("巡检日期", when.words), ("巡检人", inspector)))
    ):
        for column, (label, words) in enumerate(pair):
            sheet.text(left + 42 + 242 * column, top + 24 + 36 * row, label, "song", 11.5, "center")
            sheet.hand(left + 96 + 242 * column, top + 25 + 36 * row, words, "kai", 16)
    for x in (left + 84, left + 242, left + 326):
        sheet.line((x, top), (x, top + 72))
    sheet.line((left, top + 36), (right, top + 36))
    sheet.line((left, top + 72), (right, top + 72))
    columns = [
        Column("序号", 76, "center"),
        Column("检查项", 170, "center"),
        Column("标准", 296, "center"),
        Column("结果", 386, "center"),
        Column("备注", 480, "center"),
    ]
    heads(sheet, top + 95, columns, "song bold", 11.5)
    y = top + 108.0
    sheet.line((left, y), (right, y))
    for number, ((item, norm, note), line) in enumerate(zip(checks, items, strict=True), 1):
        sheet.text(76, y + 22, str(number), "song", 11, "center")
        sheet.text(106, y + 22, item, "song", 11)
        sheet.text(296, y + 22, norm, "song", 10, "center")
        sheet.hand(386, y + 23, line["结果"].words, "kai", 16, align="center")
        if note:
            sheet.hand(425, y + 23, note, "kai", 14)
        y += 34
        sheet.line((left, y), (right, y))
    for x in (96, 236, 356, 416):
        sheet.line((x, top + 72), (x, y))
    bad = "、".join(item.words for item in fields["异常项"]) or "无"
    sheet.text(left + 42, y + 28, "异常项", "song", 11.5, "center")
    sheet.hand(left + 96, y + 29, bad, "kai", 15)
    sheet.line((left, y + 44), (right, y + 44))
    sheet.text(left + 42, y + 74, "结论", "song", 11.5, "center")
    if ticked:
        for x, words in zip((left + 98, left + 210, left + 308), ENDINGS, strict=True):
            sheet.frame(x, y + 63, 11, 11, 0.8)
            sheet.text(x + 16, y + 73, words, "song", 11.5)
            if words == ending:
                sheet.line((x + 1, y + 66), (x + 5, y + 72), (x + 7, y + 70), (x + 17, y + 57), width=1.6, ink=PEN)
    else:
        sheet.hand(left + 96, y + 75, ending, "kai", 17)
    sheet.line((left + 84, y), (left + 84, y + 92))
    bottom = y + 92
    sheet.frame(left, top, right - left, bottom - top, 1.1)
    sheet.text(left + 4, bottom + 24, "注:结果栏填“正常”或“异常”,异常须在备注栏说明。", "song", 9.5)
    sheet.text(340, bottom + 54, "班组长(签字):", "song", 11)
    sheet.hand(420, bottom + 55, "顾长风", "kai", 18)
    return Sample(file, "inspection_form", what, hard, (sheet,), fields)


def pump() -> Sample:
    sample = inspection(
        "inspection_forms/pump_form.jpg",
        "设备巡检表 filled in by hand, scanned",
        "handwriting, ruled table, round seal over the signature",
        "SB-0417",
        "循环水泵",
        day(date(2024, 9, 20), "zh"),
        "许知远",
        """
            外观清洁 | 无油污 |
            轴承温度 | ≤70℃ |
            振动值 | ≤4.5mm/s | 6.2mm/s
            润滑油位 | 1/2-2/3 |
            机械密封 | 无泄漏 | 轻微渗漏
            出口压力 | 0.4-0.6MPa |
            电机电流 | ≤32A |
            地脚螺栓 | 无松动 |
        """,
        "限期整改",
        False,
    )
    sample.sheets[0].stamp(
        452, 640, 52, "云渡市松溪供水有限公司", "设备管理部", shape="seal", degrees=-12, font="song bold"
    )
    return sample


def compressor() -> Sample:
    return inspection(
        "inspection_forms/compressor_form.jpg",
        "设备巡检表, a telephone's picture",
        "slant and lamp shadow, conclusion as boxes to tick",
        "KYJ-203",
        "螺杆空压机",
        day(date(2025, 1, 16), "%Y-%m-%d"),
        "苏沐晴",
        """
            排气温度 | 75-95℃ |
            排气压力 | 0.7-0.8MPa |
            油气分离器 | 压差正常 |
            冷却风扇 | 运转平稳 |
            皮带张力 | 无打滑 | 偏松
            安全阀 | 铅封完好 |
            控制面板 | 无报警 |
        """,
        "可继续运行",
        True,
    )
