"""The model's own greedy answers: in batches of similar length, behind a progress bar, kept on disk."""

import sys
import time
from collections.abc import Callable, Iterator

import torch

from tunelock.answering.decoding import Answers, decode_greedily
from tunelock.model.modeling import find_device, resolve_dtype
from tunelock.run.bars import Bar

WINDOW = 2  # batches that are sorted by length together


def generate_answers(
    model: torch.nn.Module, prompts: list[list[int]], max_new_tokens: int, batch_size: int, end_ids: tuple[int, ...],
    kept: Callable[[list[list[int]], Callable[[], Answers]], Answers] | None = None,
) -> list[list[int]]:  # fmt: skip
    """The greedy continuation of each prompt, in the order of the prompts (see `tunelock.answering.decoding`).

    An answer that came to its end has one of `end_ids` as its last token; one that was cut at `max_new_tokens` has
    none. `kept` may answer a batch from what an earlier run computed (`tunelock.answering.kept_answers`).
    """
    model.eval()
    answers: list[list[int]] = [[]] * len(prompts)
    alone, started, computed = 0, time.monotonic(), 0
    with Bar(total=len(prompts) * max_new_tokens, desc="answer", unit="token") as bar:

        def seen(new: int, spared: int) -> None:
            nonlocal computed
            computed += new
            bar.total -= spared
            bar.update(new)

        for batch in group_by_window([len(prompt) for prompt in prompts], batch_size):
            asked = [prompts[i] for i in batch]
            before = computed

            def compute(asked: list[list[int]] = asked) -> Answers:
                return decode_greedily(model, asked, max_new_tokens, end_ids, seen)

            found = kept(asked, compute) if kept else compute()
            if computed == before:  # nothing was computed, so the time left counts without it
                bar.total -= len(batch) * max_new_tokens
            alone += found.alone
            for i, tokens in zip(batch, found.tokens):
                answers[i] = tokens
    if prompts:
        print(summarise_answers(answers, computed, time.monotonic() - started, alone), file=sys.stderr)
    return answers


def choose_answer_dtype(dtype: str) -> str:
    """In which dtype answers are generated: on a CPU float32, in which they do not depend on the batch, else `dtype`.

    Rounding to bfloat16 makes so many near-ties that a third of the answers change with the rows around them. On a GPU
    that is the price of its speed.
    """
    return "float32" if find_device() == "cpu" else resolve_dtype(dtype)


def summarise_answers(answers: list[list[int]], computed: int, seconds: float, alone: int) -> str:
    """One line on what was generated and how fast; tokens that were thrown away at near-ties count as work."""
    tokens = sum(map(len, answers))
    rate = f"{computed / seconds:.0f} tokens/s" if computed else "all kept from before"
    again = f"; {alone} were written one by one, since two next words were nearly as likely" if alone else ""
    return f"answers: {len(answers)} rows, {tokens} tokens, {rate}{again}"


def group_by_window(lengths: list[int], batch_size: int) -> Iterator[list[int]]:
    """Indices in batches of similar length, the longest first, window by window.

    Rows of the first window meet in the same batches however many come after them, so that what was kept is of use
    when there are more.
    """
    size = WINDOW * batch_size
    for first in range(0, len(lengths), size):
        part = range(first, min(first + size, len(lengths)))
        order = sorted(part, key=lambda i: (-lengths[i], i))
        yield from (order[start : start + batch_size] for start in range(0, len(order), batch_size))
