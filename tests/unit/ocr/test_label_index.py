"""What a field is called: its own words, the job's labels, and the shipped concepts in six languages."""

import pytest

from models.ocr.candidates import label_index
from models.ocr.candidates.label_index import Index
from tests.support.lettered import job


@pytest.mark.parametrize(
    ("path", "concept"),
    [
        ("total", "total"), ("gross_amount", "total"), ("supplier.name", "seller"), ("Store_name", "seller"),
        ("Store_addr", "address"),
        ("Tel", "phone"), ("contract_num", "contract_number"), ("net_total", "subtotal"), ("issue_date", "date"),
        ("due_date", "due_date"),
        ("supplier.vat_id", "tax_number"), ("发票号码", "invoice_number"), ("rechnungsdatum", "date"),
        ("flight_from", "period"), ("姓名", ""),
    ],
)  # fmt: skip
def test_a_field_name_means_a_concept(path: str, concept: str) -> None:
    assert label_index.concept_of(path) == concept


def test_every_concept_has_labels_and_its_own_names() -> None:
    owners: dict[str, str] = {}
    for concept in label_index.concepts().values():
        assert concept.labels
        assert label_index.concept_of(concept.name) == concept.name
        owners |= dict.fromkeys(concept.names, concept.name)
    assert len(owners) == len({name for concept in label_index.concepts().values() for name in concept.names})


def test_the_labels_of_the_job_come_first() -> None:
    field = job({"total": {"type": "money", "labels": ["Grand Sum", "Total"]}}).fields["total"]
    wanted = label_index.wanted("total", field)
    assert wanted.labels[:2] == ("Grand Sum", "Total")
    assert "Gesamtbetrag" in wanted.labels
    assert wanted.preference("GRAND SUM") > wanted.preference("Total") > wanted.preference("Gesamtbetrag") == 0


@pytest.mark.parametrize(
    ("name", "field", "kind", "role"),
    [
        ("supplier", {"type": "text"}, "company", ""), ("phone", {"type": "text"}, "phone", ""),
        ("note", {"type": "text"}, "text", ""),
        ("valid_from", {"type": "date"}, "date", "from"), ("bis", {"type": "date"}, "date", "to"),
        ("currency", {"type": "choice", "options": ["EUR"]}, "currency", ""),
    ],
)  # fmt: skip
def test_what_serves_a_field(name: str, field: dict[str, object], kind: str, role: str) -> None:
    wanted = label_index.wanted(name, job({name: field}).fields[name])
    assert (wanted.kind, wanted.role) == (kind, role)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("TOTAL AMOUNT: 12.00", {"Total Amount", "Total"}), ("SUBTOTAL 5", {"Subtotal"}), ("Tota1 5", {"Total"}),
        ("lnvoice N0. 12", {"Invoice No"}), ("Rechnungsnumner 5", {"Rechnungsnummer"}),
        ("发票号码：12", {"发票号码"}), ("合计12", {"合计"}), ("x", set()),
    ],
)  # fmt: skip
def test_an_index_finds_all_labels_of_a_line(line: str, found: set[str]) -> None:
    known = ["Total", "Total Amount", "Subtotal", "Invoice No", "Rechnungsnummer", "发票号码", "合计"]
    index = Index([(label, "owner") for label in known])
    hits = index.hits(line)
    assert {index.labels[hit.label] for hit in hits} == found
    assert [hit.letters for hit in hits] == sorted((hit.letters for hit in hits), reverse=True)


def test_a_label_of_two_fields_has_two_owners() -> None:
    index = Index([("Flight Dates", "from"), ("flight dates", "to")])
    assert index.owners == [("from", "to")]


@pytest.mark.parametrize(
    ("path", "party"),
    [("supplier.name", "seller"), ("customer.address", "buyer"), ("address", "seller"), ("buyer_name", "buyer")],
)
def test_whose_name_it_is(path: str, party: str) -> None:
    field = job({"x": {"type": "text", "kind": "address" if "address" in path else "company"}}).fields["x"]
    assert label_index.party_of(label_index.wanted(path, field)) == party
