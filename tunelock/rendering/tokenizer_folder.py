"""A tokenizer's files, which Transformers 4.57 and 5 read alike: both take all of it from tokenizer.json."""

import json
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from tunelock.run.files import read_json, write_json

TOKENIZER_CONFIG = "tokenizer_config.json"
OF_THIS_MACHINE = ("backend", "is_local", "local_files_only")  # how it was loaded here


def save_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write the tokenizer and its chat template into `folder`.

    Classes such as `LlamaTokenizer` make a tokenizer again out of the vocabulary, each version in its own way;
    `PreTrainedTokenizerFast` takes tokenizer.json as it is. What it does not find there is said beside it.
    """
    tokenizer.save_pretrained(folder)
    settings = read_json(folder / TOKENIZER_CONFIG)
    for key in OF_THIS_MACHINE:
        settings.pop(key, None)
    if tokenizer.is_fast:
        settings |= _describe_fast(tokenizer)
        if isinstance(settings.get("extra_special_tokens"), list):
            settings["additional_special_tokens"] = settings.pop("extra_special_tokens")
    write_json(folder / TOKENIZER_CONFIG, settings)


def _describe_fast(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """What the two versions would else assume, each something of its own."""
    described = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_input_names": tokenizer.model_input_names,
        "padding_side": tokenizer.padding_side,
    }
    backend = tokenizer.backend_tokenizer
    if type(backend.model).__name__ == "BPE":  # version 5 never does it for these, version 4 does
        described["clean_up_tokenization_spaces"] = False
    if backend.pre_tokenizer is not None:
        state = json.loads(backend.pre_tokenizer.__getstate__())
        if "add_prefix_space" in state:  # version 4 sets it to what it is told, or to False
            described["add_prefix_space"] = state["add_prefix_space"]
    return described
