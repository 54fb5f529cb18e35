"""Score a model on test and golden, and have it answer their questions.

    python -m stages.evaluate base     # stage evaluate_base: once, shared by all experiments
    python -m stages.evaluate tuned    # stage evaluate

Reads models/base or models/merged and data/split/{test,golden}.jsonl; writes models/evaluation/{base,tuned}.jsonl,
a row a question. `stages.report` makes the metrics out of both.
"""

import functools
import sys

from stages.lib.errors import Stop
from stages.lib.files import read_jsonl, write_jsonl
from stages.lib.generation import answer, score
from stages.lib.modeling import load_model, load_tokenizer, settle
from stages.lib.rendering import end_token_id, fit
from stages.lib.stage import stage

MODELS = {"base": ("evaluate_base", "models/base"), "tuned": ("evaluate", "models/merged")}
SPLITS = ("test", "golden")


def evaluate(
    model, tokenizer, records: list[dict], system_prompt: str | None,
    max_length: int, max_predict: int | None, max_new_tokens: int, batch_size: int,
) -> list[dict]:  # fmt: skip
    """Return a row for each record: its loss, and for the first `max_predict` the model's own answer.

    Rows have id, task, response, loss (summed nats over the answer), tokens (answer and end token); those that
    were answered also answer, stopped (it ended by itself) and new_tokens.
    """
    rendered, too_long = fit(tokenizer, records, system_prompt, max_length)
    if too_long or not rendered:
        raise Stop(
            f"{len(too_long)} of {len(records)} rows exceed max_length {max_length}; raise it to score them all."
        )
    losses = score(model, rendered, batch_size)
    asked = rendered[: len(rendered) if max_predict is None else max_predict]
    end = end_token_id(tokenizer)
    prompts = [row["input_ids"][: row["prompt_length"]] for row in asked]
    answers = answer(model, prompts, max_new_tokens, batch_size, end)
    rows = []
    for number, (record, (loss, tokens)) in enumerate(zip(records, losses)):
        row = {key: record[key] for key in ("id", "task", "response")} | {"loss": loss, "tokens": tokens}
        if number < len(answers):
            stopped = answers[number][-1:] == [end]
            text = tokenizer.decode(answers[number], skip_special_tokens=True).strip()
            row |= {"answer": text, "stopped": stopped, "new_tokens": len(answers[number])}
        rows.append(row)
    return rows


def main(which: str, params, _fingerprint) -> None:
    settle(0, params.num_threads)
    folder = MODELS[which][1]
    model, tokenizer = load_model(folder, params.dtype), load_tokenizer(folder)
    rows = []
    for name in SPLITS:
        records = list(read_jsonl(f"data/split/{name}.jsonl"))
        rows += [
            {"split": name, **row}
            for row in evaluate(
                model, tokenizer, records, params.system_prompt, params.max_length,
                params.max_predict_samples, params.max_new_tokens, params.eval_batch_size,
            )
        ]  # fmt: skip
    write_jsonl(f"models/evaluation/{which}.jsonl", rows)


if __name__ == "__main__":
    if sys.argv[1:] not in (["base"], ["tuned"]):
        sys.exit("usage: python -m stages.evaluate base|tuned")
    stage(MODELS[sys.argv[1]][0])(functools.partial(main, sys.argv[1]))()
