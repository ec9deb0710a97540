"""Suggest the allowed word that an unknown word probably means."""

from collections.abc import Mapping, Sequence

SYNONYMS: Mapping[str, tuple[str, ...]] = {  # allowed word -> words of other programs for it
    "text": ("string", "str", "varchar"),
    "number": ("float", "double", "decimal", "real"),
    "integer": ("int", "whole", "long"),
    "money": ("amount", "currency", "price"),
    "date": ("datetime", "day", "timestamp"),
    "yesno": ("bool", "boolean", "checkbox", "flag", "tick"),
    "choice": ("enum", "select", "option", "oneof", "class", "category"),
    "measure": ("quantity", "unit", "reading"),
    "prose": ("paragraph", "description", "longtext", "summary"),
    "markdown": ("md", "table"),
    "box": ("bbox", "bbox_2d", "rectangle", "rect", "coordinates"),
    "code": ("html", "vue", "python", "json", "source"),
    "group": ("object", "dict", "struct", "mapping"),
    "list": ("array", "rows", "lines"),
    "instructions": ("prompt", "instruction", "task", "question", "text"),
    "hint": ("description", "help", "comment", "note", "instructions"),
    "labels": ("synonyms", "aliases", "keywords", "words"),
    "options": ("values", "choices", "enum"),
    "pattern": ("regex", "regexp"),
    "minimum": ("min", "at_least"),
    "maximum": ("max", "at_most"),
    "order": ("format",),
    "fields": ("columns", "schema"),
    "item": ("items", "element"),
    "role": ("system", "persona"),
}


def unknown(word: str, allowed: Sequence[str], what: str) -> str:
    """ "unknown key; did you mean labels?", or the list of allowed words where none is similar."""
    from rapidfuzz import process
    from rapidfuzz.distance import DamerauLevenshtein

    plain = word.casefold()
    near = process.extractOne(plain, allowed, scorer=DamerauLevenshtein.normalized_similarity, score_cutoff=0.6)
    meant = near[0] if near else next((name for name in allowed if plain in SYNONYMS.get(name, ())), None)
    meant = meant or next((name for name in allowed if len(plain) > 2 and name.casefold().startswith(plain)), None)
    if meant:
        return f"unknown {what}; did you mean {meant}?"
    return f"unknown {what}; allowed: {', '.join(allowed)}" if allowed else f"unknown {what}"
