"""Which column is the question, the answer, the context, the task and the group, each with a sentence that says why."""

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from tunelock.previewing.start_names import (
    ANSWERS,
    CONTEXTS,
    KEYS,
    MEASURES,
    NO_TEXT,
    OPTIONS,
    QUESTIONS,
    SYSTEMS,
    TELL_THE_ANSWER,
    find_lettered,
    has_word,
    rank_name,
)
from tunelock.previewing.start_profile import ColumnProfile, TableProfile
from tunelock.reading.chats import PREFERRED
from tunelock.reading.formats import CHATS, detect_format, list_columns_read
from tunelock.run.errors import Stop

LONG = 120  # characters; a column with such values is text and no name or number
MOST_LABELS = 20  # different answers that are labels,
ROWS_A_LABEL = 5  # if each stands in about so many rows
LABEL_CHARS = 60
VARIED = 0.02  # values a row from which a text differs from row to row


class Doubt(NamedTuple):
    """What cannot be known from the data: the role, a question to a person, the columns to choose from, the guess."""

    role: str
    question: str
    choices: list[str]
    guess: str


@dataclass(slots=True)
class ColumnRoles:
    """The columns by what they are for. `reasons` are sentences, `doubts` what a person should decide."""

    format: str | None = None
    answer: str | None = None
    question: str | None = None
    contexts: list[str] = field(default_factory=list)
    options: list[str] = field(default_factory=list)
    system: str | None = None
    labels: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    doubts: list[Doubt] = field(default_factory=list)


def guess_roles(table: TableProfile, chosen: dict[str, str]) -> ColumnRoles:
    """The roles of a table's columns; `chosen` are those that a person gave, a column by `answer` or `question`.

    Raises:
        Stop: no column can be the answer.
    """
    roles = ColumnRoles(format=_find_format(table))
    columns = {name: column for name, column in table.columns.items() if column.filled}
    if roles.format in CHATS:
        if PREFERRED in columns and PREFERRED in list_columns_read(roles.format, table.sample):
            roles.reasons.append(f"`{PREFERRED}` is the conversation: the answers that people liked better are learnt")
        return roles
    if roles.format == "text" and not _find_answer(columns, chosen):
        roles.reasons.append("each row is a raw text: all of it is learnt from")
        return roles
    _choose_answer(roles, columns, chosen)
    if roles.answer and table.holds_chats(roles.answer):
        raise Stop(
            f"`{roles.answer}` holds whole conversations, with question and answer; in the file, name it `messages` "
            "and leave out the columns with other answers (docs/data.md)."
        )
    rest = {name: column for name, column in columns.items() if name != roles.answer}
    _choose_option_columns(roles, rest)
    _choose_question(roles, rest, chosen)
    _choose_contexts(roles, table, rest)
    _ask_without_question(roles, rest)
    _explain_contexts(roles)
    return roles


def _find_format(table: TableProfile) -> str | None:
    """The format of most of the sampled rows."""
    seen = Counter(filter(None, map(detect_format, table.sample)))
    return seen.most_common(1)[0][0] if seen and max(seen.values()) > len(table.sample) / 2 else None


def _rank_columns(columns: dict[str, ColumnProfile], known: tuple[str, ...]) -> list[str]:
    """The columns whose names are in a list, the best first."""
    ranks = {name: rank_name(name, known) for name in columns}
    return sorted((name for name in columns if ranks[name] is not None), key=lambda name: (ranks[name], name))


def _find_answer(columns: dict[str, ColumnProfile], chosen: dict[str, str]) -> str | None:
    """The column that is named like an answer."""
    if chosen.get("answer"):
        return chosen["answer"]
    fit = {name: column for name, column in columns.items() if not has_word(name, MEASURES)}
    flat = {name: column for name, column in fit.items() if not column.is_nested}
    return next(iter([*_rank_columns(flat, ANSWERS), *_rank_columns(fit, ANSWERS)]), None)


def _choose_answer(roles: ColumnRoles, columns: dict[str, ColumnProfile], chosen: dict[str, str]) -> None:
    roles.answer = _find_answer(columns, chosen)
    texts = [name for name, column in columns.items() if column.is_text and not has_word(name, (*KEYS, *NO_TEXT))]
    if roles.answer is None:
        free = [name for name in texts if rank_name(name, QUESTIONS) is None]
        if len(texts) < 2 or not free:
            raise Stop(
                f"no column can be the answer among {', '.join(sorted(columns)[:12])}; two columns of text are needed, "
                "or `messages`. Write `columns` of the source by hand (docs/data.md)."
            )
        roles.answer = [name for name in free if rank_name(name, CONTEXTS) is None or name == free[-1]][-1]
        asked = "Which column is the answer, which the model learns to write?"
        roles.doubts.append(Doubt("answer", asked, texts, roles.answer))
        roles.reasons.append(f"no column is named like an answer, so the text `{roles.answer}` is taken")
    column = columns[roles.answer]
    if _holds_labels(column):
        roles.labels = sorted(name for name, _ in column.values.find_most_common())
        listed = ", ".join(roles.labels[:6]) + (", …" if len(roles.labels) > 6 else "")
        roles.reasons.append(f"`{roles.answer}` is the answer; it has {len(roles.labels)} values ({listed}): labels")
        return
    nested = ", of whose lists the first text counts" if column.is_nested else f", up to {column.longest:,} characters"
    roles.reasons.append(f"`{roles.answer}` is the answer{nested}")


def _holds_labels(column: ColumnProfile) -> bool:
    """Whether a column has few values, all short, each in several rows."""
    values = column.values
    few = values.is_whole and 1 < values.distinct <= MOST_LABELS and values.repeats >= ROWS_A_LABEL
    return few and column.longest <= LABEL_CHARS


def _choose_option_columns(roles: ColumnRoles, columns: dict[str, ColumnProfile]) -> None:
    """The columns with what can be chosen, as a list or one by one."""
    named = _rank_columns(columns, OPTIONS)
    roles.options = named[:1] or find_lettered(list(columns))
    if roles.options:
        listed = ", ".join(f"`{name}`" for name in roles.options)
        verb = "has" if len(roles.options) == 1 else "have"
        roles.reasons.append(f"{listed} {verb} the options to choose from: put below the question")


def _choose_question(roles: ColumnRoles, columns: dict[str, ColumnProfile], chosen: dict[str, str]) -> None:
    roles.system = next(iter(_rank_columns(columns, SYSTEMS)), None)
    fit = {
        name: column
        for name, column in columns.items()
        if column.is_text and name not in (*roles.options, roles.system)
    }
    roles.question = chosen.get("question") or next(iter(_rank_columns(fit, QUESTIONS)), None)
    if roles.question:
        roles.reasons.append(f"`{roles.question}` is the question")
    if roles.system:
        roles.reasons.append(f"`{roles.system}` is the system prompt")


def _choose_contexts(roles: ColumnRoles, table: TableProfile, columns: dict[str, ColumnProfile]) -> None:
    """The texts that answers may depend on."""
    for name, column in columns.items():
        if name in (roles.question, roles.system, *roles.options) or not column.is_text:
            continue
        if has_word(name, (*KEYS, *NO_TEXT)) or tells_the_answer(name):
            continue
        varied = column.longest > LONG and column.values.distinct > VARIED * table.rows
        if varied or rank_name(name, CONTEXTS) is not None:
            roles.contexts.append(name)


def _explain_contexts(roles: ColumnRoles) -> None:
    """Say of each context why it is one, once none of them can become the question."""
    for name in roles.contexts:
        if rank_name(name, CONTEXTS) is not None:
            roles.reasons.append(f"`{name}` is named like a context: put with the question")
        else:
            roles.reasons.append(f"`{name}` is long and differs from row to row: context, put with the question")


def tells_the_answer(name: str) -> bool:
    """Whether a column that is not the answer is another one, or explains it."""
    return rank_name(name, ANSWERS[:30]) is not None or has_word(name, TELL_THE_ANSWER)


def _ask_without_question(roles: ColumnRoles, columns: dict[str, ColumnProfile]) -> None:
    """Where no column is named like a question, a context is the question."""
    if roles.question:
        return
    if not roles.contexts:
        free = [name for name, column in columns.items() if column.is_text and not tells_the_answer(name)]
        if not free:
            raise Stop(
                f"no column of text is left for the question, beside the answer `{roles.answer}`; write `columns` of "
                "the source by hand (docs/data.md)."
            )
        roles.contexts = [max(free, key=lambda name: (columns[name].longest, name))]
        if len(free) > 1:
            roles.doubts.append(Doubt("question", "Which column is the question?", free, roles.contexts[0]))
    roles.question = roles.contexts.pop(0)
    only = "the only text" if not roles.contexts else "the first text"
    roles.reasons.append(f"`{roles.question}` is {only} beside the answer, so it is the question")
