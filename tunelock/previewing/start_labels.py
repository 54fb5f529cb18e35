"""Answers that are labels or options of a list, and answers that are JSON: the patterns by which they are scored."""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable

from tunelock.previewing.start_limits import Choices
from tunelock.previewing.start_look import SourceLook
from tunelock.previewing.start_roles import LABEL_CHARS, MOST_LABELS, ROWS_A_LABEL
from tunelock.records.record import Record, is_text, reference_of

FITTING = 0.95  # share of a task's rows that a pattern must fit
FEWEST_ROWS = 20  # of a task, from which its answers show what they are
OPTION_LINES = (  # how questions list their options; the answer is what the group finds
    r"^- (.+)$", r"^\* (.+)$", r"^[A-Z][.)] (.+)$", r"^\([A-Z]\) (.+)$", r"^\d+[.)] (.+)$", r"^\(?([A-Z])[.):] ",
    r"^\(?([a-z])[.):] ", r"^\(?(\d+)[.):] ", "^[A-Z]: (.+)$", "^([A-Z]): ", r"^([A-Z][.)] .+)$",
)  # fmt: skip


def choose_patterns(looks: list[SourceLook]) -> Choices:
    """label_patterns, choice_patterns and format_checks, by task; null where no task has any."""
    choices = Choices()
    found: dict[str, dict[str, str]] = {"label_patterns": {}, "choice_patterns": {}, "format_checks": {}}
    for task, records in sorted(_collect_tasks(looks).items()):
        if len(records) < FEWEST_ROWS or is_text(records[0]):
            continue
        labels, options = _find_labels(records), _find_option_pattern(records)
        if labels:
            found["label_patterns"][task] = write_label_pattern(labels)
        if options:
            found["choice_patterns"][task] = options
        elif _find_option_pattern(records, str.casefold):
            choices.warnings.append(
                f"{task}: some answers differ from their options in case alone (`red`, `Red`), so these rows are no "
                "choices and choice_patterns leaves the task out; write answers as the options are written"
            )
        if not labels and all(map(_is_json, records)):
            found["format_checks"][task] = "json"
    for key, patterns in found.items():
        listed = "; ".join(f"{task}: {pattern}" for task, pattern in list(patterns.items())[:3])
        choices.add({key: patterns or None}, f"{key} {listed}" if patterns else f"{key} null: {_WHY_NONE[key]}")
    return choices


_WHY_NONE = {
    "label_patterns": "no task has few short answers",
    "choice_patterns": "no task's questions list their options line by line with the answer among them",
    "format_checks": "no task answers in JSON",
}


def _collect_tasks(looks: list[SourceLook]) -> dict[str, list[Record]]:
    """The sampled records by task."""
    tasks = defaultdict(list)
    for look in looks:
        for record in look.records:
            tasks[record["task"]].append(record)
    return tasks


def _find_labels(records: list[Record]) -> list[str]:
    """The answers, if they are few, short and frequent."""
    counts = Counter(reference_of(record).strip() for record in records)
    most = min(MOST_LABELS, len(records) // ROWS_A_LABEL)
    short = max(map(len, counts)) <= LABEL_CHARS
    return sorted(counts) if short and 1 < len(counts) <= most else []


def write_label_pattern(labels: list[str]) -> str:
    r"""A pattern that finds one of these labels, whole and whatever its case: `(?i)\b(?:yes|no)\b`.

    Single letters keep their case, for `a` is a word.
    """
    either = "|".join(
        re.escape(label).replace(r"\ ", " ") for label in sorted(labels, key=lambda text: (-len(text), text))
    )
    cased = any(label.lower() != label.upper() for label in labels)
    folded = len({label.casefold() for label in labels}) == len(labels) and min(map(len, labels)) > 1
    marks = "(?i)" if cased and folded else ""
    bounded = all(re.match(r"\w", label[0]) and re.match(r"\w", label[-1]) for label in labels)
    spaced = all(label.isascii() for label in labels)  # in Chinese no boundary stands between two words
    return rf"{marks}\b(?:{either})\b" if bounded and spaced else f"{marks}(?:{either})"


def _find_option_pattern(records: list[Record], form: Callable[[str], str] = str) -> str | None:
    """The first of OPTION_LINES that finds two options or more, the answer among them, in nearly every question.

    Options and answers are compared in this `form`.
    """
    for pattern in OPTION_LINES:
        compiled = re.compile(pattern)
        fitting = sum(_has_choice(record, compiled, form) for record in records)
        if fitting >= FITTING * len(records):
            return pattern
    return None


def _has_choice(record: Record, pattern: re.Pattern[str], form: Callable[[str], str]) -> bool:
    """Whether the last question lists options with the answer among them, as `tunelock.answering.choices` asks."""
    asked = [message["content"] for message in record["messages"] if message["role"] == "user"][-1]
    options = {form(match[1].strip()) for line in asked.splitlines() if (match := pattern.search(line))}
    return len(options) > 1 and form(record["messages"][-1]["content"].strip()) in options


def _is_json(record: Record) -> bool:
    """Whether an answer is a JSON object or list."""
    text = reference_of(record).strip()
    try:
        return text[:1] in ("{", "[") and json.loads(text) is not None
    except ValueError:
        return False
