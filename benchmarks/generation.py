"""Speed of greedy answers beside plain transformers, and how many answers are the same, in one run.

    make bench-generation        # or: python -m benchmarks.generation [ROWS [NEW_TOKENS [THREADS]]]

A plain loop answers one prompt after another with `model.generate`, in the model's bfloat16 and in float32; the others
answer the same prompts of the test split in batches of eval_batch_size. They take turns, part by part, so that what
else the machine does slows all of them; on a busy machine believe the CPU seconds, with one thread. "x loop" compares
with the faster of the two loops; "same as" counts the rows whose tokens are those of a loop, every one.
"""

import sys
import time

import torch
from transformers import PreTrainedModel

from tunelock.answering.decoding import decode_greedily
from tunelock.model.modeling import has_bfloat16, load_model, make_deterministic
from tunelock.rendering.conversation import find_end_token
from tunelock.rendering.rendering import Rendering, load_tokenizer, render_records
from tunelock.run.files import read_jsonl
from tunelock.run.params import load_yaml

ROWS, FOLDER = 100, "models/base"
COLUMNS = (
    "",
    "tokens/s",
    "x loop",
    "tokens a CPU second",
    "x loop",
    "same as float32 loop",
    "same as bfloat16 loop",
    "answered alone",
)
LOOPS = ("loop, bfloat16", "loop, float32")


def by_generate(model: PreTrainedModel, prompts: list[list[int]], new_tokens: int, end_id: int) -> list[list[int]]:
    """One call of `model.generate`, padded on the left."""
    longest = max(map(len, prompts))
    ids = torch.tensor([[end_id] * (longest - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    out = model.generate(
        ids, attention_mask=mask, max_new_tokens=new_tokens, do_sample=False, eos_token_id=end_id, pad_token_id=end_id
    )[:, longest:].tolist()
    return [tokens[: tokens.index(end_id) + 1] if end_id in tokens else tokens for tokens in out]


def contestants(new_tokens: int, end_id: int) -> dict:
    """Name to a function that answers a batch of prompts: their tokens, and how many were answered alone."""
    models = {dtype: load_model(FOLDER, dtype).eval() for dtype in ("bfloat16", "float32")}

    def loop(dtype: str):
        return lambda prompts: ([by_generate(models[dtype], [p], new_tokens, end_id)[0] for p in prompts], 0)

    def batched(dtype: str):
        return lambda prompts: (by_generate(models[dtype], prompts, new_tokens, end_id), 0)

    coarse = {LOOPS[0]: loop("bfloat16"), "batches, bfloat16": batched("bfloat16")}
    return (coarse if has_bfloat16() else {}) | {  # emulated, it would only show how slow that is
        LOOPS[1]: loop("float32"),
        "batches, float32": batched("float32"),
        "tunelock": lambda prompts: tuple(decode_greedily(models["float32"], prompts, new_tokens, (end_id,))),
    }


def main(rows: int, new_tokens: int, threads: int, batch_size: int) -> None:
    """Let the contestants take turns and print the table."""
    make_deterministic(0, threads)
    tokenizer = load_tokenizer(FOLDER)
    records = list(read_jsonl("data/split/test.jsonl"))[:rows]
    rendered = render_records(tokenizer, records, Rendering(1024)).rows
    prompts = sorted((row["input_ids"][: row["prompt_length"]] for row in rendered), key=len)
    runs = contestants(new_tokens, find_end_token(tokenizer))
    found: dict[str, tuple[list[list[int]], int, float, float]] = dict.fromkeys(runs, ([], 0, 0.0, 0.0))
    for start in range(0, len(prompts), batch_size):
        for name, answer in runs.items():
            begun, busy = time.perf_counter(), time.process_time()
            tokens, alone = answer(prompts[start : start + batch_size])
            took = time.perf_counter() - begun, time.process_time() - busy
            found[name] = tuple(before + new for before, new in zip(found[name], (tokens, alone, *took)))
            print(f"{name}: {len(found[name][0])} rows, {found[name][2]:.0f} s", file=sys.stderr, flush=True)
    print(f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|")
    for name in runs:
        print(f"| {' | '.join(line(name, found))} |")
    print(
        f"\n{len(prompts)} rows, {new_tokens} new tokens at most, {FOLDER}, batches of {batch_size}, {threads} threads"
    )


def line(name: str, found: dict[str, tuple[list[list[int]], int, float, float]]) -> list[str]:
    """The cells of a contestant's line; `found` has answers, answered alone, seconds and CPU seconds of each."""
    answers, alone = found[name][:2]
    cells, loops = [name], [loop for loop in LOOPS if loop in found]
    for clock in (2, 3):
        rates = {key: sum(map(len, values[0])) / values[clock] for key, values in found.items()}
        cells += [f"{rates[name]:.1f}", f"{rates[name] / max(rates[loop] for loop in loops):.2f}"]
    same = {loop: sum(map(list.__eq__, answers, found[loop][0])) for loop in loops}
    told = (f"{same[loop]} of {len(answers)}" if loop in same else "-" for loop in reversed(LOOPS))
    return [*cells, *told, str(alone)]


if __name__ == "__main__":
    params = load_yaml("params.yaml")
    given = [int(text) for text in sys.argv[1:]]
    defaults = [ROWS, params["max_new_tokens"], params["num_threads"]]
    main(*given, *defaults[len(given) :], params["eval_batch_size"])
