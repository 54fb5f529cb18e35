"""What the rows of one file are: their format, the contexts of their questions, and which columns are used."""

from collections import Counter
from itertools import chain
from typing import NamedTuple

from tunelock.reading.contexts import Contexts, add_contexts, find_contexts
from tunelock.reading.formats import FORMATS, detect_format, fits_format, list_columns_read, map_columns
from tunelock.reading.rows import Columns, Fault, Row, Unfit
from tunelock.reading.values import list_places
from tunelock.records.record import Message
from tunelock.run.errors import Stop
from tunelock.run.spelling import suggest_name


class Source(NamedTuple):
    """One entry under `sources` in params.yaml, which explains the keys."""

    path: str
    revision: str | None = None
    format: str | None = None
    columns: dict[str, str] | None = None
    ignore_columns: list[str] | None = None
    task: str | None = None
    group: str | None = None
    licence: str | None = None
    encoding: str | None = None
    delimiter: str | None = None
    chunk_chars: int = 1200
    role: str = "main"
    weight: float = 1.0

    def templates(self) -> dict[str, str]:
        """The templates by the key that has them, such as columns.response."""
        own = {key: template for key, template in (("task", self.task), ("group", self.group)) if template}
        return {f"columns.{key}": template for key, template in (self.columns or {}).items()} | own

    def paths(self) -> list[str]:
        """The places of the templates that may be paths into objects, such as translation.de."""
        places = chain.from_iterable(map(list_places, self.templates().values()))
        return [place for place in places if "." in place]


class _Shape(NamedTuple):
    """The format of a file, None where `columns` maps it or no row told; its contexts; the columns that are used."""

    kind: str | None
    contexts: Contexts
    used: frozenset[str]

    def describe(self, source: Source) -> str:
        """The format in words, with the columns of the contexts."""
        if source.columns:
            return "mapped by columns"
        beside = f" with {', '.join(sorted(self.contexts.names()))}" if self.contexts.names() else ""
        return f"{self.kind}{beside}" if self.kind else "no row can be read"


def find_shape(source: Source, name: str, probe: list[Row | Fault]) -> _Shape:
    """The shape of the file `name` by its first rows.

    Raises:
        Stop: its columns are of no known format, or a template asks for a column that no row has.
    """
    rows = [row.columns for row in probe if isinstance(row, Row)]
    _check_templates(source, name, rows)
    templates = source.templates().values()
    named = frozenset(source.ignore_columns or []).union(*map(list_places, templates))
    named |= {path.split(".")[0] for path in source.paths()}
    kind = None if source.columns else _decide_format(source, name, rows)
    if kind is None or not FORMATS[kind].one_question:
        return _Shape(kind, Contexts(), named | (list_columns_read(kind, rows) if kind else frozenset()))
    reads = FORMATS[kind].reads()
    taken = reads.union(source.ignore_columns or [], list_places(source.task or ""))
    contexts = find_contexts([row for row in rows if FORMATS[kind].columns <= row.keys()], taken)
    return _Shape(kind, contexts, named | reads | contexts.names())


def _check_templates(source: Source, name: str, rows: list[Columns]) -> None:
    """Stop at a template that asks for a column that no row has."""
    columns = sorted(set().union(*rows))
    for key, template in source.templates().items() if rows else ():
        for place in list_places(template):
            if place not in columns:
                there = _list_paths(rows, place.split(".")[0]) or columns
                listed = ", ".join(there[:20]) + (", …" if there[20:] else "")
                raise Stop(
                    f"{name}: `{key}` asks for the column '{place}', which no row has{suggest_name(place, there)} "
                    f"There are {listed}."
                )


def _list_paths(rows: list[Columns], column: str) -> list[str]:
    """The paths into the objects of a column, such as translation.de."""
    objects = (row[column] for row in rows if isinstance(row.get(column), dict))
    return sorted(f"{column}.{key}" for key in set().union(*objects))


def _decide_format(source: Source, name: str, rows: list[Columns]) -> str | None:
    """The declared format, or that of most rows; None where no row can be read."""
    if source.format:
        return source.format
    seen = Counter(filter(None, map(detect_format, rows)))
    if seen:
        return seen.most_common(1)[0][0]
    if not rows:
        return None
    names = ", ".join(sorted(rows[0])[:12])
    raise Stop(
        f"{name}: the columns {names} are of no known format; add `columns:` to its source, such as "
        '{instruction: "{COLUMN}", response: "{COLUMN}"}.'
    )


def read_messages(source: Source, shape: _Shape, columns: Columns) -> list[Message]:
    """The messages of a row by the templates of its source, or by the format and the contexts of its file.

    Raises:
        Unfit: the row is no record.
    """
    if source.columns:
        return map_columns(source.columns, columns)
    kind = shape.kind or detect_format(columns)  # where no row decided on the file's, the row's own counts
    if kind is None or not fits_format(kind, columns):
        raise Unfit("other_format")
    return add_contexts(FORMATS[kind].to_messages(columns), shape.contexts, columns)
