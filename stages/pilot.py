"""Go or no-go before anything expensive: a short real training on the golden set, thrown away afterwards.

    python -m stages.pilot

Reads models/base, data/split/{golden,train}.jsonl and metrics/lengths.json; writes models/pilot/report.json,
models/pilot/samples.json and models/pilot/go, whose content never changes: train re-runs when its own inputs do, not
when the pilot's do. What lengths and labels say is said before the first step.
"""

import math
import shutil
from typing import Any, NamedTuple

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tunelock.answering.generation import generate_answers
from tunelock.answering.scoring import Score, score_rows
from tunelock.model.methods.added_tokens import read_added_tokens
from tunelock.model.methods.method_settings import METHOD_PARAMS, MethodSettings
from tunelock.model.modeling import make_deterministic, resolve_dtype
from tunelock.model.positions import check_positions
from tunelock.records.scored_row import HELD_OUT
from tunelock.rendering.label_check import find_mislabelled, find_unused_tokens, print_plain_controls
from tunelock.rendering.refused import count_refused, list_refused, print_refused, print_unlearnt
from tunelock.rendering.rendering import (
    RENDERING_PARAMS,
    RenderedRecords,
    RenderedRow,
    Rendering,
    load_tokenizer,
    render_records,
)
from tunelock.rendering.row_lengths import MOST_LEFT_OUT
from tunelock.rendering.vocabulary import decode_answer, find_end_tokens
from tunelock.run.errors import Stop
from tunelock.run.files import read_json, read_jsonl, write_json, write_text
from tunelock.run.scratch import locate_checkpoints
from tunelock.run.stage import stage
from tunelock.training.optimisation import OPTIMISATION_PARAMS, build_sft_config
from tunelock.training.trainee import load_trainee
from tunelock.training.trainer import Extras, ResponseTrainer
from tunelock.watching.length_costs import advise_on_long_rows
from tunelock.watching.shortage import count_row_tokens

BASE = "models/base"
PROBE_ROWS = 32  # enough for a stable mean, a few seconds to score


class _PilotRows(NamedTuple):
    """The golden set, which the pilot trains on, and train, of which it only looks at the lengths."""

    golden: RenderedRecords
    train: RenderedRecords
    mislabelled: list[str]  # ids of the golden rows whose labels are not their answers
    unused: list[str]  # extra_special_tokens that no train row has


class Look(NamedTuple):
    """What a model makes of the golden set: nats a token, and an answer to each of the questions asked."""

    loss: float
    answers: list[str]


class _Probe(NamedTuple):
    """The golden rows that a model is looked at with, before and after."""

    tokenizer: PreTrainedTokenizerBase
    scored: list[RenderedRow]
    asked: list[RenderedRow]
    max_new_tokens: int
    batch_size: int

    def look_at(self, model: PreTrainedModel) -> Look:
        """Score the rows and have the model answer."""
        prompts = _take_prompts(self.asked)
        ends = find_end_tokens(self.tokenizer, model.generation_config)
        answers = generate_answers(model, prompts, self.max_new_tokens, self.batch_size, ends)
        loss = average_loss(score_rows(model, self.scored, self.batch_size))
        return Look(loss, [decode_answer(self.tokenizer, tokens, ends) for tokens in answers])


def _take_prompts(rows: list[RenderedRow]) -> list[list[int]]:
    """The tokens of the question of each row."""
    return [row["input_ids"][: row["prompt_length"]] for row in rows]


def average_loss(scores: list[Score]) -> float:
    """Nats a token over scored rows."""
    return sum(one.loss for one in scores) / sum(one.tokens for one in scores)


def _load_pilot_rows(tokenizer: PreTrainedTokenizerBase, rendering: Rendering) -> _PilotRows:
    """The rows of golden and train."""
    records = list(read_jsonl("data/split/golden.jsonl"))
    train = render_records(tokenizer, read_jsonl("data/split/train.jsonl"), rendering)
    golden = render_records(tokenizer, records, rendering)
    for name, found in {"train": train, "golden": golden}.items():
        print_refused(name, found.refused, len(found.rows) + len(found.too_long) + len(found.refused))
        print_plain_controls(tokenizer, name, found.rows)
        print_unlearnt(name, found.rows, rendering.thinking)
    unused = find_unused_tokens(tokenizer, read_added_tokens(BASE), train.rows + train.too_long)
    return _PilotRows(golden, train, find_mislabelled(tokenizer, records, golden.rows, rendering), unused)


def list_objections(
    too_long: int,
    refused: int,
    rows: int,
    limit: float,
    mislabelled: list[str],
    before: float | None,
    after: float | None,
) -> list[str]:
    """The reasons against going on, a sentence each; none means go. The losses are None before the first step."""
    reasons = []
    if refused > limit * rows:
        reasons.append(f"the chat template cannot say {refused} of {rows} train rows: use another chat_template")
    if too_long > limit * rows or too_long == rows:
        share = f"{too_long / rows:.1%}, and pilot_max_too_long allows {limit:.1%}"
        reasons.append(f"{too_long} of {rows} train rows exceed max_length ({share})")
    if mislabelled:
        reasons.append(
            f"the labels of {', '.join(mislabelled[:3])} are not their answer and end token: mend the template"
        )
    if before is None or after is None:
        return reasons
    if not math.isfinite(after):
        reasons.append(f"the loss became {after}: lower learning_rate")
    elif after >= before:
        reasons.append(
            f"the loss did not fall ({before:.3f} to {after:.3f}): change learning_rate or raise pilot_steps"
        )
    return reasons


def object_to_held_out_rows(lengths: dict[str, dict[str, float]]) -> list[str]:
    """The held-out splits of which so many rows are too long that the evaluation would stop, a sentence each.

    `lengths`: metrics/lengths.json.
    """
    reasons = []
    for split in HELD_OUT:
        share = lengths[split].get("share_left_out", lengths[split]["share_above_max_length"])
        if share > MOST_LEFT_OUT:
            reasons.append(f"{share:.1%} of the {split} rows exceed max_length, and the evaluation needs half of them")
    return reasons


def _check_rows(rows: _PilotRows, limit: float, long_rows: str) -> None:
    """Stop before the first step where the lengths or the labels are a reason to."""
    too_long, refused = len(rows.train.too_long), len(rows.train.refused)
    every, lengths = too_long + refused + len(rows.train.rows), read_json("metrics/lengths.json")
    reasons = list_objections(too_long, refused, every, limit, rows.mislabelled, None, None)
    if not rows.golden.rows:
        reasons.append("no golden row can be trained on")
    if rows.unused:
        reasons.append(
            f"no train row has {', '.join(rows.unused)}: write it into rows, or take it out of extra_special_tokens"
        )
    by_length = object_to_held_out_rows(lengths)
    reasons += by_length
    if not reasons:
        return
    _write_report(rows, [], None, None, reasons)
    advice = ""
    if by_length or too_long > limit * every:
        measured = list(map(count_row_tokens, rows.train.rows + rows.train.too_long))
        advice = " " + advise_on_long_rows(lengths["train"], measured, too_long / every, long_rows)
    raise Stop(f"no-go: {'; '.join(reasons)}. Nothing was trained.{advice}")


def _write_report(
    rows: _PilotRows, asked: list[RenderedRow], before: Look | None, after: Look | None, reasons: list[str]
) -> None:
    """Write the report and the samples, whatever came out; without looks where nothing was trained."""
    samples = []
    for row, old, new in zip(asked, before.answers if before else [], after.answers if after else []):
        samples.append({"id": row["id"], "before": old, "after": new})
    write_json("models/pilot/samples.json", samples)
    report: dict[str, Any] = {
        "go": not reasons,
        "reasons": reasons,
        "loss_before": before.loss if before else None,
        "loss_after": after.loss if after else None,
        "golden_rows": len(rows.golden.rows) + len(rows.golden.too_long),
        "golden_rows_too_long": len(rows.golden.too_long),
        "train_rows_too_long": len(rows.train.too_long),
        "train_rows_cut": sum(row["context_cut"] > 0 for row in rows.train.rows),
        "rows_refused": {"train": count_refused(rows.train.refused), "golden": count_refused(rows.golden.refused)},
        "refused": list_refused([*rows.train.refused, *rows.golden.refused]),
        "answers_not_learnt": sum(row["answers_not_learnt"] for row in rows.train.rows),
        "reasoning_left_out": sum(row["reasoning_left_out"] for row in rows.train.rows),
        "rows_shortened": sum(row["turns_left_out"] > 0 for row in rows.train.rows),
        "control_strings": sum(row["controls"] for row in rows.train.rows),
    }
    write_json("models/pilot/report.json", report)


@stage("pilot")
def main(params, fingerprint) -> str:
    make_deterministic(params.seed, params.num_threads)
    dtype, tokenizer = resolve_dtype(params.dtype), load_tokenizer(BASE)
    rendering = Rendering(**params.select(RENDERING_PARAMS))
    rows = _load_pilot_rows(tokenizer, rendering)
    _check_rows(rows, params.pilot_max_too_long, rendering.long_rows)
    model, adapter, _ = load_trainee(BASE, params.method, MethodSettings(**params.select(METHOD_PARAMS)), dtype)
    golden = rows.golden.rows
    asked = [row for row in golden[: params.pilot_samples] if row["prompt_length"]]  # a raw text asks nothing
    probe = _Probe(tokenizer, golden[:PROBE_ROWS], asked, params.max_new_tokens, params.eval_batch_size)
    check_positions(model, params.max_length, _take_prompts(golden), params.max_new_tokens, adapter)
    before = probe.look_at(model)
    root = locate_checkpoints("pilot", fingerprint[:16])
    steps = {"max_steps": params.pilot_steps, "save_strategy": "no"}
    config = build_sft_config(root, dtype, **steps, **params.select(OPTIMISATION_PARAMS))
    trainer = ResponseTrainer(model, tokenizer, config, adapter, golden, [], Extras(packing=params.packing))
    trainer.train()
    after = probe.look_at(trainer.model)
    shutil.rmtree(root, ignore_errors=True)
    reasons = list_objections(0, 0, len(rows.train.rows), 1, [], before.loss, after.loss)
    _write_report(rows, asked, before, after, reasons)
    if reasons:
        raise Stop("no-go: " + "; ".join(reasons) + ". See models/pilot/samples.json.")
    write_text("models/pilot/go", "go\n")
    drawn = f"{len(golden)} of {len(golden) + len(rows.golden.too_long)} golden rows"
    why = f", the others exceed max_length {rendering.max_length}" if rows.golden.too_long else ""
    return f"go: loss {before.loss:.3f} to {after.loss:.3f} in {params.pilot_steps} steps on {drawn}{why}"


if __name__ == "__main__":
    main()
