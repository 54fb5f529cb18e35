"""The entry of a source in params.yaml, as its columns suggest it: format or templates, task, group, what goes."""

from dataclasses import dataclass, field
from typing import Any

from tunelock.previewing.start_names import GROUPS, KEYS, NO_TEXT, TASKS, WRITERS, has_word, rank_name
from tunelock.previewing.start_profile import ColumnProfile, TableProfile
from tunelock.previewing.start_roles import ColumnRoles, Doubt, guess_roles, tells_the_answer
from tunelock.reading.contexts import find_contexts
from tunelock.reading.formats import FORMATS, list_columns_read
from tunelock.reading.reading import PROBED
from tunelock.run.errors import Stop

MOST_TASKS = 20
ROWS_A_TASK = 10
LEAST_GROUPS = 12  # with fewer, no split would get its share
LARGEST_GROUP = 0.1  # share of the rows
FEW_REPEATS = 10  # below it, a digit behind the point says something
REPEATED = 1.1  # rows a value from which a column says that rows belong together
ASKING = (
    "question",
    "instruction",
    "prompt",
    "query",
    "frage",
    "pregunta",
    "domanda",
    "问题",
    "質問",
    "질문",
)  # for a label


@dataclass(slots=True)
class SourceGuess:
    """An entry of `sources` but for its path, why it is so, and what a person should decide.

    labels: the answers where they are few. largest_group: its share of the rows. groups: how many there are, about.
    """

    entry: dict[str, Any]
    reasons: list[str] = field(default_factory=list)
    doubts: list[Doubt] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    largest_group: float = 0.0
    groups: int = 0


def guess_source(table: TableProfile, chosen: dict[str, str]) -> SourceGuess:
    """Look at the columns of a table; `chosen` are a person's decisions about `answer` and `question`."""
    try:
        roles = guess_roles(table, chosen)
    except Stop:  # the texts may stand in objects
        if not table.inner:
            raise
        table = table.open_objects()
        roles = guess_roles(table, chosen)
    asked = table.columns.get(roles.question or "")
    groups = asked.values.distinct if asked else table.rows
    guess = SourceGuess({}, roles.reasons, roles.doubts, labels=roles.labels, groups=groups)
    read = _map_columns(guess, roles, table)
    rest = {name: column for name, column in table.columns.items() if name not in read}
    _choose_task(guess, table, rest)
    _choose_group(guess, table, rest, roles.contexts)
    _ignore_rest(guess, _close_objects(rest, table, read))
    _warn_of_places(guess, roles, table)
    return guess


def _map_columns(guess: SourceGuess, roles: ColumnRoles, table: TableProfile) -> set[str]:
    """Put the format or the templates into the entry; the columns that they read."""
    used = {roles.answer, roles.question, roles.system, *roles.contexts, *roles.options} - {None}
    if roles.format:
        read = _list_read(roles.format, table)
        nested = roles.answer is not None and table.columns[roles.answer].is_nested
        if roles.answer is None or (used <= read and not nested):
            guess.entry["format"] = roles.format
            guess.reasons.insert(0, f"the columns are those of the format {roles.format}")
            return read & table.columns.keys()
    instruction, context = _write_question(roles)
    columns = {"instruction": instruction, "response": f"{{{roles.answer}}}"}
    columns |= {"context": context} if context else {}
    system = _write_system(roles)
    columns |= {"system": system} if system else {}
    guess.entry["columns"] = columns
    return used


def _list_read(format: str, table: TableProfile) -> set[str]:
    """The columns that a format reads, and those that the reading takes for contexts by their names."""
    known = FORMATS[format]
    if not known.one_question:
        return set(list_columns_read(format, table.sample))
    return set(known.reads() | find_contexts(table.sample[:PROBED], known.reads()).names())


def _write_question(roles: ColumnRoles) -> tuple[str, str]:
    """The templates of instruction and context; the options stand below the instruction."""
    if len(roles.options) == 1:
        below = f"\n\n{{{roles.options[0]}}}"
    else:
        below = "".join(f"\n{name[-1].upper()}. {{{name}}}" for name in roles.options)
    named = [f"{name}: {{{name}}}" for name in roles.contexts] if len(roles.contexts) > 1 else []
    return f"{{{roles.question}}}{below}", "\n\n".join(named or (f"{{{name}}}" for name in roles.contexts))


def _write_system(roles: ColumnRoles) -> str | None:
    """The template of the system prompt: a column, or the labels where no column asks for one of them."""
    if roles.system:
        return f"{{{roles.system}}}"
    if not roles.labels or roles.options or rank_name(roles.question or "", ASKING) is not None:
        return None
    roles.reasons.append("no column asks for a label, so the system prompt lists them")
    return f"Answer with one of these: {', '.join(roles.labels)}."


def _choose_task(guess: SourceGuess, table: TableProfile, rest: dict[str, ColumnProfile]) -> None:
    """A column of a few names that each have rows enough to be measured."""
    fit = {}
    for name, column in rest.items():
        values = column.values
        few = values.is_whole and 1 < values.distinct <= MOST_TASKS and not column.is_nested
        if few and rank_name(name, TASKS) is not None and min(values.counts.values()) >= ROWS_A_TASK:
            fit[name] = rank_name(name, TASKS)
    for name in sorted(fit, key=lambda name: (fit[name], name)):
        if table.columns[name].filled == table.rows:
            names = ", ".join(value for value, _ in table.columns[name].values.find_most_common()[:5])
            guess.entry["task"] = f"{{{name}}}"
            guess.reasons.append(f"`{name}` has {table.columns[name].values.distinct} values ({names}): the task")
            return
        guess.reasons.append(f"`{name}` would be the task, but {table.rows - table.columns[name].filled} rows lack it")


def _choose_group(guess: SourceGuess, table: TableProfile, rest: dict[str, ColumnProfile], contexts: list[str]) -> None:
    """The column whose values say which rows belong together: the one with the fewest that can still be divided."""
    found = []
    for name, column in {**rest, **{name: table.columns[name] for name in contexts}}.items():
        named = name in contexts or rank_name(name, GROUPS) is not None or has_word(name, KEYS)
        if (
            named
            and not column.is_nested
            and guess.entry.get("task") != f"{{{name}}}"
            and not _is_measure(name, column)
            and not has_word(name, WRITERS)
        ):
            found += [column] if column.values.repeats >= REPEATED else []
    for column in sorted(found, key=lambda column: (column.values.distinct, column.longest)):
        values = column.values
        often = f"{values.repeats:,.0f}" if values.repeats >= FEW_REPEATS else f"{values.repeats:.2g}"
        times = f"`{column.name}` repeats {often} times a value ({values.distinct:,} values)"
        largest = max(values.counts.values()) / table.rows
        if column.filled < table.rows:
            guess.reasons.append(f"{times}, but {table.rows - column.filled:,} rows lack it: not the group")
        elif values.distinct < LEAST_GROUPS or largest > LARGEST_GROUP:
            guess.reasons.append(f"{times}, of which one has {largest:.0%} of the rows: too coarse to be the group")
        else:
            guess.entry["group"] = f"{{{column.name}}}"
            guess.groups, guess.largest_group = values.distinct, largest
            guess.reasons.append(f"{times}, so it is the group: rows that share it stay in one split")
            return


def _is_measure(name: str, column: ColumnProfile) -> bool:
    """Whether a column holds quantities or dates, which may repeat by chance."""
    return (column.types["float"] > 0 and not has_word(name, KEYS)) or has_word(name, tuple(set(NO_TEXT) - {"url"}))


def _close_objects(rest: dict[str, ColumnProfile], table: TableProfile, read: set[str]) -> dict[str, ColumnProfile]:
    """The unused columns, for what stands in an object the object, unless another of its values is used."""
    used = {name.split(".")[0] for name in read & table.inner.keys()}
    columns = {}
    for name, column in rest.items():
        whole = name.split(".")[0] if name in table.inner else name
        if whole not in used:
            columns[whole] = column
    return columns


def _ignore_rest(guess: SourceGuess, rest: dict[str, ColumnProfile]) -> None:
    """What nothing uses is named, so that the reading does not stop at it."""
    used = (guess.entry.get("task"), guess.entry.get("group"))
    ignored = [name for name in rest if f"{{{name}}}" not in used]
    if not ignored:
        return
    guess.entry["ignore_columns"] = ignored
    telling = [name for name in ignored if tells_the_answer(name)]
    for name in telling:
        guess.reasons.append(f"`{name}` may tell the answer: ignored, or the model would read it in the question")
    others = [f"`{name}`" for name in ignored if name not in telling]
    if others:
        guess.reasons.append(f"{', '.join(others)}: nothing to learn from, ignored")


def _warn_of_places(guess: SourceGuess, roles: ColumnRoles, table: TableProfile) -> None:
    """Warn where answers are numbers that point into a list of options, which does not show numbers."""
    numbers = bool(roles.labels) and all(map(str.isdigit, roles.labels))
    if numbers and len(roles.options) == 1 and table.columns[roles.options[0]].is_nested:
        guess.warnings.append(
            f"`{roles.answer}` has numbers, perhaps places in `{roles.options[0]}`, which stands in the question "
            "without numbers: write the option's text or letter into the answer instead"
        )
