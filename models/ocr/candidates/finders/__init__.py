"""Finders: each proposes candidates for one kind of field, with named features that the ranker weighs."""

from collections.abc import Callable

from models.ocr.candidates.context import Candidate, PageContext
from models.ocr.candidates.finders.addresses import addresses_of
from models.ocr.candidates.finders.amounts import measures_of, money, numbers_of
from models.ocr.candidates.finders.choices import currencies, options, yes_or_no
from models.ocr.candidates.finders.companies import companies
from models.ocr.candidates.finders.datetimes import dates_of, times_of
from models.ocr.candidates.finders.identifiers import emails, ids, phones, urls
from models.ocr.candidates.finders.labelled_text import texts_of
from models.ocr.candidates.finders.line_reader import lines_of
from models.ocr.candidates.label_index import Wanted

Finder = Callable[[PageContext, Wanted], list[Candidate]]

FINDERS: dict[str, Finder] = {  # by family; families.py has the same names
    "date": dates_of,
    "time": times_of,
    "money": money,
    "number": numbers_of,
    "integer": numbers_of,
    "measure": measures_of,
    "company": companies,
    "name": texts_of,
    "address": addresses_of,
    "id": ids,
    "phone": phones,
    "email": emails,
    "url": urls,
    "text": texts_of,
    "choice": options,
    "yesno": yes_or_no,
    "currency": currencies,
    "lines": lines_of,
}
