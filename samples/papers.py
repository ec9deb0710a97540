"""Pages for jobs that are not about forms: a ruled table, a foreign letter, a page that was signed and stamped."""

from printed import Printed, Seen, text
from sample import Sample, listed
from sheet import BLUE, GREY, RED, Sheet

PUMPS = """
    Type | Flow m³/h | Head m | Power kW | Speed 1/min | Mass kg
    NK 32-125 | 12.5 | 20.4 | 1.5 | 2900 | 38
    NK 32-160 | 12.5 | 32.0 | 3.0 | 2900 | 47
    NK 40-125 | 25.0 | 19.8 | 2.2 | 2900 | 41
    NK 40-200 | 25.0 | 50.2 | 7.5 | 2900 | 78
    NK 50-160 | 50.0 | 31.5 | 7.5 | 2900 | 83
    NK 65-160 | 100.0 | 30.1 | 15.0 | 2900 | 124
    NK 80-250 | 60.0 | 19.7 | 5.5 | 1450 | 152
    NK 100-315 | 120.0 | 31.8 | 18.5 | 1450 | 246
"""


def pump_table() -> Sample:
    lines = listed(PUMPS)
    sheet = Sheet(height=480)
    sheet.text(56, 62, "Series NK: selection table", "lato bold", 17)
    sheet.text(56, 82, "Clean water of 20 °C. Values at the best point of each curve.", "lato", 9.5, ink=GREY)
    top, left, widths, pitch = 104.0, 56.0, (108, 80, 68, 76, 86, 66), 30.0
    edges = [left + sum(widths[:n]) for n in range(len(widths) + 1)]
    sheet.area(left, top, edges[-1] - left, pitch, (222, 228, 236))
    for row, line in enumerate(lines):
        for column, words in enumerate(line):
            font = "lato bold" if row == 0 or column == 0 else "lato"
            middle = column > 0
            x = (edges[column] + edges[column + 1]) / 2 if middle else edges[column] + 8
            sheet.text(x, top + pitch * row + 19.5, words, font, 10.5, "center" if middle else "left")
        sheet.line((left, top + pitch * row), (edges[-1], top + pitch * row), width=0.7)
    bottom = top + pitch * len(lines)
    for x in edges[1:-1]:
        sheet.line((x, top), (x, bottom), width=0.5)
    sheet.frame(left, top, edges[-1] - left, bottom - top, 1.0)
    sheet.text(56, bottom + 24, "Motors IE3, 400 V, 50 Hz.", "lato", 9.5, ink=GREY)
    rule = ["|" + "---|" * len(lines[0])]
    rows = ["| " + " | ".join(line) + " |" for line in lines]
    return Sample(
        "tables/pump_table.jpg",
        "table",
        "a ruled table from a catalogue, scanned",
        "thin rules, units in the headings, slight skew",
        (sheet,),
        {
            "markdown": Seen("\n".join([rows[0], *rule, *rows[1:]])),
            "rows": [text(" | ".join(line)) for line in lines],
        },
    )


LETTER = """Madame, Monsieur,

Nous vous informons que l'eau sera coupée dans votre
immeuble le mardi 14 octobre 2025, de 8 h 30 à 12 h 00.
Une vanne de la cave doit être remplacée.

Merci de remplir une bouteille la veille et de fermer
tous vos robinets avant de partir. Après la remise en
eau, laissez couler quelques minutes : l'eau peut être
trouble, mais elle reste potable.

En cas de question, appelez le 01 99 00 41 70.

Veuillez agréer nos salutations les meilleures."""

IN_ENGLISH = """Water to be cut off

Dear Sir or Madam,

We inform you that the water in your building will be cut off on Tuesday, 14 October 2025, from 8:30 to 12:00. A valve \
in the cellar must be replaced.

Please fill a bottle the evening before and close all your taps before you leave. After the water is back, let it run \
for a few minutes: it may be cloudy, but it is still safe to drink.

If you have a question, call 01 99 00 41 70.

Yours faithfully,
Élodie Ferrand, Building manager"""


def french_letter() -> Sample:
    sheet = Sheet(height=640)
    sheet.text(64, 70, "RÉGIE DES TILLEULS", "garamond", 19, ink=BLUE)
    sheet.text(64, 88, "7 passage du Moulin-Vert, 99041 Brévaux-sur-Orle", "garamond", 10.5, ink=GREY)
    sheet.line((64, 98), (531, 98), width=0.8, ink=BLUE)
    sheet.text(531, 126, "Brévaux, le 2 octobre 2025", "garamond", 12, "right")
    sheet.text(64, 166, "Coupure d'eau", "garamond", 16)
    y = sheet.text(64, 198, LETTER, "garamond", 13.5, leading=1.45)
    sheet.hand(340, y + 34, "E. Ferrand", "script", 22)
    sheet.text(340, y + 62, "Élodie Ferrand", "garamond", 12)
    sheet.text(340, y + 77, "Gestionnaire", "garamond", 11, ink=GREY)
    return Sample(
        "letters/french_letter.jpg",
        "translate",
        "a French letter to tenants, scanned",
        "accents, a telephone number and times that must stay as they are",
        (sheet,),
        {"translation": Seen(IN_ENGLISH)},
        mentions=("14 October 2025", "01 99 00 41 70", "12:00", "valve"),
    )


MARK_DPI = 110


def agreement() -> Sample:
    """Drawn straight, so that the boxes of the marks are known: points times dpi over 72."""
    sheet = Sheet(height=700)
    sheet.area(60, 44, 34, 34, (24, 96, 120))
    sheet.line((66, 70), (77, 52), (88, 70), width=4, ink=(255, 255, 255))
    sheet.text(102, 70, "Kestrel & Vale", "lato black", 22, ink=(24, 96, 120))
    sheet.text(60, 128, "Acceptance of works", "lato bold", 16)
    words = """Contract KV-2025-118, workshop roof, north side.

The works were inspected together on 4 June 2025. They are complete and
are taken over as they are, with the exceptions listed in the annex.
The warranty of five years begins on the day of signature.

Open points: two gutters to be sealed, one skylight to be adjusted.
To be done until 30 June 2025 at the contractor's expense."""
    sheet.text(60, 158, words, "lato", 11, leading=1.6)
    for x, who, name in ((60, "for the client", "Ines Marlow"), (330, "for the contractor", "Tobias Renn")):
        sheet.line((x, 520), (x + 190, 520), width=0.7)
        sheet.text(x, 535, f"{name}, {who}", "lato", 9.5, ink=GREY)
    sheet.hand(78, 512, "I. Marlow", "script", 27)
    sheet.hand(352, 511, "Tob. Renn", "hand", 24)
    sheet.stamp(438, 424, 52, "KESTREL & VALE", "ACCEPTED", "4 JUN 2025", degrees=9, ink=RED)
    marks = (
        ("logo", "Kestrel & Vale", (58, 42, 244, 80)),
        ("stamp", "KESTREL & VALE ACCEPTED 4 JUN 2025", (382, 388, 494, 462)),
        ("signature", "I. Marlow", (76, 486, 186, 522)),
        ("signature", "Tob. Renn", (350, 488, 464, 520)),
    )
    return Sample(
        "signed_pages/acceptance.jpg",
        "marks",
        "a protocol with a logo, a stamp and two signatures",
        "the stamp is worn and stands at a slant; a signature crosses its line",
        (sheet,),
        {
            "marks": [
                {
                    "box": Seen([round(edge * MARK_DPI / 72) for edge in box]),
                    "kind": Seen(kind),
                    "words": Printed(words, words) if kind != "stamp" else Seen(words),
                }
                for kind, words, box in marks
            ]
        },
    )
