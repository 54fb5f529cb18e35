"""What was trained, and on which base: by the hash of the base's weights, not by its name or shape."""

import shutil
from pathlib import Path

from safetensors import SafetensorError, safe_open

from tunelock.model.model_folder import add_old_keys
from tunelock.run.errors import Stop
from tunelock.run.files import read_json, write_json
from tunelock.run.hashing import COMMIT, sha256_path

PROVENANCE = "provenance.json"
SETS = {"target_modules", "exclude_modules", "target_parameters"}  # of PEFT, which writes them in any order
ADAPTER = ("adapter_config.json", "adapter_model.safetensors")
WHOLE_MODEL = ("config.json", "generation_config.json", "model*.safetensors", "model.safetensors.index.json")


def copy_weights(checkpoint: Path, folder: Path) -> None:
    """Copy from a training checkpoint what was trained: an adapter, or of full tuning the whole model."""
    patterns = ADAPTER if (checkpoint / ADAPTER[0]).exists() else WHOLE_MODEL
    for pattern in patterns:
        for file in checkpoint.glob(pattern):
            shutil.copyfile(file, folder / file.name)
    if patterns == WHOLE_MODEL:
        add_old_keys(folder)


def record_base(adapter: Path | str, base: Path | str, name: str, revision: str, method: str, **trained_with) -> None:
    """Write into an adapter folder which base weights, by hash, it was trained on, and how.

    Of a model that lies on this machine its own name stays, without its folder, and PEFT finds no base to load.

    Args:
        name: `model_name_or_path` of params.yaml, and `revision` its `model_revision`.
        trained_with: `dtype` and `double_quant`, which say what a quantised base's weights were.
    """
    commit = revision if COMMIT.fullmatch(revision) else None
    elsewhere = bool(commit) or name.startswith("wheel:")
    name = name if elsewhere else Path(name).resolve().name
    file = Path(adapter, ADAPTER[0])
    if file.exists():
        found = {"base_model_name_or_path": name if elsewhere else None, "revision": commit}
        config = read_json(file) | found
        for key in SETS & config.keys():
            config[key] = config[key] and sorted(config[key])
        write_json(file, config)
    about = {"base_model": name, "base_revision": revision, "base_sha256": sha256_path(base), "method": method}
    write_json(Path(adapter, PROVENANCE), about | trained_with)


def check_base(adapter: Path | str, base: Path | str) -> dict:
    """Return an adapter's provenance; `Stop` if it was trained on another base.

    PEFT loads an adapter onto any base of the same shape without a word.
    """
    provenance = read_json(Path(adapter, PROVENANCE))
    found = sha256_path(base)
    if found != provenance["base_sha256"]:
        raise Stop(
            f"{adapter} was trained on a base with sha256 {provenance['base_sha256'][:12]}…, {base} has {found[:12]}…; "
            "merge it with its own base or train again."
        )
    return provenance


def read_shapes(folder: Path | str, stem: str = "model") -> dict[str, list[int]]:
    """The shape of every weight in the folder's safetensors by name, from their headers.

    Raises:
        Stop: a file is missing or truncated, or the index names one outside of the folder.
    """
    index = Path(folder, f"{stem}.safetensors.index.json")
    files = set(read_json(index)["weight_map"].values()) if index.exists() else {f"{stem}.safetensors"}
    found = {}
    for name in sorted(files):
        if Path(name).name != name:
            raise Stop(f"{index} names '{name}', which is no file beside it; fetch the model from a source you trust.")
        try:
            with safe_open(Path(folder, name), framework="np") as file:
                found |= {key: file.get_slice(key).get_shape() for key in list(file.keys())}
        except (OSError, SafetensorError) as error:
            raise Stop(f"{Path(folder, name)} cannot be read ({error}); run `dvc repro` to make it again.") from None
    return found
