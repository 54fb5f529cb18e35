"""`tunelock estimate`."""

from typing import Annotated

import typer

from tunelock.commands.options import Json, choose_among, print_json


def _read_gpus() -> list[str]:
    from tunelock.planning.gpus import GPUS

    return list(GPUS)


def _read_families() -> list[str]:
    from tunelock.planning.known_models import FAMILIES

    return list(FAMILIES)


def estimate(
    gpu: Annotated[
        list[str] | None,
        typer.Option(**choose_among(_read_gpus), help="A GPU, such as l4; repeat it for more. All if not given."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(**choose_among(_read_families), help="A known model, such as llama-3.1-8b, for models/base."),
    ] = None,
    change: Annotated[
        list[str] | None,
        typer.Option("-S", "--set-param", metavar="KEY=VALUE", help="Change a param of the estimate; repeat it."),
    ] = None,
    price: Annotated[float | None, typer.Option(help="Dollars an hour, instead of the list price.")] = None,
    as_json: Json = False,
) -> None:
    """Forecast memory, time, disk and money of a training.

    For the current params.yaml, changed by -S as `dvc exp run` would. Prices are list prices of one day, to compare by.

    Example: tunelock estimate --model llama-3.1-8b --gpu l4 --gpu a100-80gb -S method=qlora
    """
    from dataclasses import asdict

    from tunelock.planning.forecast import change_settings, find_shape, forecast_training
    from tunelock.planning.forecast_text import describe_forecast
    from tunelock.planning.guides import compare_with_guides
    from tunelock.planning.memory_settings import MemorySettings
    from tunelock.planning.training_rows import measure_rows
    from tunelock.watching.length_costs import measure_machine

    settings, shape = change_settings(change or []), find_shape(model)
    prices = dict.fromkeys(gpu or _read_gpus(), price)
    machine = measure_machine(settings.dtype)
    found = forecast_training(model or "models/base", shape, settings, measure_rows(settings), prices, machine)
    if as_json:
        print_json(asdict(found))
    else:
        guides = compare_with_guides(MemorySettings.from_params(vars(settings)))
        typer.echo("\n".join([*describe_forecast(found), "", *guides]))
