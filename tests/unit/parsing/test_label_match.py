"""Labels on lines: blind to blanks, bound to words, patient with OCR; and texts in plain form."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.parsing import label_match, normalize


@pytest.mark.parametrize(
    ("line", "label", "printed"),
    [
        ("TakeOutTotal (Incl GST)", "Total", "Total"), ("SUBTOTAL 5.00", "Total", None),
        ("Tatal Amount", "Total Amount", "Tatal Amount"),
        ("发票号码:123", "发票号码", "发票号码"), ("发票代码:123", "发票号码", None),
        ("lnvoice N0:12", "Invoice No", "lnvoice N0"),
        ("Rate 5", "Date", None), ("Fax 5", "Tax", None), ("Total12.00", "Total", "Total"),
        ("Rechnungs-Nr.: 55", "Rechnungsnr", "Rechnungs-Nr"),
        ("ＴＯＴＡＬ：５", "Total", "ＴＯＴＡＬ"), ("", "Total", None), ("Total", "", None), ("TOTALLY", "Total", None),
    ],
)  # fmt: skip
def test_find(line: str, label: str, printed: str | None) -> None:
    found = label_match.find(line, label)
    assert (found.value if found else None) == printed


def test_a_clean_label_is_surer_than_a_misread_one() -> None:
    exact, alike, wrong = (
        label_match.find(line, "Total Amount") for line in ("Total Amount", "T0tal Amount", "Tatal Amount")
    )
    assert exact is not None
    assert alike is not None
    assert wrong is not None
    assert exact.quality > alike.quality > wrong.quality


@given(st.text(max_size=40), st.text(max_size=15))
def test_no_text_makes_labels_fail(line: str, label: str) -> None:
    found = label_match.find(line, label)
    if found:
        assert line[found.start : found.end] == found.value
        assert 0 < found.quality <= 1


@given(st.text(max_size=60))
def test_narrow_keeps_every_offset(text: str) -> None:
    assert len(normalize.narrow(text)) == len(text)


def test_plain_forms() -> None:
    assert normalize.fold("  ＡＢ\tStraße ") == "ab strasse"
    assert normalize.squash("S.P. ZOLOT, №5") == "spzolotno5"
    assert normalize.narrow("５².（Ａ）") == "5².(A)"
    assert normalize.unaccented("Müller é") == "Muller e"
    assert normalize.is_cjk("abc合")
    assert not normalize.is_cjk("Müller")
