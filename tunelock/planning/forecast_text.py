"""A forecast as a person reads it: what is trained, memory and disk by part, a table of the places."""

from tunelock.planning.forecast import Forecast, Place


def describe_forecast(forecast: Forecast) -> list[str]:
    """The lines of a forecast, the table in Markdown."""
    share = forecast.trained_parameters / forecast.parameters
    return [
        f"{forecast.model}: {forecast.parameters:,} parameters; {forecast.method} trains "
        f"{forecast.trained_parameters:,} ({share:.2%}), {forecast.dtype}",
        f"{forecast.rows:,} rows, {forecast.tokens:,.0f} tokens in {forecast.epochs:g} epochs ({forecast.rows_from}); "
        f"the largest batch has {forecast.batch_rows} rows of {forecast.batch_tokens} tokens",
        f"memory (GB): {_list_parts(forecast.memory)}; at the peak {forecast.memory_at_peak:.2f}",
        f"disk (GB): {_list_parts(forecast.disk)}; in all {sum(forecast.disk.values()):.2f}",
        "",
        "| on | has (GB) | needs (GB) | verdict | time | cost | an hour | price of |",
        "|---|---|---|---|---|---|---|---|",
        *map(format_place, forecast.places),
        "time: training alone, at a share of the peak rate that large models reach; small ones are slower than that",
    ]


def format_place(place: Place) -> str:
    """One row of the table."""
    has = f"{place.memory_gb:.1f}" if place.dollars_an_hour is None else f"{place.memory_gb}"
    verdict = "fits" if place.fits else f"{place.needed_gb - place.memory_gb:.1f} GB short"
    verdict += f", {place.remark}" if place.remark else ""
    cells = [place.name, has, f"{place.needed_gb:.1f}", verdict, _format_duration(place.seconds)]
    cells += [_format_dollars(place.cost), _format_dollars(place.dollars_an_hour), place.source]
    return f"| {' | '.join(cells)} |"


def _list_parts(parts: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.2f}" for name, value in parts.items())


def _format_dollars(value: float | None) -> str:
    return "-" if value is None else f"${value:.2f}"


def _format_duration(seconds: float | None) -> str:
    """Seconds in the unit a person would use."""
    if seconds is None:
        return "-"
    minutes = seconds / 60
    return f"{minutes / 60:.1f} h" if minutes >= 90 else f"{minutes:.0f} min" if minutes >= 1 else "< 1 min"
