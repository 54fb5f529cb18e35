"""How far a tuned model's predictions are from its base's: KL(base || tuned) over the full vocabulary.

The base is asked once for all experiments. It leaves the last hidden states at the labelled tokens, of which its head
makes the logits again: 2 bytes x features a token in bfloat16, where the logits would take 4 bytes x vocabulary.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import safe_open
from safetensors.torch import save
from transformers import PretrainedConfig

from tunelock.answering.families import ScoredFamily
from tunelock.model.losses import apply_head
from tunelock.model.tuned import unwrap_model
from tunelock.run.bars import Bar
from tunelock.run.errors import Stop
from tunelock.run.files import whole_file
from tunelock.run.hashing import sha256_value

CHUNK = 128  # tokens whose logits exist at a time; some five float32 matrices of 128 x vocabulary (25 MB for 49,152)


class Head(NamedTuple):
    """What makes logits of hidden states, without the rest of the model, which need not stay in memory."""

    module: torch.nn.Module
    config: PretrainedConfig


class Predictions(NamedTuple):
    """What a model predicts at the labelled tokens of rows: their states (tokens, features), and the tokens of each
    row by its id.
    """

    states: torch.Tensor
    tokens: dict[str, int]


def take_head(model: torch.nn.Module) -> Head:
    """The head of a model, which may have an adapter."""
    inner = unwrap_model(model)
    return Head(inner.get_output_embeddings(), inner.config.get_text_config())


def write_predictions(path: Path | str, found: Predictions) -> None:
    """Write the states with a digest of the rows that they are of; the same predictions are the same bytes."""
    with whole_file(path) as out:  # one entry of metadata alone: the library writes several in any order
        out.write(save({"states": found.states.contiguous()}, {"rows": sha256_value(found.tokens)}))


def read_states(path: Path | str, tokens: dict[str, int]) -> torch.Tensor:
    """The states of a file, which must be of these rows.

    Raises:
        Stop: the base was asked other questions.
    """
    with safe_open(path, framework="pt") as file:
        if file.metadata() != {"rows": sha256_value(tokens)}:
            raise Stop(f"{path} is of other general questions than these; run `dvc repro evaluate_base` to make it.")
        return file.get_tensor("states")


def measure_divergence(base: torch.Tensor, base_head: Head, tuned: Predictions, tuned_head: Head) -> list[float]:
    """The sum of KL(base || tuned) over the tokens of each row, in nats, in float32, `CHUNK` tokens at a time.

    `base` are the base's states at the same tokens as `tuned.states`.
    """
    parts = []
    chunks = zip(base.split(CHUNK), tuned.states.split(CHUNK))
    for before, after in Bar(chunks, total=-(-len(base) // CHUNK), desc="compare", unit="chunk"):
        parts.append(_diverge(_predict_next(base_head, before), _predict_next(tuned_head, after)))
    return [part.double().sum().item() for part in torch.cat(parts).split(list(tuned.tokens.values()))]


def _predict_next(head: Head, states: torch.Tensor) -> torch.Tensor:
    """The log-probabilities of each next token, (tokens, vocabulary), in float32."""
    with torch.no_grad():
        return apply_head(head.module, head.config, states.to(head.module.weight.device)).log_softmax(-1)


def _diverge(base: torch.Tensor, tuned: torch.Tensor) -> torch.Tensor:
    """KL(base || tuned) of each token, (tokens,), on the CPU, from log-probabilities (tokens, vocabulary).

    No true divergence is below 0; what rounding makes so is 0.
    """
    return (base.exp() * (base - tuned)).sum(-1).clamp_min(0).cpu()


def join_states(scored: Iterable[ScoredFamily]) -> Predictions:
    """The states that were kept of scored rows, as one tensor."""
    states = {one.row["id"]: one.states for one in scored}
    return Predictions(torch.cat(list(states.values())), {key: len(some) for key, some in states.items()})
