"""Finders: each proposes candidates for one kind of field, with named features that the ranker weighs."""

from collections.abc import Callable

from models.ocr.finders import addresses, amounts, choices, codes, moments, names, plain
from models.ocr.labels import Wanted
from models.ocr.scene import Candidate, Scene

Finder = Callable[[Scene, Wanted], list[Candidate]]

FINDERS: dict[str, Finder] = {
    "date": moments.dates_of,
    "time": moments.times_of,
    "money": amounts.money,
    "number": amounts.numbers_of,
    "integer": amounts.numbers_of,
    "measure": amounts.measures_of,
    "company": names.companies,
    "name": plain.texts_of,
    "address": addresses.addresses,
    "id": codes.ids,
    "phone": codes.phones,
    "email": codes.emails,
    "url": codes.urls,
    "text": plain.texts_of,
    "choice": choices.options,
    "yesno": choices.yes_or_no,
    "currency": choices.currencies,
}
