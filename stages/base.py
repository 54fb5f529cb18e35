"""Resolve the base model that `params.yaml` names into a plain Hugging Face folder.

    python -m stages.base

Writes models/base/: safetensors in `dtype`, config, tokenizer and chat template; with `extra_special_tokens` also
added_token_ids.json, the ids that training is to learn. Nothing else in the DAG reads a hub, a wheel or a GGUF file.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, GgufConfig, Mxfp4Config, PreTrainedModel

from tunelock.fetching.model_files import locate_model
from tunelock.model.model_folder import save_model
from tunelock.model.modeling import clear_quantization, explain_dtype, keep_text_model, resolve_dtype
from tunelock.model.positions import find_positions
from tunelock.rendering.clock import freeze_clock
from tunelock.rendering.gguf_tokenizer import doubt_split, load_source_tokenizer
from tunelock.rendering.tokenizer_folder import save_tokenizer
from tunelock.rendering.vocabulary import (
    add_tokens,
    fill_missing_rows,
    find_end_tokens,
    install_template,
    set_end_tokens,
    set_pad_token,
)
from tunelock.run.errors import Stop
from tunelock.run.files import read_json, whole_folder, write_json
from tunelock.run.stage import stage

TO_LEARN = "added_token_ids.json"  # transformers reads a file called added_tokens.json as a vocabulary


def save_resolved(
    source: Path, target: Path, dtype: str, chat_template: str | None = None, extra_special_tokens: Sequence[str] = ()
) -> str:
    """Load the model at `source`, de-quantised if it is GGUF, and save it to the folder `target` in `dtype`.

    Returns:
        What was done to it and its tokenizer, and how many positions it has, for people.
    """
    gguf = source.suffix == ".gguf"
    whole = _load_dense(source, dtype)
    model = keep_text_model(whole)
    tokenizer = load_source_tokenizer(source)
    done = [] if model is whole else [f"the text model alone of a {whole.config.model_type}"]
    done += filter(None, [fill_missing_rows(model, tokenizer)])
    done += filter(None, [doubt_split(source)])
    done += [install_template(tokenizer, chat_template)] if chat_template else []
    done += filter(None, [freeze_clock(tokenizer)])
    ids = add_tokens(model, tokenizer, list(dict.fromkeys(extra_special_tokens)))
    done += filter(None, [set_end_tokens(model, tokenizer)])
    ends = find_end_tokens(tokenizer, model.generation_config)
    # What a GGUF file names as its pad token stays: our loss goes by spans, and the default job is made with it.
    if tokenizer.pad_token_id is None or (not gguf and tokenizer.pad_token_id in ends):
        done.append(f"pad token {set_pad_token(model, tokenizer)}")
    save_model(model, target)
    save_tokenizer(tokenizer, target)
    if ids:
        write_json(target / TO_LEARN, {"ids": ids})
        done.append(f"{len(ids)} tokens to learn: {', '.join(map(str, ids))}")
    return "; ".join([*(done or ["the tokenizer is its own"]), find_positions(model).describe()])


def _load_dense(source: Path, dtype: str) -> PreTrainedModel:
    """The model in the folder or GGUF file `source`, its weights dense; `Stop` if there is none."""
    options = {"dtype": getattr(torch, resolve_dtype(dtype)), "trust_remote_code": False, "local_files_only": True}
    folder = source
    if source.suffix == ".gguf":
        folder, options["gguf_file"] = source.parent, source.name
        options["quantization_config"] = GgufConfig(dequantize=True)
    else:
        options["use_safetensors"] = True
        if (read_json(source / "config.json").get("quantization_config") or {}).get("quant_method") == "mxfp4":
            options["quantization_config"] = Mxfp4Config(dequantize=True)  # which some GPUs would leave as it is
    try:
        model, found = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True, **options)
    except (OSError, ValueError) as error:
        raise Stop(f"{source} holds no model that can be loaded ({str(error).splitlines()[0]}).") from None
    if found["missing_keys"]:
        missing = sorted(found["missing_keys"])
        raise Stop(f"{source} lacks {len(missing)} weights of its model, '{missing[0]}' first; fetch it whole.")
    return clear_quantization(model)


@stage("base")
def main(params, _fingerprint) -> str:
    with tempfile.TemporaryDirectory() as fetched, whole_folder("models/base") as target:
        source = locate_model(params.model_name_or_path, params.model_revision, Path(fetched))
        done = save_resolved(source, target, params.dtype, params.chat_template, params.extra_special_tokens)
    return f"models/base: {params.model_name_or_path} in {explain_dtype(params.dtype)}; {done}"


if __name__ == "__main__":
    main()
