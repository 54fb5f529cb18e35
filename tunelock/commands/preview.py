"""`tunelock preview`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunelock.commands.options import (
    Columns,
    Delimiter,
    Encoding,
    Format,
    Json,
    Revision,
    print_json,
    resolve_path,
    resolve_source,
)
from tunelock.run.errors import Stop

if TYPE_CHECKING:
    from tunelock.reading.shape import Source


MOST_ASKED = 20  # rows that are shown where some are asked for


def _parse_rows(text: str):
    from tunelock.previewing.row_choice import parse_ranges

    try:
        return parse_ranges(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


_What = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[SOURCE|PATH]...",
        help="Sources of params.yaml, or files, folders, globs, URLs, hf://…, wheel:…; all sources if not given.",
    ),
]
_Rows = Annotated[
    Any, typer.Option(parser=_parse_rows, metavar="ROWS", help="Rows by number: 40, 40-45, 40- or 3,40-45.")
]
_Dropped = Annotated[
    str | None,
    typer.Option(metavar="REASON", help="Rows that ingest, clean or split left out, such as too_long; all for any."),
]
_Number = Annotated[
    int | None, typer.Option("-n", "--number", min=0, help="Rows that are shown: 3, or 20 of those asked for.")
]
_Model = Annotated[
    Path | None,
    typer.Option(
        parser=resolve_path, metavar="FOLDER", help="Where the tokenizer is; models/base, else that of params.yaml."
    ),
]


def preview(
    what: _What = None,
    rows: _Rows = None,
    task: Annotated[str | None, typer.Option(help="Rows of this task.")] = None,
    group: Annotated[str | None, typer.Option(help="Rows of this group.")] = None,
    id: Annotated[list[str] | None, typer.Option(help="The record of this id; repeat it.")] = None,
    dropped: _Dropped = None,
    number: _Number = None,
    revision: Revision = None,
    format: Format = None,
    columns: Columns = None,
    encoding: Encoding = None,
    delimiter: Delimiter = None,
    model: _Model = None,
    tokens: Annotated[bool, typer.Option("--tokens", help="One token a line.")] = False,
    whole: Annotated[bool, typer.Option("--whole", help="Long texts whole, at a terminal too.")] = False,
    as_json: Json = False,
) -> None:
    """Show what raw data becomes: records, lengths, tokens, loss mask.

    Reads at most 10,000 rows of a source and shows three records, coloured by what the model learns from; without
    colours that stands between ⟦ and ⟧.

    Example: tunelock preview data/raw/faq.csv --columns '{"instruction": "{question}", "response": "{reply}"}'
    """
    from tunelock.previewing.preview_tokenizer import find_tokenizer
    from tunelock.previewing.row_choice import RowChoice
    from tunelock.previewing.shown_rows import Looking
    from tunelock.previewing.source_choice import choose_sources
    from tunelock.previewing.source_preview import EXAMPLES
    from tunelock.rendering.rendering import Rendering
    from tunelock.run.params import load_yaml

    params = load_yaml("params.yaml")
    choice = RowChoice(rows or (), task, group, tuple(id or ()))
    most = number if number is not None else EXAMPLES if choice.is_open else MOST_ASKED
    options = {"revision": revision, "format": format, "columns": columns, "encoding": encoding, "delimiter": delimiter}
    names = [resolve_source(one) for one in what or []]
    sources = choose_sources(names, params, {key: value for key, value in options.items() if value is not None})
    found = find_tokenizer(model, params)
    looking = Looking(found.tokenizer, Rendering.from_params(params), params, tokens)
    if dropped is not None:
        _preview_dropped(dropped, list(sources) if what else [], choice, looking, most, whole, as_json)
    else:
        _preview_sources(sources, choice, looking, most, whole, as_json)
    if found.tokenizer is None:
        typer.echo(f"\n{found.note}", err=True)


def _preview_dropped(reason, names, choice, looking, most, whole, as_json) -> None:
    """Show the rows that stages left out."""
    from dataclasses import asdict

    from tunelock.previewing.dropped_rows import find_dropped_rows

    found = find_dropped_rows(reason, names, choice, looking, most)
    if as_json:
        print_json(asdict(found))
    else:
        _make_screen(whole).show_dropped(found)


def _preview_sources(sources: "dict[str, Source]", choice, looking, most, whole, as_json) -> None:
    """Show each source; what is wrong with one is said in its place where there are others."""
    from dataclasses import asdict

    from tunelock.previewing.shown_rows import UNNAMED
    from tunelock.previewing.source_preview import preview_source

    made, faults = {}, []
    for name, source in sources.items():
        try:
            known = UNNAMED if name == source.path else name
            found = made[name] = preview_source(known, source, looking, choice, most)
        except Stop as stop:
            faults.append(str(stop))
            continue
        if not as_json:
            _make_screen(whole).show_preview(name if name != source.path else None, found)
        if not found.records and choice.is_open:
            faults.append(f"no row of {name} becomes a record; `--columns` names its columns, `--format` its format.")
    if as_json and made:
        plain = {name: asdict(found) for name, found in made.items()}
        print_json(plain if len(sources) > 1 else next(iter(plain.values())))
    if faults:
        raise Stop(" ".join(faults))


def _make_screen(whole: bool):
    from tunelock.previewing.preview_screen import PreviewScreen

    return PreviewScreen(whole)
