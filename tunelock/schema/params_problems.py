"""Everything that is wrong with the values of `params.yaml`, all of it at once, a sentence each."""

import difflib
import re
from itertools import chain
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from tunelock.run.rules import find_broken_rules
from tunelock.schema.params_schema import Schema, collect_rules
from tunelock.schema.sources_params import SourceSchema, find_wrong_sources

_SECRET = re.compile(r"(hf_|sk-|ghp_|glpat-|AKIA|xox[bp]-)[A-Za-z0-9_-]{12,}")


def find_problems(values: dict[str, Any]) -> list[str]:
    """A sentence for each problem; empty if the values are fine."""
    values = {str(key): value for key, value in values.items()}
    wrong = _find_wrong_values(values)
    unsound = {key.split(".")[0] for key in wrong}
    sound = {key: value for key, value in values.items() if key not in unsound}
    found = [_write_sentence(key, error) for key, error in wrong.items()]
    found += find_broken_rules(collect_rules(), sound) + find_wrong_sources(sound)
    found += _find_interpolations("", values)
    for key, value in values.items():
        if _SECRET.search(str(value)):
            found.append(f"{key}: looks like a secret; take it out and keep it in the environment.")
    return found


def _find_interpolations(place: str, value: object) -> list[str]:
    """Texts below a key that OmegaConf, by which `dvc exp run -S` writes params.yaml, would replace or refuse."""
    if isinstance(value, dict | list):
        members = value.items() if isinstance(value, dict) else enumerate(value)
        return list(chain.from_iterable(_find_interpolations(f"{place}.{key}", member) for key, member in members))
    name = place.removeprefix(".")
    if value == "???":
        return [f"{name}: '???' is no text for `dvc exp run -S`, which stops at it; write another one, or null."]
    if "${" in f"{name} {value}":
        return [
            f"{name}: `${{` has `dvc exp run -S` put another value there, a variable of the environment too; write "
            r"`$ {` or a currency's name, in a regex `\$[{]`."
        ]
    return []


def _find_wrong_values(values: dict[str, Any]) -> dict[str, ErrorDetails]:
    """The last error of pydantic about each key."""
    try:
        Schema.model_validate(values)
    except ValidationError as error:
        return {_name_place(details["loc"]): details for details in error.errors()}
    return {}


def _name_place(loc: tuple[int | str, ...]) -> str:
    """The key of an error as one writes it after `-S`: `lora_r`, `pii.email`, `sources.cwe.path`."""
    field = Schema.model_fields.get(str(loc[0]))
    depth = 1 + (_count_levels(field.annotation) if field else 0)
    return ".".join(str(part) for part in loc[:depth] if part != "[key]")


def _count_levels(annotation: Any) -> int:
    """How many names or numbers stand between a key and the values below it; 0 for a list of plain values."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return 1
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is dict:
        return 1 + _count_levels(parts[1])
    deepest = max(map(_count_levels, parts), default=0)
    return deepest + (origin is list and deepest > 0)


def _write_sentence(key: str, error: ErrorDetails) -> str:
    """One pydantic error as a sentence with the value and what to do."""
    kind, value = error["type"], error["input"]
    if kind == "extra_forbidden":
        return f"{key}: no such key; {_suggest_key(key)}"
    if kind == "missing":
        return f"{key}: is missing; add it back (`git diff params.yaml` shows what was there)."
    if kind == "literal_error" and isinstance(value, str):
        return f"{key}: {_explain_choice(value, error['ctx']['expected'])}."
    message = error["msg"].removeprefix("Input ").removeprefix("String ").removeprefix("Value error, ")
    message = message if _SECRET.search(str(value)) else f"{value!r} {message}"
    if isinstance(value, str) and kind in ("int_type", "float_type") and re.fullmatch(r"[-+.\deE]+", value):
        message += ", so take the quotes off"
    return f"{key}: {message}."


def _suggest_key(key: str) -> str:
    fields = (SourceSchema if key.startswith(("sources.", "general_source.")) else Schema).model_fields
    close = difflib.get_close_matches(key.rpartition(".")[2], fields, n=1, cutoff=0.5)
    return f"did you mean '{close[0]}'?" if close else "remove it."


def _explain_choice(value: str, expected: str) -> str:
    """That a value is none of those expected, which pydantic lists as `'a', 'b' or 'c'`."""
    close = difflib.get_close_matches(value, re.findall(r"'([^']+)'", expected), n=1)
    hint = f"; did you mean '{close[0]}'?" if close else ""
    quoted = "the value" if _SECRET.search(value) else f"'{value}'"
    return f"{quoted} is none of {expected}{hint}"
