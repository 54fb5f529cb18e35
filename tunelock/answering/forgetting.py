"""What two models predict at the same tokens, and how far apart that is."""

import itertools
from typing import NamedTuple

import torch
from transformers import PretrainedConfig

from tunelock.answering.grouping import batches
from tunelock.answering.joint_rows import as_batch, join
from tunelock.answering.scoring import last_states
from tunelock.model.losses import apply_head
from tunelock.model.sharing import can_share
from tunelock.model.tuned import unwrap_model
from tunelock.rendering.rendering import IGNORE
from tunelock.run.bars import Bar

CHUNK = 128  # tokens whose logits exist at a time; some five float32 matrices of 128 x vocabulary (25 MB for 49,152)


class Predictions(NamedTuple):
    """What a model predicts at the labelled tokens of each row: `apply_head(head, config, states)`.

    `states` has a tensor (tokens, features) a row, on the CPU: 2 bytes x features a token in bfloat16, where the
    logits would take 4 bytes x vocabulary. The rest of the model need not stay in memory.
    """

    states: list[torch.Tensor]
    head: torch.nn.Module
    config: PretrainedConfig


class Compared(NamedTuple):
    """One row: its labelled tokens, both models' summed loss on them, and the sum of KL(base || tuned), in nats."""

    tokens: int
    loss_base: float
    loss_tuned: float
    kl: float


def predictions(model: torch.nn.Module, families: list[list[dict]], batch_size: int) -> Predictions:
    """Run `model`, which may have an adapter or a soft prompt, over the rows of all families.

    A family are rows with input_ids and labels that begin alike (`tunelock.answering.joint_rows`); what the rows of
    one begin with is computed once where the model allows it.
    """
    model.eval()
    joint = [join(family) for family in (families if can_share(model) else singles(families))]
    states: list[list[torch.Tensor]] = [[]] * len(joint)
    for batch in batches([len(row.input_ids) for row in joint], batch_size, "predict"):
        given = as_batch([joint[i] for i in batch])
        with torch.no_grad():
            found = last_states(model, {key: value.to(model.device) for key, value in given.items()})
        for i, line in zip(batch, found):
            states[i] = [line[places].cpu() for places in joint[i].places]
    inner = unwrap_model(model)
    return Predictions(list(itertools.chain(*states)), inner.get_output_embeddings(), inner.config.get_text_config())


def singles(families: list[list[dict]]) -> list[list[dict]]:
    """Each row as a family of its own."""
    return [[row] for family in families for row in family]


def targets_of(row: dict) -> list[int]:
    """The labelled tokens of a row that something comes before."""
    return [label for label in row["labels"][1:] if label != IGNORE]


def compare(base: Predictions, tuned: Predictions, rows: list[dict]) -> list[Compared]:
    """Compare both models' predictions of `rows`, over the full vocabulary and in float32, `CHUNK` tokens at a time."""
    counts = [len(targets_of(row)) for row in rows]
    targets = torch.tensor([target for row in rows for target in targets_of(row)])
    chunks = zip(torch.cat(base.states).split(CHUNK), torch.cat(tuned.states).split(CHUNK), targets.split(CHUNK))
    found = []
    for base_states, tuned_states, target in Bar(chunks, total=-(-len(targets) // CHUNK), desc="compare", unit="chunk"):
        found.append(token_values(next_tokens(base, base_states), next_tokens(tuned, tuned_states), target))
    sums = [part.double().sum(0).tolist() for part in torch.cat(found).split(counts)]
    return [Compared(tokens, *values) for tokens, values in zip(counts, sums)]


def next_tokens(model: Predictions, states: torch.Tensor) -> torch.Tensor:
    """The log-probabilities of each next token, (tokens, vocabulary), in float32."""
    with torch.no_grad():
        return apply_head(model.head, model.config, states.to(model.head.weight.device)).log_softmax(-1)


def token_values(base: torch.Tensor, tuned: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Loss of base, loss of tuned and KL(base || tuned) of each token, shape (tokens, 3), on the CPU.

    base and tuned are log-probabilities (tokens, vocabulary). No true divergence is below 0; what rounding makes so
    is 0.
    """
    place = targets.to(base.device)[:, None]
    losses = [-found.gather(1, place).squeeze(1) for found in (base, tuned)]
    divergence = (base.exp() * (base - tuned)).sum(-1).clamp_min(0)
    return torch.stack([*losses, divergence], dim=1).cpu()
