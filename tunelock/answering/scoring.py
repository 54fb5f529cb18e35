"""What a model thinks of given answers: their loss, and how sure and how right it is at each of their tokens."""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import torch

from tunelock.answering.grouping import batches
from tunelock.answering.joint_rows import Joint, as_batch, join
from tunelock.model.losses import CHUNK, find_head_weight
from tunelock.model.sharing import can_share
from tunelock.model.tuned import compute_hidden_states, unwrap_model

BINS = 10  # of the probability of the likeliest token
SLICE = 4  # rows whose logits are alive at a time, for heads that give no others


class Score(NamedTuple):
    """`loss` is in nats, summed over `tokens` labelled tokens. `confidence` has ten lists [tokens, right, sum of
    probability]: the tokens by the probability of the likeliest token there (0 to 0.1, …, 0.9 to 1), how often that was
    the label, and the sum of those probabilities.
    """

    loss: float
    tokens: int
    confidence: list[list[float]]


class TokenScores(NamedTuple):
    """Of each labelled token: its loss, the likeliest token's probability, whether that is the label; all (tokens,)."""

    losses: torch.Tensor
    probabilities: torch.Tensor
    right: torch.Tensor


def score(model: torch.nn.Module, rows: list[dict], batch_size: int) -> list[tuple[float, int]]:
    """The summed cross-entropy (nats) over the labelled tokens of each row, and how many tokens those are."""
    return [(found.loss, found.tokens) for found in scores(model, rows, batch_size)]


def scores(model: torch.nn.Module, rows: list[dict], batch_size: int) -> list[Score]:
    """A `Score` for each row, in that order."""
    return [found[0] for found in family_scores(model, [[row] for row in rows], batch_size)]


def family_scores(
    model: torch.nn.Module, families: list[list[dict]], batch_size: int, label: str = "score"
) -> list[list[Score]]:
    """A `Score` for each row of each family: rows that begin alike, such as several answers to one question.

    `model` may have an adapter. Rows have input_ids and labels (`tunelock.rendering.rendering`). Where the model
    allows it, what the rows of a family begin with is computed once (`tunelock.answering.joint_rows`).
    """
    model.eval()
    together = families if can_share(model) else [[row] for family in families for row in family]
    joint = [join(family) for family in together]
    found: list[list[Score]] = [[]] * len(joint)
    for batch in batches([len(row.input_ids) for row in joint], batch_size, label):
        rows = [joint[i] for i in batch]
        scored = by_row(token_scores(model, rows), [len(targets) for row in rows for targets in row.targets])
        for i in batch:
            found[i] = list(itertools.islice(scored, len(together[i])))
    flat = itertools.chain.from_iterable(found)
    return [list(itertools.islice(flat, len(family))) for family in families]


@torch.no_grad()
def token_scores(model: torch.nn.Module, rows: list[Joint]) -> TokenScores:
    """Scores of all targets of a batch, in their order.

    Logits exist at places that are asked for alone, a chunk of them at a time, but for heads that are more than a
    matrix. A soft prompt may stand before the tokens.
    """
    weight, device = find_head_weight(unwrap_model(model)), model.device
    given = {key: value.to(device) for key, value in as_batch(rows).items()}
    lines = torch.tensor([line for line, row in enumerate(rows) for places in row.places for _ in places]).to(device)
    places, targets = (
        torch.tensor([place for row in rows for part in getattr(row, name) for place in part], device=device)
        for name in ("places", "targets")
    )
    parts = []
    if weight is not None:
        states = last_states(model, given)[lines, places].to(weight.dtype)
        for first in range(0, len(targets), CHUNK):
            logits = states[first : first + CHUNK] @ weight.t()
            parts.append(compared(logits.float(), targets[first : first + CHUNK]))
    else:
        for first in range(0, len(rows), SLICE):
            here = (lines >= first) & (lines < first + SLICE)
            part = {key: value[first : first + SLICE] for key, value in given.items()}
            logits = model(**part, use_cache=False).logits[:, -given["input_ids"].shape[1] :]
            parts.append(compared(logits[lines[here] - first, places[here]].float(), targets[here]))
    return TokenScores(*(torch.cat(columns).cpu() for columns in zip(*parts)))


def last_states(model: torch.nn.Module, given: dict[str, torch.Tensor]) -> torch.Tensor:
    """The last hidden states, shape (rows, length, features)."""
    if len(given) == 1:
        return compute_hidden_states(model, **given)
    return unwrap_model(model).get_decoder()(**given, use_cache=False).last_hidden_state


def compared(logits: torch.Tensor, targets: torch.Tensor) -> TokenScores:
    """The scores of targets (tokens,) under logits (tokens, vocabulary)."""
    log_sum, (best, likeliest) = logits.logsumexp(-1), logits.max(-1)
    losses = log_sum - logits.gather(1, targets[:, None])[:, 0]
    return TokenScores(losses, (best - log_sum).exp(), likeliest == targets)


def by_row(found: TokenScores, counts: list[int]) -> Iterator[Score]:
    """Sum the scores of a batch's tokens by row; `counts` says how many tokens each row has."""
    for losses, probabilities, right in zip(*(column.double().split(counts) for column in found)):
        table = torch.zeros(BINS, 3, dtype=torch.double)
        bins = (probabilities * BINS).long().clamp(max=BINS - 1)
        table.index_add_(0, bins, torch.stack([torch.ones_like(right), right, probabilities], 1))
        confidence = [[int(tokens), int(hits), total] for tokens, hits, total in table.tolist()]
        yield Score(losses.sum().item(), len(losses), confidence)
