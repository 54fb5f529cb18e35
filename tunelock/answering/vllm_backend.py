"""Greedy answers by vLLM, for GPUs (Kwon et al. 2023, https://arxiv.org/abs/2309.06180); an extra of its own."""

import importlib
import itertools
from pathlib import Path

import torch

from tunelock.model.tuned import ADAPTER_CONFIG
from tunelock.run.errors import Stop


def generate_by_vllm(
    folder: Path | str, dtype: str, prompts: list[list[int]], max_new_tokens: int, end_ids: tuple[int, ...]
) -> list[list[int]]:
    """What `tunelock.answering.generation.generate` returns, computed by vLLM from the same token ids.

    Its kernels round as they do, so an answer may leave transformers' at a near-tie.

    Raises:
        Stop: vLLM or a GPU is missing, or the model in `folder` has a soft prompt.
    """
    try:
        vllm = importlib.import_module("vllm")
    except ImportError:
        raise Stop("generation_backend: vllm is not installed; `pip install vllm`, or set transformers.") from None
    if not torch.cuda.is_available():
        raise Stop("generation_backend: vllm needs a CUDA GPU, and PyTorch sees none; set transformers.")
    if Path(folder, ADAPTER_CONFIG).exists():
        raise Stop(f"generation_backend: vllm cannot put the soft prompt in {folder} before tokens; set transformers.")
    longest = max(map(len, prompts), default=0) + max_new_tokens
    engine = vllm.LLM(model=str(folder), dtype=dtype, max_model_len=longest, trust_remote_code=False, seed=0)
    how = vllm.SamplingParams(
        temperature=0.0, max_tokens=max_new_tokens, stop_token_ids=list(end_ids), ignore_eos=True, detokenize=False
    )
    asked = [{"prompt_token_ids": prompt} for prompt in prompts]
    return [_cut_at_end(output.outputs[0], end_ids) for output in engine.generate(asked, how)]


def _cut_at_end(output, end_ids: tuple[int, ...]) -> list[int]:
    """The tokens of an answer, with its end token as the last one, which some versions of vLLM leave out."""
    tokens = list(itertools.takewhile(lambda token: token not in end_ids, output.token_ids))
    left_out = [output.stop_reason] if output.finish_reason == "stop" else []
    return tokens + (list(output.token_ids[len(tokens) :][:1]) or left_out)
