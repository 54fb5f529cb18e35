"""Which model a name means, and what is known of it before it is fetched."""

import difflib
import re
from pathlib import Path
from typing import NamedTuple

from tunelock.model.methods.architecture import read_architecture
from tunelock.planning.known_models import FAMILIES, Family, find_family
from tunelock.run.errors import Stop
from tunelock.run.files import read_json
from tunelock.run.hashing import sha256_path

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


class ModelFacts(NamedTuple):
    """What is known of a model before it is fetched; None where it is not."""

    name: str
    revision: str
    parameters: float
    layers: int | None = None
    context: int | None = None
    family: Family | None = None


def look_up_model(name: str, revision: str | None, size: float | None) -> ModelFacts:
    """The model that `--model` names; `Stop` says which of `--revision` and `--size` it lacks."""
    family = find_family(name)
    if family:
        shape = family.architecture
        if not revision and not family.revision:
            page = f"https://huggingface.co/{family.hub_id}/commits/main"
            raise Stop(f"{name}: no public project was seen that pins it; give --revision, a commit of {page}.")
        pin = _check_revision(name, revision or family.revision, 40)
        return ModelFacts(family.hub_id, pin, family.parameters, shape.layers, family.context, family)
    if Path(name).exists():
        return _look_up_local(name, revision, size)
    if name.startswith("wheel:"):
        return ModelFacts(name, _check_revision(name, revision, 64), _check_size(name, size))
    if not HUB_ID.fullmatch(name):
        raise Stop(f"'{name}' is no known model, hub id or file here; {_suggest_name(name)}")
    return ModelFacts(name, _check_revision(name, revision, 40), _check_size(name, size))


def _look_up_local(name: str, revision: str | None, size: float | None) -> ModelFacts:
    """A model on this disk: its revision is the digest of its bytes, its size follows from its config.json."""
    if Path(name).is_dir() and not (Path(name) / "config.json").exists():
        raise Stop(f"{name} holds no config.json, so it is no model; name the folder that does, or a .gguf file.")
    found = sha256_path(name)
    if revision not in (None, found):
        raise Stop(f"{name} has sha256 {found}, --revision says {revision}; leave --revision out if you trust it.")
    if Path(name).is_file():
        return ModelFacts(name, found, _check_size(name, size))
    config = read_json(Path(name) / "config.json")
    try:
        shape = read_architecture(config)
    except KeyError as key:
        if not size:
            raise Stop(f"{name}/config.json has no {key}, so its size is unknown; add it, as in --size 7b.") from None
        return ModelFacts(name, found, size)
    return ModelFacts(name, found, size or shape.parameters, shape.layers, config.get("max_position_embeddings"))


def _check_revision(name: str, revision: str | None, digits: int) -> str:
    """The revision, if it is a whole commit (40 digits) or sha256 (64)."""
    if revision and re.fullmatch(rf"[0-9a-f]{{{digits}}}", revision):
        return revision
    kind = "the commit of the hub" if digits == 40 else "the sha256 of the wheel"
    said = f"--revision '{revision}' is not" if revision else "give --revision,"
    close = "" if digits == 64 or find_family(name) else f" Or else, {_suggest_name(name)}"
    raise Stop(f"{name}: {said} {kind}, {digits} hexadecimal digits.{close}")


def _check_size(name: str, size: float | None) -> float:
    """The size that was given."""
    if not size:
        raise Stop(f"{name}: its size cannot be read from here; add it, as in --size 7b.")
    return size


def _suggest_name(name: str) -> str:
    """The known name that was probably meant, or all of them."""
    known = {family.hub_id.casefold(): key for key, family in FAMILIES.items()} | {key: key for key in FAMILIES}
    close = difflib.get_close_matches(name.casefold(), known, n=1, cutoff=0.5)
    return f"did you mean '{known[close[0]]}'?" if close else f"known by name are {', '.join(FAMILIES)}."


def parse_size(text: str) -> float:
    """Parameters out of `7b`, `1.7B` or `135m`; `ValueError` otherwise."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([bm])", text.lower())
    if not match or not float(match[1]):
        raise ValueError(text)
    return float(match[1]) * {"b": 1e9, "m": 1e6}[match[2]]
