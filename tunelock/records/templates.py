"""The words that a source's own templates put into every row: they say nothing about what two rows share."""

from collections.abc import Iterable, Mapping
from string import Formatter
from typing import Any

from tunelock.records.ngrams import split_words

LITERAL_WORDS = 3  # a shorter stretch, such as `Question:`, may as well be a row's own

Literals = Mapping[str, list[str]]  # by source the stretches of its templates between the columns, the longest first


def list_literals(sources: Mapping[str, Mapping[str, Any]]) -> Literals:
    """The stretches of each source's `columns` that are the same in every row, as params.yaml has them."""
    return {name: _find_literals((spec.get("columns") or {}).values()) for name, spec in sources.items()}


def _find_literals(templates: Iterable[str]) -> list[str]:
    found = set()
    for template in templates:
        found |= {literal.strip() for literal, *_ in Formatter().parse(template)}
    return sorted(
        (text for text in found if len(split_words(text)) >= LITERAL_WORDS), key=lambda text: (-len(text), text)
    )


def remove_literals(text: str, literals: list[str]) -> str:
    """The text without the words of its template; as it is, if nothing else is in it."""
    if not literals:
        return text
    own = text
    for literal in literals:
        own = own.replace(literal, "\n")
    return own if own.strip() else text
