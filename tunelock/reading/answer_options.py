"""The options of a question, in whatever shape a file keeps them: a line each, with its label where it has one."""

import re
from typing import Any

from tunelock.reading.values import write_value

LETTERED = re.compile(r"(?:(?:option|choice|opt|op) ?)?([a-j])|(?:option|choice|opt) ?(\d{1,2})")  # a column an option
WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_]+")
TEXT_KEYS = ("text", "texts", "value", "content", "option", "choice")
LABEL_KEYS = ("label", "labels", "key", "letter", "id")


def read_words(name: str) -> str:
    """The words of a column's name in lower case, "text" at its end left out: inputText is input."""
    words = [word.casefold() for word in WORD.findall(name)]
    return " ".join(words[:-1] if words[1:] and words[-1] == "text" else words)


def find_label(name: str) -> str | None:
    """The label of the option that a column holds: A of option_a, opA and A, 1 of choice_1."""
    found = LETTERED.fullmatch(read_words(name))
    return (found[1] or found[2]).upper() if found else None


def write_options(value: Any, answer: str) -> list[str] | None:
    """A line an option: a text as it is, and what is labelled with its label; None for what are no options."""
    match value:
        case str():
            return [value.strip()]
        case dict() if (pair := _find_pair(value)) and all(isinstance(part, list) for part in pair):
            return [f"{write_short(label)}. {write_short(text)}" for label, text in zip(*pair)]
        case dict() if value and not any(isinstance(text, list | dict) for text in value.values()):
            return [f"{label}. {write_short(text)}" for label, text in value.items() if write_short(text)]
        case list() if value and not any(isinstance(text, list | dict) for text in value):
            return _mark_options(list(map(write_short, value)), answer)
        case list() if value and all(isinstance(option, dict) and _find_pair(option) for option in value):
            pairs = [_find_pair(option) for option in value]
            return [f"{write_short(pair[0])}. {write_short(pair[1])}" for pair in pairs if pair]
    return None


def _find_pair(option: dict[str, Any]) -> tuple[Any, Any] | None:
    """Label and text of an option, or of all of them as two lists."""
    label = next((key for key in LABEL_KEYS if key in option), None)
    text = next((key for key in TEXT_KEYS if key in option), None)
    return (option[label], option[text]) if label and text and len(option) == 2 else None


def _mark_options(texts: list[str], answer: str) -> list[str]:
    """Options without labels: by letters where the answer is one of these, else as a list."""
    letters = [chr(ord("A") + place) for place in range(min(len(texts), 26))]
    by_letter = len(texts) == len(letters) and answer.strip(" .()").upper() in letters and answer not in texts
    return [f"{letter}. {text}" for letter, text in zip(letters, texts)] if by_letter else [f"- {t}" for t in texts]


def write_short(value: Any) -> str:
    return (write_value(value) or "").strip()
