"""Which sources are previewed: those of params.yaml, some of them by name, or files that are no source yet."""

from pathlib import Path
from typing import Any

from tunelock.previewing.source_preview import make_source
from tunelock.reading.shape import Source
from tunelock.run.errors import Stop
from tunelock.run.spelling import suggest_name


def choose_sources(names: list[str], params: dict[str, Any], options: dict[str, Any]) -> dict[str, Source]:
    """The sources by name, or by path where they are files; without names all of params.yaml.

    Args:
        names: of sources, or paths and addresses.
        options: of the command line; they change a source of params.yaml and describe any other.

    Raises:
        Stop: a name is neither a source nor a file, or params.yaml has no source.
    """
    known: dict[str, Any] = params.get("sources") or {}
    if not names and not known:
        raise Stop("params.yaml has no source yet; name a file: `tunelock preview data/raw/faq.csv`.")
    chosen = {}
    for name in names or known:
        if name in known and not (names and Path(name).exists()):
            chosen[name] = Source(**known[name] | options)
        elif _is_name(name):
            listed = ", ".join(sorted(known)) or "none"
            raise Stop(f"'{name}' is neither a file nor a source{suggest_name(name, known)} The sources are {listed}.")
        else:
            chosen[name] = make_source(name, **{"revision": None} | options)
    return chosen


def _is_name(text: str) -> bool:
    """Whether a text that names no source can name no file either."""
    return not Path(text).exists() and not any(mark in text for mark in "/.:*")
