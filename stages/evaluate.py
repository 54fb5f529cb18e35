"""Score a model on test and golden, and have it answer their questions.

    python -m stages.evaluate base     # stage evaluate_base: once, shared by all experiments
    python -m stages.evaluate tuned    # stage evaluate

Reads models/base or models/merged and data/split/{test,golden}.jsonl; writes models/evaluation/{base,tuned}.jsonl,
a row a question. `stages.judge` makes the metrics out of both. Scores are computed in `dtype`, answers on a CPU in
float32, in which those of a batch are those that each question gets alone.
"""

import functools
import sys

from tunelock.answering.choices import listed, option_row, with_answer
from tunelock.answering.contrast import others
from tunelock.answering.generation import answer_dtype, generate
from tunelock.answering.kept_answers import kept_answers
from tunelock.answering.scoring import Score, family_scores
from tunelock.answering.vllm_backend import generate_by_vllm
from tunelock.model.modeling import make_deterministic
from tunelock.model.tuned import load_tuned
from tunelock.records.record import question_in, reference_of
from tunelock.rendering.rendering import (
    IGNORE,
    RENDERING_PARAMS,
    Rendering,
    find_end_token,
    load_tokenizer,
    render_messages,
    render_records,
    select_messages,
)
from tunelock.run.errors import Stop
from tunelock.run.files import read_jsonl, write_jsonl
from tunelock.run.stage import stage

MODELS = {"base": ("evaluate_base", "models/base"), "tuned": ("evaluate", "models/merged")}
SPLITS = ("test", "golden")


def scored(
    model,
    tokenizer,
    records: list[dict],
    rendering: Rendering,
    choice_patterns: dict[str, str] | None,
    batch_size: int,
) -> tuple[list[dict], list[list[int]]]:
    """Return a row for each record of a split, and the prompt of each as tokens (a raw text has none).

    Rows have id, group, task, question, reference, and what `tunelock.answering` says of them: loss (summed nats over
    the answers and their end tokens), tokens and confidence (`scoring`); other_loss and other_tokens, the same with the
    last answer changed for that of the row other_id (`contrast`); choices, choice_losses and right (`choices`).
    """
    rendered, too_long = render_records(tokenizer, records, rendering)
    if too_long or not rendered:
        limit = rendering.max_length
        raise Stop(f"{len(too_long)} of {len(records)} rows exceed max_length {limit}; raise it to score them all.")
    said = [select_messages(record, rendering) for record in records]
    wrong = others(records, [sum(label != IGNORE for label in row["labels"]) for row in rendered])
    patterns = choice_patterns or {}
    chosen = [
        listed(messages, patterns[record["task"]]) if record["task"] in patterns else None
        for record, messages in zip(records, said)
    ]
    families = [
        [own]
        + (
            [render_messages(tokenizer, with_answer(messages, reference_of(records[other])))._asdict()]
            if other is not None
            else []
        )
        + [option_row(tokenizer, messages, option) for option in (listing[0] if listing else ())]
        for own, messages, other, listing in zip(rendered, said, wrong, chosen)
    ]
    rows = []
    for record, found, other, listing in zip(records, family_scores(model, families, batch_size), wrong, chosen):
        asked = question_in(select_messages(record, rendering))
        row = {"id": record["id"], "group": record["group"], "task": record["task"], "question": asked}
        row |= {"reference": reference_of(record)}
        rows.append(row | as_row(found, None if other is None else records[other]["id"], listing))
    return rows, [row["input_ids"][: row["prompt_length"]] for row in rendered]


def as_row(found: list[Score], other_id: str | None, listing: tuple[list[str], int] | None) -> dict:
    """The scores of a row's own answer, then of the other one, then of the options, under their names."""
    row = found[0]._asdict()
    if other_id is not None:
        row |= {"other_id": other_id, "other_loss": found[1].loss, "other_tokens": found[1].tokens}
    if listing:
        losses = [option.loss for option in found[1 + (other_id is not None) :]]
        row |= {"choices": listing[0], "choice_losses": losses, "right": listing[1]}
    return row


def add_answers(rows: list[dict], answers: list[list[int]], tokenizer, end_id: int) -> None:
    """Add answer, stopped (it ended by itself) and new_tokens to rows, from the tokens that the model wrote."""
    for row, tokens in zip(rows, answers, strict=True):
        text = tokenizer.decode(tokens, skip_special_tokens=True).strip()
        row |= {"answer": text, "stopped": tokens[-1:] == [end_id], "new_tokens": len(tokens)}


def main(which: str, params, _fingerprint) -> str:
    make_deterministic(0, params.num_threads)
    folder = MODELS[which][1]
    model, tokenizer = load_tuned(folder, params.dtype), load_tokenizer(folder)
    rendering = Rendering(**params.select(RENDERING_PARAMS))
    rows, asked, prompts = [], [], []
    for name in SPLITS:
        found, starts = scored(
            model,
            tokenizer,
            list(read_jsonl(f"data/split/{name}.jsonl")),
            rendering,
            params.choice_patterns,
            params.eval_batch_size,
        )
        rows += [row | {"split": name} for row in found]
        chosen = [number for number, start in enumerate(starts) if start][: params.max_predict_samples]
        asked += [rows[len(rows) - len(found) + number] for number in chosen]
        prompts += [starts[number] for number in chosen]
    del model
    if prompts:
        end, dtype = find_end_token(tokenizer), answer_dtype(params.dtype)
        if params.generation_backend == "vllm":
            answers = generate_by_vllm(folder, dtype, prompts, params.max_new_tokens, end)
        else:
            kept = kept_answers(folder, {"dtype": dtype, "max_new_tokens": params.max_new_tokens, "end_id": end})
            model = load_tuned(folder, dtype)
            answers = generate(model, prompts, params.max_new_tokens, params.eval_batch_size, end, kept)
        add_answers(asked, answers, tokenizer, end)
    write_jsonl(f"models/evaluation/{which}.jsonl", rows)
    return f"models/evaluation/{which}.jsonl: {len(rows)} rows scored, {len(asked)} answered"


if __name__ == "__main__":
    if sys.argv[1:] not in (["base"], ["tuned"]):
        sys.exit("usage: python -m stages.evaluate base|tuned")
    stage(MODELS[sys.argv[1]][0])(functools.partial(main, sys.argv[1]))()
