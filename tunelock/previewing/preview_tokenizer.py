"""The tokenizer for a preview: that of models/base, or of the model that params.yaml names, fetched without its weights
where that can be."""

import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from transformers import PreTrainedTokenizerBase

from tunelock.fetching.fetch import cache_folder
from tunelock.fetching.model_files import TOKENIZER_FILES, locate_model
from tunelock.rendering.clock import freeze_clock
from tunelock.rendering.gguf_tokenizer import READING, load_source_tokenizer
from tunelock.rendering.rendering import load_tokenizer
from tunelock.rendering.tokenizer_folder import save_tokenizer
from tunelock.rendering.vocabulary import install_template, register_tokens
from tunelock.run.errors import Stop
from tunelock.run.files import whole_folder
from tunelock.run.hashing import sha256_value

BASE = Path("models/base")


class _FoundTokenizer(NamedTuple):
    """The tokenizer, None where there is none, and where it is from or why there is none."""

    tokenizer: PreTrainedTokenizerBase | None
    note: str


def find_tokenizer(folder: Path | None, params: dict[str, Any]) -> _FoundTokenizer:
    """The tokenizer in the folder that a person names, else in models/base, else that of the model in `params`."""
    chosen = folder or BASE
    if (chosen / "tokenizer.json").exists():
        return _FoundTokenizer(load_tokenizer(chosen), f"the tokenizer in {chosen}")
    if folder:
        return _FoundTokenizer(None, f"{folder} has no tokenizer; `dvc repro base` makes models/base, which has one.")
    name = params.get("model_name_or_path")
    if not name:
        return _FoundTokenizer(None, f"tokens are not shown, for {BASE} is missing and params.yaml names no model.")
    try:
        tokenizer = _fetch_tokenizer(name, params["model_revision"])
        if params.get("chat_template"):
            install_template(tokenizer, params["chat_template"])
        freeze_clock(tokenizer)
    except Stop as stop:
        return _FoundTokenizer(None, f"tokens are not shown, for {stop}")
    except (OSError, ValueError) as error:
        first = str(error).splitlines()[0]
        return _FoundTokenizer(None, f"tokens are not shown: {name} has no tokenizer that can be loaded ({first}).")
    register_tokens(tokenizer, params.get("extra_special_tokens") or ())
    return _FoundTokenizer(tokenizer, f"the tokenizer of {name}")


def _fetch_tokenizer(name: str, revision: str) -> PreTrainedTokenizerBase:
    """The model's own tokenizer. One out of a GGUF file is kept, for to make it takes seconds."""
    kept = cache_folder() / "tokenizers" / sha256_value([name, revision, READING])
    if (kept / "tokenizer.json").exists():
        return load_tokenizer(kept)
    with tempfile.TemporaryDirectory() as fetched:
        source = locate_model(name, revision, Path(fetched), TOKENIZER_FILES)
        tokenizer = load_source_tokenizer(source)
        if source.suffix != ".gguf":
            return tokenizer
    kept.parent.mkdir(parents=True, exist_ok=True)
    with whole_folder(kept) as target:
        save_tokenizer(tokenizer, target)
    return load_tokenizer(kept)
