"""The params that suit a model, a method and a preset, written into params.yaml with its comments kept."""

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunelock.planning.model_lookup import ModelFacts
from tunelock.planning.presets import choose_preset_params
from tunelock.planning.yaml_edit import edit_yaml, parse_yaml
from tunelock.run.errors import Stop
from tunelock.run.files import write_text
from tunelock.run.params import load_yaml
from tunelock.schema.params_problems import find_problems

FILE = Path("params.yaml")


@dataclass(frozen=True, slots=True)
class Change:
    """The text of params.yaml before and after."""

    before: str
    after: str

    def diff(self) -> list[str]:
        """The lines that differ, in unified form without context."""
        before, after = self.before.splitlines(), self.after.splitlines()
        return list(difflib.unified_diff(before, after, str(FILE), f"{FILE} (new)", lineterm="", n=0))


def change_params(model: ModelFacts, method: str | None, preset: str) -> Change:
    """What params.yaml becomes for a model, a method (None: the one that stands there) and a preset.

    Raises:
        Stop: params.yaml would break its schema.
    """
    old = load_yaml(FILE)
    return change_values(_choose_values(model, method or old["method"], preset, old))


def change_values(values: dict[str, Any]) -> Change:
    """What params.yaml becomes with these values in place of those of the same keys.

    Raises:
        Stop: params.yaml would break its schema.
    """
    text = FILE.read_text(encoding="utf-8")
    new = edit_yaml(text, values)
    wrong = find_problems(parse_yaml(new))
    if wrong:
        raise Stop(f"nothing is written, for {FILE} would have {len(wrong)} problem(s):\n  " + "\n  ".join(wrong))
    return Change(text, new)


def write_change(change: Change) -> None:
    """Put the new text into params.yaml."""
    write_text(FILE, change.after)


def _choose_values(model: ModelFacts, method: str, preset: str, old: dict) -> dict:
    """Every param that is to be written; a chat template of one's own stays while the model does."""
    values = {"model_name_or_path": model.name, "model_revision": model.revision}
    if model.family:
        values["chat_template"] = model.family.chat_template
    elif old.get("model_name_or_path") != model.name:
        values["chat_template"] = None
    values |= choose_preset_params(preset, method, model.parameters, model.layers, model.context)
    if "lora_target_modules" in values and model.family and model.family.architecture.experts:
        values["lora_target_modules"] = "attention"
    return values


def describe_model(model: ModelFacts) -> list[str]:
    """What a person should know of a model before `dvc repro`."""
    lines = []
    if model.family:
        lines.append(f"{model.name}: {model.parameters / 1e9:.2f} billion parameters, {model.family.licence}")
    if model.family and model.family.gated:
        lines.append(f"it is gated: accept its terms at https://huggingface.co/{model.name}, then run `hf auth login`")
    if model.family and model.family.architecture.experts:
        shape = model.family.architecture
        said = f"a token uses {shape.chosen} of {shape.experts} experts a layer"
        lines.append(f"{said}, so LoRA is put into the attention alone")
    return [*lines, "`tunelock estimate` gives the memory, time and money that this would take"]
