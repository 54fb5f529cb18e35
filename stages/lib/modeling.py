"""Loading the base model, and everything that decides its bits: seed, threads, dtype, attention."""

import os
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, PreTrainedModel, set_seed
from transformers import logging as transformers_logging

from stages.lib.errors import Stop


def settle(seed: int, num_threads: int) -> None:
    """Fix what the bits of a run depend on. Call it before loading a model."""
    set_seed(seed)
    torch.set_num_threads(num_threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()


def load_model(folder: Path | str, dtype: str, quantize: bool = False) -> PreTrainedModel:
    """Load a causal language model from a folder on disk, on the accelerator if there is one.

    Args:
        dtype: torch's name of the dtype of weights and arithmetic, such as `bfloat16`.
        quantize: keep the linear weights in 4 bits: NF4 with double quantisation, as QLoRA does
            (Dettmers et al. 2023, https://arxiv.org/abs/2305.14314).

    Raises:
        Stop: the embeddings are fewer than the tokenizer's vocabulary.
    """
    quantization = None
    if quantize:
        quantization = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=getattr(torch, dtype),
        )
    model = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=getattr(torch, dtype),
        quantization_config=quantization,
        attn_implementation="sdpa",
        device_map={"": device()} if quantize else None,
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
    )
    tokens = len(AutoTokenizer.from_pretrained(folder, local_files_only=True))
    embeddings = model.get_input_embeddings().num_embeddings
    if tokens > embeddings:
        raise Stop(
            f"{folder}: the tokenizer has {tokens} tokens, the embeddings {embeddings}; they do not belong together."
        )
    return model if quantize else model.to(device())


def unquantize(model: PreTrainedModel) -> PreTrainedModel:
    """Clear the marks that a quantised load left on a model whose weights are dense again.

    With them transformers refuses to save it.
    """
    model.hf_quantizer, model.is_quantized = None, False
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    return model


def device() -> str:
    """`cuda` if PyTorch sees a GPU, else `cpu`."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def hardware() -> dict[str, str | int]:
    """What the bits of a run depend on beside its inputs: device, instruction set, versions."""
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else torch.backends.cpu.get_cpu_capability()
    return {"device": device(), "chip": name, "torch": torch.__version__, "threads": torch.get_num_threads()}
