"""What a model thinks of given answers: their loss, and how sure and how right it is at each of their tokens."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch

from tunelock.answering.grouping import iterate_batches
from tunelock.answering.joint_rows import Joint, build_batch, join_rows
from tunelock.model.losses import CHUNK, find_head_weight
from tunelock.model.sharing import can_share
from tunelock.model.tuned import compute_hidden_states, unwrap_model

BINS = 10  # of the probability of the likeliest token
SLICE = 4  # rows whose logits are alive at a time, for heads that give no others


class Score(NamedTuple):
    """`loss` is in nats, summed over `tokens` labelled tokens. `confidence` has ten lists [tokens, right, sum of
    probability]: the tokens by the probability of the likeliest token there (0 to 0.1, …, 0.9 to 1), how often that was
    the label, and the sum of those probabilities. `states`, if they were kept, are the last hidden states that the
    tokens are predicted from, (tokens, features) on the CPU.
    """

    loss: float
    tokens: int
    confidence: list[list[float]]
    states: torch.Tensor | None = None


class _TokenScores(NamedTuple):
    """Of each labelled token: its loss, the likeliest token's probability, whether that is the label; all (tokens,)."""

    losses: torch.Tensor
    probabilities: torch.Tensor
    right: torch.Tensor


class _Targets(NamedTuple):
    """Where in a batch tokens are predicted, and which ones they are: row, place in the row, label; all (tokens,)."""

    lines: torch.Tensor
    places: torch.Tensor
    labels: torch.Tensor


def score_rows(model: torch.nn.Module, rows: Sequence[Mapping[str, Any]], batch_size: int) -> list[Score]:
    """A `Score` for each row, in that order."""
    return [found[0] for found in score_families(model, [[row] for row in rows], batch_size)]


def score_families(
    model: torch.nn.Module, families: Sequence[Sequence[Mapping[str, Any]]], batch_size: int, keep_states: bool = False,
    label: str = "score",
) -> list[list[Score]]:  # fmt: skip
    """A `Score` for each row of each family: rows that begin alike, such as several answers to one question.

    `model` may have an adapter. Rows have input_ids and labels (`tunelock.rendering.rendering`). Where the model
    allows it, what the rows of a family begin with is computed once (`tunelock.answering.joint_rows`). `keep_states`
    keeps the hidden states of the first row of each family.
    """
    model.eval()
    together = families if can_share(model) else [[row] for row in itertools.chain(*families)]
    joint = [join_rows(family) for family in together]
    found: list[list[Score]] = [[]] * len(joint)
    for batch in iterate_batches([len(row.input_ids) for row in joint], batch_size, label):
        scored = iter(_score_batch(model, [joint[i] for i in batch], keep_states))
        for i in batch:
            found[i] = list(itertools.islice(scored, len(together[i])))
    flat = itertools.chain.from_iterable(found)
    return [_drop_states(list(itertools.islice(flat, len(family)))) for family in families]


def _drop_states(family: list[Score]) -> list[Score]:
    """The scores of a family, of which the first alone keeps its states."""
    return [*family[:1], *(one._replace(states=None) for one in family[1:])]


@torch.no_grad()
def _score_batch(model: torch.nn.Module, rows: list[Joint], keep_states: bool) -> list[Score]:
    """Scores of all rows of a batch, in their order.

    Logits exist at places that are asked for alone, a chunk of them at a time, but for heads that are more than a
    matrix. A soft prompt may stand before the tokens.
    """
    weight, device, targets = find_head_weight(unwrap_model(model)), model.device, _find_targets(rows, model.device)
    given = {key: value.to(device) for key, value in build_batch(rows).items()}
    states = _last_states(model, given)[targets.lines, targets.places] if weight is not None or keep_states else None
    found = _score_states(states, weight, targets) if weight is not None else _score_logits(model, given, targets)
    counts: list[int] = []
    for row in rows:
        counts += map(len, row.targets)
    scored = _sum_by_row(found, counts)
    if not keep_states:
        return scored
    return [one._replace(states=part) for one, part in zip(scored, states.cpu().split(counts))]


def _find_targets(rows: list[Joint], device: torch.device) -> _Targets:
    """The targets of a batch, row by row."""
    lines, places, labels = [], [], []
    for line, row in enumerate(rows):
        for some, others in zip(row.places, row.targets):
            lines += [line] * len(some)
            places += some
            labels += others
    return _Targets(*(torch.tensor(values, device=device) for values in (lines, places, labels)))


def _score_states(states: torch.Tensor, weight: torch.Tensor, targets: _Targets) -> _TokenScores:
    """Scores of tokens from the states (tokens, features) that they are predicted from, by a head that is a matrix."""
    parts = []
    for some, labels in zip(states.to(weight.dtype).split(CHUNK), targets.labels.split(CHUNK)):
        parts.append(_score_tokens((some @ weight.t()).float(), labels))
    return _join_parts(parts)


def _score_logits(model: torch.nn.Module, given: dict[str, torch.Tensor], targets: _Targets) -> _TokenScores:
    """Scores of tokens by the logits that the model itself makes, `SLICE` rows at a time."""
    parts, length = [], given["input_ids"].shape[1]
    for first in range(0, len(given["input_ids"]), SLICE):
        here = (targets.lines >= first) & (targets.lines < first + SLICE)
        part = {key: value[first : first + SLICE] for key, value in given.items()}
        logits = model(**part, use_cache=False).logits[:, -length:]
        chosen = logits[targets.lines[here] - first, targets.places[here]]
        parts.append(_score_tokens(chosen.float(), targets.labels[here]))
    return _join_parts(parts)


def _join_parts(parts: list[_TokenScores]) -> _TokenScores:
    """The parts of a batch one behind the other, on the CPU."""
    return _TokenScores(*(torch.cat(columns).cpu() for columns in zip(*parts)))


def _last_states(model: torch.nn.Module, given: dict[str, torch.Tensor]) -> torch.Tensor:
    """The last hidden states, shape (rows, length, features)."""
    if len(given) == 1:
        return compute_hidden_states(model, **given)
    return unwrap_model(model).get_decoder()(**given, use_cache=False).last_hidden_state


def _score_tokens(logits: torch.Tensor, targets: torch.Tensor) -> _TokenScores:
    """The scores of targets (tokens,) under logits (tokens, vocabulary)."""
    log_sum, (best, likeliest) = logits.logsumexp(-1), logits.max(-1)
    losses = log_sum - logits.gather(1, targets[:, None])[:, 0]
    return _TokenScores(losses, (best - log_sum).exp(), likeliest == targets)


def _sum_by_row(found: _TokenScores, counts: list[int]) -> list[Score]:
    """Sum the scores of a batch's tokens by row; `counts` says how many tokens each row has."""
    scored = []
    for losses, probabilities, right in zip(*(column.double().split(counts) for column in found)):
        table = torch.zeros(BINS, 3, dtype=torch.double)
        bins = (probabilities * BINS).long().clamp(max=BINS - 1)
        table.index_add_(0, bins, torch.stack([torch.ones_like(right), right, probabilities], 1))
        confidence = [[int(tokens), int(hits), total] for tokens, hits, total in table.tolist()]
        scored.append(Score(losses.sum().item(), len(losses), confidence))
    return scored
