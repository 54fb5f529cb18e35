"""Sources: where the rows come from. An entry under `sources`, or `general_source`, is a `SourceSchema`."""

from typing import Annotated, Any, Literal

from pydantic import Field

from tunelock.reading.formats import FORMATS
from tunelock.run.rules import Values, rule
from tunelock.schema.field_types import Count, Name, Revision, Share, StrictFields, Text, Weight

_CHUNK_CHARS = 1200
Column = Literal["instruction", "context", "response", "system", "text"]  # what `columns` makes of a table


class SourceSchema(StrictFields):
    """One source; the keys that are left out have the defaults of `tunelock.reading.shape.Source`."""

    path: Text
    revision: Revision | None = None
    format: Literal[tuple(FORMATS)] | None = None  # type: ignore[valid-type]  # known when this is imported
    columns: dict[Column, Text] | None = None
    ignore_columns: list[Text] | None = None
    task: Text | None = None
    group: Text | None = None
    licence: Text | None = None
    encoding: Text | None = None
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    chunk_chars: Count = _CHUNK_CHARS
    role: Literal["main", "replay"] = "main"
    weight: Weight = 1.0


class SourcesParams(StrictFields):
    """The keys below the banner `sources`."""

    sources: Annotated[dict[Name, SourceSchema], Field(min_length=1)]
    max_set_aside_share: Share
    licence_required: bool


def has_replay_source(values: Values) -> bool:
    """Whether a source has the role `replay`."""
    return "replay" in _read_roles(values)


def _read_roles(values: Values) -> set[str]:
    return {source.get("role", "main") for source in values["sources"].values()}


@rule("sources: every source has `role: replay`; what is to be learnt needs `role: main`.")
def _no_source_is_to_be_learnt(values: Values) -> bool:
    return "main" not in _read_roles(values)


def find_wrong_sources(values: Values) -> list[str]:
    """Sources that come from elsewhere without the hash that says what must come, or are described twice."""
    entries = {f"sources.{name}": source for name, source in values.get("sources", {}).items()}
    if "general_source" in values:
        entries["general_source"] = values["general_source"]
    found = []
    for place, source in entries.items():
        found += _find_missing_pins(place, source) + _find_wrong_columns(place, source)
    return found + _find_missing_licences(values) + _find_large_pieces(values)


def _find_missing_licences(values: Values) -> list[str]:
    if not values.get("licence_required"):
        return []
    names = [name for name, source in values.get("sources", {}).items() if not source.get("licence")]
    return [f"sources.{name}.licence: is missing, and `licence_required` is true; state it." for name in names]


def _find_large_pieces(values: Values) -> list[str]:
    """Sources of raw text whose pieces are longer than `clean` lets pass."""
    most, found = values.get("max_response_chars"), []
    for name, source in values.get("sources", {}).items():
        size = source.get("chunk_chars", _CHUNK_CHARS)
        if most is not None and size > most and _is_of_texts(source):
            found.append(
                f"sources.{name}.chunk_chars: {size} is above max_response_chars {most}, so `clean` would drop most "
                "pieces of a text; lower it, or raise max_response_chars."
            )
    return found


def _is_of_texts(source: dict[str, Any]) -> bool:
    """Whether params.yaml alone shows that the rows are raw texts: it sets their size, or the path names a document."""
    if source.get("format") or source.get("columns"):
        return source.get("format") == "text" or "text" in (source.get("columns") or ())
    path = source["path"].lower().removesuffix(".gz").removesuffix(".zst")
    return "chunk_chars" in source or path.endswith((".txt", ".md"))


_PINS = {"http://": (64, "sha256"), "https://": (64, "sha256"), "wheel:": (64, "sha256"), "hf://": (40, "commit")}


def _find_missing_pins(place: str, source: dict[str, Any]) -> list[str]:
    found = []
    for scheme, (digits, what) in _PINS.items():
        if source["path"].startswith(scheme) and len(source.get("revision") or "") != digits:
            found.append(f"{place}.revision: is to be the {what} ({digits} hex digits) of {scheme}…; put it here.")
    return found


def _find_wrong_columns(place: str, source: dict[str, Any]) -> list[str]:
    columns = source.get("columns")
    if not columns:
        return []
    found = []
    if "text" not in columns and not {"instruction", "response"} <= columns.keys():
        found.append(f"{place}.columns: is to have instruction and response, or text; add what is missing.")
    if source.get("format"):
        found.append(f"{place}.columns: with `format` there is nothing to map; keep one of the two.")
    return found
