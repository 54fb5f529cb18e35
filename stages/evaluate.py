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
from stages.lib.judging.generation import generate, score
from stages.lib.records import answer, question
from stages.lib.stage import stage
from stages.lib.tokens.rendering import conversation, end_token_id, fit, load_tokenizer
from stages.lib.training.modeling import settle
from stages.lib.training.tuned import load_tuned

MODELS = {"base": ("evaluate_base", "models/base"), "tuned": ("evaluate", "models/merged")}
SPLITS = ("test", "golden")


def evaluate(
    model, tokenizer, records: list[dict], system_prompt: str | None,
    max_length: int, max_turns: int | None, max_predict: int | None, max_new_tokens: int, batch_size: int,
) -> list[dict]:  # fmt: skip
    """Return a row for each record: its loss, and for the first `max_predict` the model's own answer.

    Rows have id, task, question, response, loss (summed nats over the answer), tokens (answer and end token);
    those that were answered also answer, stopped (it ended by itself) and new_tokens.
    """
    rendered, too_long = fit(tokenizer, records, system_prompt, max_length, max_turns)
    if too_long or not rendered:
        raise Stop(
            f"{len(too_long)} of {len(records)} rows exceed max_length {max_length}; raise it to score them all."
        )
    losses = score(model, rendered, batch_size)
    asked = [row for row in rendered if row["prompt_length"]][:max_predict]  # a raw text asks nothing
    end = end_token_id(tokenizer) if asked else None
    prompts = [row["input_ids"][: row["prompt_length"]] for row in asked]
    answers = dict(zip((row["id"] for row in asked), generate(model, prompts, max_new_tokens, batch_size, end)))
    rows = []
    for record, (loss, tokens) in zip(records, losses):
        record = {**record, "messages": conversation(record, None, max_turns)}  # noqa: PLW2901
        row = {"id": record["id"], "task": record["task"], "question": question(record), "response": answer(record)}
        row |= {"loss": loss, "tokens": tokens}
        if record["id"] in answers:
            written = answers[record["id"]]
            text = tokenizer.decode(written, skip_special_tokens=True).strip()
            row |= {"answer": text, "stopped": written[-1:] == [end], "new_tokens": len(written)}
        rows.append(row)
    return rows


def main(which: str, params, _fingerprint) -> None:
    settle(0, params.num_threads)
    folder = MODELS[which][1]
    model, tokenizer = load_tuned(folder, params.dtype), load_tokenizer(folder)
    rows = []
    for name in SPLITS:
        records = list(read_jsonl(f"data/split/{name}.jsonl"))
        rows += [
            {"split": name, **row}
            for row in evaluate(
                model, tokenizer, records, params.system_prompt, params.max_length, params.max_turns,
                params.max_predict_samples, params.max_new_tokens, params.eval_batch_size,
            )
        ]  # fmt: skip
    write_jsonl(f"models/evaluation/{which}.jsonl", rows)


if __name__ == "__main__":
    if sys.argv[1:] not in (["base"], ["tuned"]):
        sys.exit("usage: python -m stages.evaluate base|tuned")
    stage(MODELS[sys.argv[1]][0])(functools.partial(main, sys.argv[1]))()
