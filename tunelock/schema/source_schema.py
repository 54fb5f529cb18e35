"""The schema of a source (an entry under `sources`, or `general_source`), and what is wrong between its keys."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=1)]
Text = Annotated[str, Field(min_length=1)]
Weight = Annotated[float, Field(gt=0, le=1e6)]


class SourceSchema(BaseModel):
    """One source; the keys that are left out have the defaults of `tunelock.reading.reading.Source`."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    path: Text
    revision: Annotated[str, Field(pattern=r"^([0-9a-f]{40}|[0-9a-f]{64})$")] | None = None
    format: Literal["chatml", "sharegpt", "alpaca", "instruction", "completion", "qa", "text"] | None = None
    columns: dict[Literal["instruction", "context", "response", "system", "text"], Text] | None = None
    task: Text | None = None
    group: Text | None = None
    licence: Text | None = None
    encoding: Text | None = None
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    chunk_chars: Count = 1200
    role: Literal["main", "replay"] = "main"
    weight: Weight = 1.0


def roles(sources: dict) -> set[str]:
    """What the sources are for."""
    return {source.get("role", "main") for source in sources.values()}


def unpinned(sources: dict[str, dict]) -> list[str]:
    """Sources that come from elsewhere without the hash that says what must come, or are described twice.

    `sources` are entries by their place in params.yaml, such as `sources.cwe`.
    """
    pins = {"http://": (64, "sha256"), "https://": (64, "sha256"), "wheel:": (64, "sha256"), "hf://": (40, "commit")}
    found = []
    for name, source in sources.items():
        for scheme, (digits, what) in pins.items():
            if source["path"].startswith(scheme) and len(source.get("revision") or "") != digits:
                found.append(f"{name}.revision: is to be the {what} ({digits} hex digits) of {scheme}…; put it here.")
        columns = (source.get("columns") or {"text": ""}).keys()
        if "text" not in columns and not {"instruction", "response"} <= columns:
            found.append(f"{name}.columns: is to have instruction and response, or text; add what is missing.")
        if source.get("format") and source.get("columns"):
            found.append(f"{name}.columns: with `format` there is nothing to map; keep one of the two.")
    return found
