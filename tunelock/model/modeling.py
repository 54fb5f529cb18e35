"""Loading the base model, and everything that decides its bits: seed, threads, dtype, attention."""

import ctypes
import functools
import os
import platform
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, PreTrainedModel
from transformers import logging as transformers_logging

from tunelock.run.errors import Stop


def make_deterministic(seed: int, num_threads: int) -> None:
    """Fix what the bits of a run depend on. Call it before loading a model."""
    _keep_pages()
    torch.manual_seed(seed)  # transformers' set_seed brings PEFT along, a second; its Trainer seeds the rest
    torch.set_num_threads(num_threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # a pass over all that is allocated; nothing reads it
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()


def _keep_pages() -> None:
    """Have glibc keep the memory that tensors give back: asking for it again costs page faults, a tenth of a step.

    Set here and not in the user's shell: every run is to be as quick. Not on Linux with glibc, nothing happens.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc, trim_threshold, top_pad, mmap_max = ctypes.CDLL(None), -1, -2, -4  # of malloc.h
    for option, value in ((mmap_max, 0), (trim_threshold, -1), (top_pad, 2**28)):
        libc.mallopt(option, value)


def load_model(folder: Path | str, dtype: str, quantization: BitsAndBytesConfig | None = None) -> PreTrainedModel:
    """Load a causal language model from a folder on disk, on the accelerator if there is one.

    Args:
        dtype: torch's name of the dtype of weights and arithmetic, such as `bfloat16`, or `auto`.
        quantization: how to keep the linear weights but the head in fewer bits, as a method of
            `tunelock.model.methods` says.

    Raises:
        Stop: the embeddings are fewer than the vocabulary of the tokenizer beside the weights.
    """
    dtype = resolve_dtype(dtype)
    model = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=getattr(torch, dtype),
        quantization_config=quantization,
        attn_implementation=None,  # SDPA where the model has it, else eager (Gemma 2)
        device_map={"": find_device()} if quantization else None,
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
    )
    for module in model.modules():
        # bitsandbytes would repack 4-bit weights for the CPU at the first validation, rounding their scales; training
        # would go on with other weights and without their gradient.
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    if Path(folder, "tokenizer_config.json").exists():
        check_vocabulary(model, folder)
    return model if quantization else model.to(find_device())


def check_vocabulary(model: PreTrainedModel, folder: Path | str) -> None:
    """Stop if the tokenizer in `folder` has tokens for which the model has no embedding."""
    tokens = len(AutoTokenizer.from_pretrained(folder, local_files_only=True))
    embeddings = model.get_input_embeddings().num_embeddings
    if tokens > embeddings:
        raise Stop(
            f"{folder}: the tokenizer has {tokens} tokens, the embeddings {embeddings}; they do not belong together."
        )


def clear_quantization(model: PreTrainedModel) -> PreTrainedModel:
    """Clear the marks that a quantised load left on a model whose weights are dense again.

    With them transformers refuses to save it, or saves dense weights under the names of quantised ones, such as the
    experts of gpt-oss.
    """
    if getattr(model, "_weight_conversions", None):
        model._weight_conversions = [one for one in model._weight_conversions if not _is_of_quantizer(one)]
    model.hf_quantizer, model.is_quantized = None, False
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    return model


def _is_of_quantizer(conversion: Any) -> bool:
    """Whether a conversion of a checkpoint's weights was of a quantiser, such as that of MXFP4 blocks to a tensor."""
    operations = getattr(conversion, "operations", ())  # a renaming has none
    return any(type(one).__module__.startswith("transformers.integrations") for one in operations)


def keep_text_model(model: PreTrainedModel) -> PreTrainedModel:
    """The text model of one that takes images too, such as Gemma 3 from 4B on; any other as it is."""
    settings = model.config.get_text_config()
    if settings is model.config:
        return model
    with torch.device("meta"):
        text = AutoModelForCausalLM.from_config(settings, dtype=model.dtype)
    if type(text) is type(model) or type(text.base_model) is not type(model.get_decoder()):
        return model
    setattr(text, text.base_model_prefix, model.get_decoder())
    text.set_output_embeddings(model.get_output_embeddings())
    text.generation_config = model.generation_config
    return text.eval()


@functools.cache
def resolve_dtype(name: str) -> str:
    """torch's name of the dtype that `dtype` in params.yaml means on this machine.

    `auto` is bfloat16 where the hardware computes in it, float16 on an older GPU, else float32.

    Raises:
        Stop: float16 without a GPU.
    """
    if name == "float16" and find_device() == "cpu":
        raise Stop("dtype: float16 needs a GPU, on a CPU it is slow and overflows; set auto, bfloat16 or float32.")
    if name != "auto":
        return name
    return "bfloat16" if has_bfloat16() else "float16" if find_device() == "cuda" else "float32"


def explain_dtype(name: str) -> str:
    """The dtype that `dtype` in params.yaml means here, for people: with the reason where `auto` had to choose."""
    found = resolve_dtype(name)
    if name != "auto":
        return found
    return f"{found} (auto, as the {find_device()} {'computes in' if found == 'bfloat16' else 'has no'} bfloat16)"


def has_bfloat16() -> bool:
    """Whether the hardware multiplies in bfloat16, rather than emulating it."""
    if find_device() == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16"))


def find_device() -> str:
    """`cuda` if PyTorch sees a GPU, else `cpu`."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def describe_hardware() -> dict[str, str | int]:
    """What the bits of a run depend on beside its inputs: device, instruction set, versions."""
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else torch.backends.cpu.get_cpu_capability()
    return {"device": find_device(), "chip": name, "torch": torch.__version__, "threads": torch.get_num_threads()}
