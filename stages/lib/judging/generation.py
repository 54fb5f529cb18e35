"""What a model makes of rendered rows: the loss on their answers, and greedy answers of its own."""

import sys
from collections.abc import Iterator

import torch
from tqdm import tqdm

from stages.lib.tokens.rendering import IGNORE
from stages.lib.training.losses import head_weight, response_loss
from stages.lib.training.tuned import answer_start, hidden_states, plain


def score(model: torch.nn.Module, rows: list[dict], batch_size: int) -> list[tuple[float, int]]:
    """The summed cross-entropy (nats) over the labelled tokens of each row, and how many tokens those are.

    `model` may have an adapter. `rows` have input_ids and labels (`lib.tokens.rendering`); the result is in that order.
    """
    model.eval()
    scores: list[tuple[float, int]] = [(0.0, 0)] * len(rows)
    for batch in batches([len(row["input_ids"]) for row in rows], batch_size, "score"):
        longest = max(len(rows[i]["input_ids"]) for i in batch)
        ids = torch.zeros(len(batch), longest, dtype=torch.long)
        labels = torch.full((len(batch), longest), IGNORE)
        for line, i in enumerate(batch):
            ids[line, : len(rows[i]["input_ids"])] = torch.tensor(rows[i]["input_ids"])
            labels[line, : len(rows[i]["labels"])] = torch.tensor(rows[i]["labels"])
        with torch.no_grad():
            for i, found in zip(batch, row_losses(model, ids, labels)):
                scores[i] = found
    return scores


def row_losses(model: torch.nn.Module, ids: torch.Tensor, labels: torch.Tensor) -> list[tuple[float, int]]:
    """The summed loss and token count of each row of a batch; padding on the right needs no mask."""
    weight, ids, labels = head_weight(plain(model)), ids.to(model.device), labels.to(model.device)
    if weight is not None:
        hidden = hidden_states(model, ids)
        found = [response_loss(hidden[i : i + 1], weight, labels[i : i + 1]) for i in range(len(ids))]
        return [(total.item(), tokens) for total, tokens in found]
    logits = model(input_ids=ids, use_cache=False).logits[:, -ids.shape[1] : -1].float()
    targets = labels[:, 1:]
    losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), targets, ignore_index=IGNORE, reduction="none")
    return list(zip(losses.sum(1).tolist(), (targets != IGNORE).sum(1).tolist()))


def generate(
    model: torch.nn.Module, prompts: list[list[int]], max_new_tokens: int, batch_size: int, end_id: int
) -> list[list[int]]:
    """The greedy continuation of each prompt, in the order of the prompts.

    An answer that came to its end has `end_id` as its last token; one that was cut at `max_new_tokens` has not.
    """
    model.eval()
    answers: list[list[int]] = [[]] * len(prompts)
    for batch in batches([len(prompt) for prompt in prompts], batch_size, "answer"):
        longest = max(len(prompts[i]) for i in batch)
        ids = torch.tensor([[end_id] * (longest - len(prompts[i])) + prompts[i] for i in batch])
        mask = torch.tensor([[0] * (longest - len(prompts[i])) + [1] * len(prompts[i]) for i in batch])
        with torch.no_grad():
            given, start = answer_start(model, ids.to(model.device), mask.to(model.device))
            out = plain(model).generate(
                **given,
                max_new_tokens=max_new_tokens,
                do_sample=False,
                eos_token_id=end_id,
                pad_token_id=end_id,
            )
        for i, tokens in zip(batch, out[:, start:].tolist()):
            answers[i] = tokens[: tokens.index(end_id) + 1] if end_id in tokens else tokens
    return answers


def batches(lengths: list[int], batch_size: int, label: str) -> Iterator[list[int]]:
    """Yield the indices of rows in batches of similar length, the longest first, behind a progress bar."""
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    with tqdm(total=len(order), desc=label, unit="row", file=sys.stderr) as bar:
        for start in range(0, len(order), batch_size):
            yield order[start : start + batch_size]
            bar.update(len(order[start : start + batch_size]))
