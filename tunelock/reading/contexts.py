"""Columns that a question is about, known by their names: they become a part of the question.

A context (passage, document, contract ...) stands before the question, an input below it, and the options last, a line
each. `find_contexts` decides for a file by its first rows, `add_contexts` puts the texts of one row in their places.
"""

import math
import re
from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any, NamedTuple

from tunelock.reading.answer_options import TEXT_KEYS, find_label, read_words, write_options, write_short
from tunelock.reading.rows import Columns, Unfit
from tunelock.records.record import PARAGRAPH_END, Message

CONTEXTS = {
    "context", "contexts", "passage", "passages", "contract", "contracts", "paragraph", "paragraphs", "excerpt",
    "background", "story", "transcript",
}  # fmt: skip
TITLED = {"document", "documents", "article", "articles", "abstract"}  # as often the title of one, which is no context
INPUTS = {"input", "inputs"}
OPTIONS = {"options", "choices", "answer options", "answer choices"}
REFERENCE = re.compile(  # an id, date, number, file or address
    r"[-+\d.,:/% TZ]+|https?://\S+|[!-~]*\d[!-~]*|\S+\.[a-z0-9]{2,5}|[\w.-]+[/\\#][!-~]+", re.ASCII
)
SENTENCE_END = (".", "!", "?", "。", "！", "？", "।", "؟")


class Contexts(NamedTuple):
    """The columns of a file that belong to the question, by where they stand in it."""

    before: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    options: tuple[str, ...] = ()  # a column with all options of a question
    lettered: tuple[str, ...] = ()  # a column an option

    def names(self) -> frozenset[str]:
        return frozenset(self.before + self.inputs + self.options + self.lettered)


def find_contexts(rows: list[Columns], taken: frozenset[str]) -> Contexts:
    """The contexts among the columns of a file that nothing has `taken`, by their names and what stands in them."""
    names = [name for name in dict.fromkeys(chain.from_iterable(rows)) if name not in taken]
    lettered = [name for name in names if find_label(name) and _holds(rows, name, _is_value)]
    return Contexts(
        before=_choose(rows, names, CONTEXTS, reads_as_text) + _choose(rows, names, TITLED, _reads_as_sentences),
        inputs=_choose(rows, names, INPUTS, _is_value),
        options=_choose(rows, names, OPTIONS, _can_be_listed),
        lettered=tuple(sorted(lettered)) if {"A", "1"} & set(map(find_label, lettered)) and lettered[1:] else (),
    )


def _choose(rows: list[Columns], names: list[str], known: set[str], test: Callable[[Any], bool]) -> tuple[str, ...]:
    return tuple(name for name in names if read_words(name) in known and _holds(rows, name, test))


def _holds(rows: list[Columns], name: str, test: Callable[[Any], bool]) -> bool:
    """Whether at least half of what stands in a column passes a test."""
    values = [row[name] for row in rows if not is_blank(row.get(name))]
    return bool(values) and sum(_passes(test, value) for value in values) * 2 >= len(values)


def _passes(test: Callable[[Any], bool], value: Any) -> bool:
    try:
        return test(value)
    except Unfit:  # such as bytes that are no text
        return False


def names_context(name: str) -> bool:
    """Whether a column is named like what a question is about: source_document, legal-context, option_a."""
    words = read_words(name).split()
    known = CONTEXTS | TITLED | INPUTS | OPTIONS
    return bool(words) and (words[-1] in known or bool(find_label(name) and words[1:]))


def is_blank(value: Any) -> bool:
    """Whether a cell holds nothing: null, NaN, blanks, an empty list."""
    if isinstance(value, float):
        return math.isnan(value)
    return value is None or (isinstance(value, str) and not value.strip()) or value in ([], {})


def reads_as_text(value: Any) -> bool:
    """Whether a value is a text of more than a word, and no id, date, address or number; or a list of such texts."""
    if not isinstance(value, str):
        parts = _list_paragraphs(value)
        return bool(parts) and any(map(reads_as_text, parts))
    value = value.strip()
    return not REFERENCE.fullmatch(value) and (len(value.split()) > 1 or not value.isascii())


def _reads_as_sentences(value: Any) -> bool:
    """As `reads_as_text`, and longer than a title is."""
    text = "\n".join(_list_paragraphs(value) or [])
    long = len(text.split()) > 8 or (not text.isascii() and len(text.encode(errors="replace")) > 60)
    return reads_as_text(text) and (long or text.rstrip().endswith(SENTENCE_END))


def _is_value(value: Any) -> bool:
    """Whether it is one value, and no list or mapping."""
    return not isinstance(value, list | dict)


def _can_be_listed(value: Any) -> bool:
    return write_options(value, "") is not None


def _list_paragraphs(value: Any) -> list[str] | None:
    """The texts of a context: a text, a list of texts, or a list of objects of texts; None for anything else."""
    if _is_value(value):
        return [write_short(value)]
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return value
    if isinstance(value, list) and all(isinstance(part, dict) for part in value):
        return [_join_texts(part) for part in value]
    return None


def _join_texts(part: dict[str, Any]) -> str:
    return "\n".join(text for text in part.values() if isinstance(text, str))


def add_contexts(messages: list[Message], contexts: Contexts, columns: Columns) -> list[Message]:
    """The messages of a row, its last question with its contexts.

    Raises:
        Unfit: a context of this row can be read neither as text nor as a list.
    """
    asked = [place for place, message in enumerate(messages) if message["role"] == "user"] if any(contexts) else []
    if not asked:
        return messages
    last = messages[asked[-1]]
    before, below = _read_texts(contexts.before, columns), _read_texts(contexts.inputs, columns)
    options = "\n".join(_read_options(contexts, columns, messages[-1]["content"]))
    question = "\n\n".join(filter(None, [last["content"], *below, options]))
    whole = Message(role="user", content="\n\n".join([*before, question]))
    if before:
        whole["question"] = -len(PARAGRAPH_END.split(question))
    elif below or "question" in last:
        whole["question"] = last.get("question", len(PARAGRAPH_END.split(last["content"])))
    return [*messages[: asked[-1]], whole, *messages[asked[-1] + 1 :]]


def _read_texts(names: Iterable[str], columns: Columns) -> list[str]:
    texts: list[str] = []
    for name in names:
        if not is_blank(columns.get(name)):
            paragraphs = _list_paragraphs(columns[name])
            if paragraphs is None:
                raise Unfit("not_text", name)
            texts += filter(None, map(str.strip, paragraphs))
    return texts


def _read_options(contexts: Contexts, columns: Columns, answer: str) -> list[str]:
    lines: list[str] = []
    for name in contexts.options:
        if not is_blank(columns.get(name)):
            listed = write_options(columns[name], answer)
            if listed is None:
                raise Unfit("not_text", name)
            lines += listed
    for name in contexts.lettered:
        if not is_blank(columns.get(name)):
            lines.append(f"{find_label(name)}. {write_short(columns[name])}")
    return lines


def write_nested(part: str, value: list | dict, answer: str) -> Any:
    """A list or an object as the text of a part of `columns`; the value itself where it is none that can be written.

    In an instruction it is options, a line each; in a context paragraphs; of an answer the first text counts, as where
    several annotators wrote one.
    """
    if part == "response":
        return _find_first_text(value)
    lines = _list_paragraphs(value) if part == "context" else None
    if lines is not None:
        return "\n\n".join(filter(None, map(str.strip, lines)))
    options = write_options(value, answer)
    return value if options is None else "\n".join(options)


def _find_first_text(value: Any) -> str:
    """The first text in a list or an object, `text` and the like before other keys; empty if there is none."""
    if isinstance(value, dict):
        named = [value[key] for key in TEXT_KEYS if key in value]
        value = named or list(value.values())
    if isinstance(value, list):
        return next(filter(None, map(_find_first_text, value)), "")
    return write_short(value)
