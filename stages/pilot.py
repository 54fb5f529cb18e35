"""Go or no-go before anything expensive: a short real training on the golden set, thrown away afterwards.

    python -m stages.pilot

Reads models/base and data/split/{golden,train}.jsonl; writes models/pilot/report.json, models/pilot/samples.json
and models/pilot/go, whose content never changes: train re-runs when its own inputs do, not when the pilot's do.
"""

import math
import shutil

from stages.lib.adapter import LORA_PARAMS, lora_config
from stages.lib.checkpoints import checkpoint_root
from stages.lib.errors import Stop
from stages.lib.files import read_jsonl, write_json, write_text
from stages.lib.generation import generate, score
from stages.lib.modeling import load_model, settle
from stages.lib.records import answer, is_text
from stages.lib.rendering import IGNORE, end_token_id, fit, load_tokenizer
from stages.lib.stage import stage
from stages.lib.trainer import OPTIMISATION_PARAMS, ResponseTrainer, sft_config

PROBE_ROWS = 32  # enough for a stable mean, a few seconds to score


def mislabelled(tokenizer, records: list[dict], rows: list[dict]) -> list[str]:
    """The ids of rows whose labels, decoded, are not the answers with their end tokens, no more and no less."""
    end = tokenizer.decode([end_token_id(tokenizer)])
    said = {record["id"]: [m["content"] for m in record["messages"] if m["role"] == "assistant"] for record in records}
    wanted = {key: "".join(text.strip() + end for text in answers) for key, answers in said.items()}
    wanted |= {record["id"]: answer(record) + tokenizer.eos_token for record in records if is_text(record)}
    return [
        row["id"] for row in rows
        if tokenizer.decode([label for label in row["labels"] if label != IGNORE]) != wanted[row["id"]]
    ]  # fmt: skip


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
def main(params, fingerprint) -> None:
    settle(params.seed, params.num_threads)
    tokenizer = load_tokenizer("models/base")
    golden = list(read_jsonl("data/split/golden.jsonl"))
    train_rows, too_long = fit(tokenizer, read_jsonl("data/split/train.jsonl"), params.system_prompt, params.max_length)
    rows, _ = fit(tokenizer, golden, params.system_prompt, params.max_length)
    if not rows or not train_rows:
        raise Stop(f"no-go: every row is longer than max_length {params.max_length}; raise it.")
    peft_config = lora_config("models/base", **params.select(LORA_PARAMS))
    model = load_model("models/base", params.dtype, quantize=params.method == "qlora")
    probe, prompts = (
        rows[:PROBE_ROWS],
        [row["input_ids"][: row["prompt_length"]] for row in rows[: params.pilot_samples] if row["prompt_length"]],
    )

    def look(model) -> tuple[float, list[str]]:
        end = end_token_id(tokenizer)
        answers = generate(model, prompts, params.max_new_tokens, params.eval_batch_size, end)
        loss = mean_loss(score(model, probe, params.eval_batch_size))
        return loss, [tokenizer.decode(tokens, skip_special_tokens=True) for tokens in answers]

    before, answers_before = look(model)
    root = checkpoint_root("pilot", fingerprint[:16])
    config = sft_config(
        root, params.dtype, max_steps=params.pilot_steps, save_strategy="no", **params.select(OPTIMISATION_PARAMS)
    )
    trainer = ResponseTrainer(model, tokenizer, config, peft_config, rows, [])
    trainer.train()
    after, answers_after = look(trainer.model.get_base_model())
    shutil.rmtree(root, ignore_errors=True)
    reasons = verdict(
        len(too_long), len(too_long) + len(train_rows), params.pilot_max_too_long,
        mislabelled(tokenizer, golden, rows), before, after,
    )  # fmt: skip
    write_json("models/pilot/samples.json", [
        {"id": row["id"], "before": old, "after": new}
        for row, old, new in zip(rows, answers_before, answers_after)
    ])  # fmt: skip
    write_json("models/pilot/report.json", {
        "go": not reasons,
        "reasons": reasons,
        "loss_before": before,
        "loss_after": after,
        "train_rows_too_long": len(too_long),
        "control_strings": sum(row["controls"] for row in train_rows),
    })  # fmt: skip
    if reasons:
        raise Stop("no-go: " + "; ".join(reasons) + ". See models/pilot/samples.json.")
    write_text("models/pilot/go", "go\n")
    print(f"go: loss {before:.3f} to {after:.3f} in {params.pilot_steps} steps")


if __name__ == "__main__":
    main()
