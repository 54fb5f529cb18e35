"""A model's folder, which Transformers 4.57 and 5 read alike; tools that serve models know the keys of either.

Version 5 keeps what rotary embeddings are made of in `rope_parameters`. Version 4 passes that over without a word and
takes the defaults of the architecture, so that the model computes something else.
"""

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunelock.run.files import read_json, write_json

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SHARD_SIZE = "5GB"  # of Transformers 4; version 5 writes files of up to 50 GB
CONFIG = "config.json"
GENERATION_CONFIG = "generation_config.json"

Config = dict[str, Any]

# What version 4 calls the settings of rotary embeddings where an architecture has names of its own.
_ROPE_NAMES = {
    "gpt_neox": {"rope_theta": "rotary_emb_base", "partial_rotary_factor": "rotary_pct"},
    "gpt_neox_japanese": {"rope_theta": "rotary_emb_base", "partial_rotary_factor": "rotary_pct"},
    "phi3": {"rope_type": "type"},
}
# Where layers with sliding attention have settings of their own: version 4's name of their theta, None where all layers
# have one theta.
_SLIDING_THETA = {"gemma3_text": "rope_local_base_freq", "gemma3n_text": "rope_local_base_freq", "olmo3": None}
_LAYER_TYPES = {"granitemoehybrid": {"linear_attention": "mamba", "full_attention": "attention"}}


def save_model(model: "PreTrainedModel", folder: Path) -> None:
    """Write weights, config and generation settings into `folder`."""
    model.save_pretrained(folder, max_shard_size=SHARD_SIZE)
    add_old_keys(folder)


def add_old_keys(folder: Path) -> None:
    """Add to the settings that version 5 wrote into a folder the keys by which version 4 knows them."""
    write_json(folder / CONFIG, _with_old_keys(read_json(folder / CONFIG)))
    if (folder / GENERATION_CONFIG).exists():
        settings = read_json(folder / GENERATION_CONFIG)
        settings.pop("_from_model_config", None)  # with it, version 4 may make them again out of config.json
        write_json(folder / GENERATION_CONFIG, settings)


def _with_old_keys(config: Config) -> Config:
    """The config with version 4's keys too, and so the parts of a composite model."""
    config = {key: _with_old_keys(value) if _is_config(value) else value for key, value in config.items()}
    if config.get("dtype"):
        config["torch_dtype"] = config["dtype"]
    if config.get("model_type") in _LAYER_TYPES:
        renamed = _LAYER_TYPES[config["model_type"]]
        config["layer_types"] = [renamed.get(name, name) for name in config["layer_types"]]
    return _translate_fields(config) | _describe_rope(config)


def _is_config(value: object) -> bool:
    return isinstance(value, dict) and "model_type" in value


def _translate_fields(config: Config) -> Config:
    """The config with the fields that version 5 renamed, and without an infinity that is the default: version 4 cannot
    read how version 5 writes it."""
    from transformers import CONFIG_MAPPING  # which takes seconds that `package` need not wait

    kind = config.get("model_type")
    if kind not in CONFIG_MAPPING:
        return config
    fields = {field.name for field in dataclasses.fields(CONFIG_MAPPING[kind])}
    renamed = CONFIG_MAPPING[kind].attribute_map
    config = config | {old: config[new] for old, new in renamed.items() if old in fields and new in config}
    infinite = [key for key, value in config.items() if "__float__" in json.dumps(value)]
    defaults = json.loads(CONFIG_MAPPING[kind]().to_json_string(use_diff=False)) if infinite else {}
    return {key: value for key, value in config.items() if key not in infinite or value != defaults.get(key)}


def _describe_rope(config: Config) -> Config:
    """Version 4's keys of the rotary embeddings: theta, the share of a head that is rotated, and the scaling."""
    rope, kind, described = config.get("rope_parameters") or {}, config.get("model_type"), {}
    if "full_attention" in rope:
        if kind not in _SLIDING_THETA:
            return {}  # version 4 does not know the architecture
        if _SLIDING_THETA[kind]:
            described[_SLIDING_THETA[kind]] = rope["sliding_attention"]["rope_theta"]
        rope = rope["full_attention"]
    names = _ROPE_NAMES.get(kind, {})
    scaling = {names.get(key, key): value for key, value in rope.items()}
    for key in ("rope_theta", "partial_rotary_factor"):
        if key in rope:
            described[names.get(key, key)] = scaling.pop(names.get(key, key))
    if kind == "phi3":
        scaling.pop("original_max_position_embeddings", None)  # stands beside it, and version 4 refuses a fourth key
    if scaling.keys() - {"rope_type", "type"}:
        described["rope_scaling"] = scaling
    return described
