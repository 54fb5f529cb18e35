"""Which base an adapter belongs to: by the hash of its weights, not by its name or shape."""

from pathlib import Path

from stages.lib.errors import Stop
from stages.lib.files import read_json, write_json
from stages.lib.hashing import sha256_path

PROVENANCE = "provenance.json"


def record_base(adapter: Path | str, base: Path | str, name: str, method: str) -> None:
    """Write into an adapter folder which base weights, by hash and by method, it was trained on."""
    config = read_json(Path(adapter, "adapter_config.json"))
    config["base_model_name_or_path"] = name
    config["target_modules"] = sorted(config["target_modules"])
    write_json(Path(adapter, "adapter_config.json"), config)
    write_json(Path(adapter, PROVENANCE), {"base_model": name, "base_sha256": sha256_path(base), "method": method})


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
