"""Go or no-go before anything expensive: a short real training on the golden set, thrown away afterwards.

    python -m stages.pilot

Reads models/base and data/split/{golden,train}.jsonl; writes models/pilot/report.json, models/pilot/samples.json
and models/pilot/go, whose content never changes: train re-runs when its own inputs do, not when the pilot's do.
"""

import math
import shutil

from tunelock.answering.generation import generate
from tunelock.answering.scoring import score
from tunelock.model.methods.all_methods import METHODS
from tunelock.model.methods.method_settings import METHOD_PARAMS, MethodSettings
from tunelock.model.modeling import load_model, make_deterministic, resolve_dtype
from tunelock.records.record import is_learnt, is_text
from tunelock.rendering.rendering import (
    IGNORE,
    RENDERING_PARAMS,
    Rendering,
    find_end_token,
    load_tokenizer,
    render_records,
    select_messages,
)
from tunelock.run.errors import Stop
from tunelock.run.files import read_jsonl, write_json, write_text
from tunelock.run.scratch import locate_checkpoints
from tunelock.run.stage import stage
from tunelock.training.optimisation import OPTIMISATION_PARAMS, build_sft_config
from tunelock.training.trainer import Extras, ResponseTrainer

PROBE_ROWS = 32  # enough for a stable mean, a few seconds to score


def mislabelled(tokenizer, records: list[dict], rows: list[dict], rendering: Rendering) -> list[str]:
    """The ids of rows whose labels, decoded, are not the answers with their end tokens, no more and no less.

    White space does not count: templates trim it, and some tokenizers put some before a text.
    """
    wanted = {}
    for record in records:
        end = tokenizer.eos_token if is_text(record) else tokenizer.decode([find_end_token(tokenizer)])
        learnt = filter(is_learnt, select_messages(record, rendering))
        wanted[record["id"]] = bare("".join(message["content"] + end for message in learnt))
    found = {row["id"]: tokenizer.decode([label for label in row["labels"] if label != IGNORE]) for row in rows}
    return [key for key, text in found.items() if bare(text) != wanted[key]]


def bare(text: str) -> str:
    """A text without its white space."""
    return "".join(text.split())


def mean_loss(scores: list[tuple[float, int]]) -> float:
    """Nats a token over rows given as (summed loss, tokens)."""
    return sum(loss for loss, _ in scores) / sum(tokens for _, tokens in scores)


def verdict(too_long: int, rows: int, limit: float, mislabelled: list[str], before: float, after: float) -> list[str]:
    """The reasons against going on, a sentence each; none means go."""
    reasons = []
    if too_long > limit * rows:
        reasons.append(
            f"{too_long} of {rows} train rows exceed max_length: raise max_length or lower max_response_chars"
        )
    if mislabelled:
        reasons.append(
            f"the labels of {', '.join(mislabelled[:3])} are not their answer and end token: mend the template"
        )
    if not math.isfinite(after):
        reasons.append(f"the loss became {after}: lower learning_rate")
    elif after >= before:
        reasons.append(
            f"the loss did not fall ({before:.3f} to {after:.3f}): change learning_rate or raise pilot_steps"
        )
    return reasons


@stage("pilot")
def main(params, fingerprint) -> str:
    make_deterministic(params.seed, params.num_threads)
    dtype, tokenizer = resolve_dtype(params.dtype), load_tokenizer("models/base")
    golden = list(read_jsonl("data/split/golden.jsonl"))
    rendering = Rendering(**params.select(RENDERING_PARAMS))
    train_rows, too_long = render_records(tokenizer, read_jsonl("data/split/train.jsonl"), rendering)
    rows = render_records(tokenizer, golden, rendering).rows
    if not rows or not train_rows:
        raise Stop(f"no-go: every row is longer than max_length {params.max_length}; raise it.")
    method, settings = METHODS[params.method], MethodSettings(**params.select(METHOD_PARAMS))
    adapter = method.peft_config("models/base", settings)
    quantization = method.quantization(dtype, settings.bnb_4bit_use_double_quant)
    model = load_model("models/base", method.weights_dtype(dtype), quantization)
    asked = [row for row in rows[: params.pilot_samples] if row["prompt_length"]]  # a raw text asks nothing
    prompts = [row["input_ids"][: row["prompt_length"]] for row in asked]

    def look(model) -> tuple[float, list[str]]:
        end = find_end_token(tokenizer) if prompts else None
        answers = generate(model, prompts, params.max_new_tokens, params.eval_batch_size, end)
        loss = mean_loss(score(model, rows[:PROBE_ROWS], params.eval_batch_size))
        return loss, [tokenizer.decode(tokens, skip_special_tokens=True) for tokens in answers]

    before, answers_before = look(model)
    root = locate_checkpoints("pilot", fingerprint[:16])
    config = build_sft_config(
        root, dtype, max_steps=params.pilot_steps, save_strategy="no", **params.select(OPTIMISATION_PARAMS)
    )
    trainer = ResponseTrainer(model, tokenizer, config, adapter, rows, [], Extras(packing=params.packing))
    trainer.train()
    after, answers_after = look(trainer.model)
    shutil.rmtree(root, ignore_errors=True)
    reasons = verdict(
        len(too_long), len(too_long) + len(train_rows), params.pilot_max_too_long,
        mislabelled(tokenizer, golden, rows, rendering), before, after,
    )  # fmt: skip
    write_json("models/pilot/samples.json", [
        {"id": row["id"], "before": old, "after": new}
        for row, old, new in zip(asked, answers_before, answers_after)
    ])  # fmt: skip
    write_json("models/pilot/report.json", {
        "go": not reasons,
        "reasons": reasons,
        "loss_before": before,
        "loss_after": after,
        "train_rows_too_long": len(too_long),
        "rows_shortened": sum(row["turns_left_out"] > 0 for row in train_rows),
        "control_strings": sum(row["controls"] for row in train_rows),
    })  # fmt: skip
    if reasons:
        raise Stop("no-go: " + "; ".join(reasons) + ". See models/pilot/samples.json.")
    write_text("models/pilot/go", "go\n")
    return f"go: loss {before:.3f} to {after:.3f} in {params.pilot_steps} steps"


if __name__ == "__main__":
    main()
