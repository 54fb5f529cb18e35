"""Fine-tune the base model on the train split by any of the methods; resumes after a crash to the same bits.

    python -m stages.train

Reads models/base, data/split/{train,val}.jsonl and the pilot's go; writes models/adapter (what was trained, of the
checkpoint with the lowest validation loss), models/train/log.json (the curves), models/train/high_steps.json (the rows
of steps whose loss stands out) and models/train/too_long.json.
"""

import functools
import shutil
from pathlib import Path
from typing import Any, NamedTuple

from transformers import PreTrainedTokenizerBase, TrainerState

from tunelock.model.methods.method_settings import METHOD_PARAMS, MethodSettings
from tunelock.model.modeling import describe_hardware, make_deterministic, resolve_dtype
from tunelock.model.positions import check_positions
from tunelock.model.provenance import copy_weights, record_base
from tunelock.rendering.refused import print_refused, print_unlearnt
from tunelock.rendering.rendering import (
    RENDERING_PARAMS,
    RenderedRecords,
    RenderedRow,
    Rendering,
    load_tokenizer,
    render_records,
)
from tunelock.run.errors import Stop
from tunelock.run.files import read_jsonl, whole_folder, write_json
from tunelock.run.hashing import sha256_value
from tunelock.run.scratch import locate_checkpoints
from tunelock.run.stage import hold_lock, stage
from tunelock.run.stop_requests import ignore_stops
from tunelock.training.batches import LengthGroupedSampler
from tunelock.training.checkpoints import find_latest_whole, list_checkpoints
from tunelock.training.curves import extract_curve, find_best_step
from tunelock.training.high_steps import HighStep, list_high_steps
from tunelock.training.optimisation import OPTIMISATION_PARAMS, build_sft_config
from tunelock.training.penalties.all_penalties import build_penalty
from tunelock.training.stopping import lacks_validation
from tunelock.training.trainee import load_trainee
from tunelock.training.trainer import Extras, ResponseTrainer
from tunelock.watching.doctor import Doctor
from tunelock.watching.progress import announce_cost
from tunelock.watching.shortage import FORECAST_PARAMS, watch_memory
from tunelock.watching.trackers import find_runs_folder, make_trackers

FREEZING_PARAMS = ("freeze_embeddings", "freeze_layers", "unfreeze_schedule")
LOOP_PARAMS = ("num_train_epochs", "eval_steps", "save_total_limit")
PENALTY_PARAMS = ("regularization", "regularization_weight", "seed")
BASE = "models/base"


class _TrainingRows(NamedTuple):
    """The rendered rows of both splits, and by split the ids of those that are too long."""

    train: list[RenderedRow]
    val: list[RenderedRow]
    too_long: dict[str, list[str]]


class _Trained(NamedTuple):
    """The checkpoint with the lowest validation loss, the curves, and the steps that stand out."""

    best: Path
    log: list[dict]
    high_steps: list[HighStep]


def _load_splits(
    tokenizer: PreTrainedTokenizerBase, rendering: Rendering, weights: dict[str, float] | None
) -> _TrainingRows:
    """The rows of train, weighed by their tasks, and those of val."""
    found, too_long = {}, {}
    for split in ("train", "val"):
        found[split] = _render_split(tokenizer, split, rendering)
        too_long[split] = [row["id"] for row in found[split].too_long]
    return _TrainingRows(weigh_rows(found["train"].rows, weights), found["val"].rows, too_long)


def _render_split(tokenizer: PreTrainedTokenizerBase, split: str, rendering: Rendering) -> RenderedRecords:
    """The rows of a split with the task and source of their records; `Stop` if all of them are too long."""
    records = list(read_jsonl(f"data/split/{split}.jsonl"))
    found = render_records(tokenizer, records, rendering)
    print_refused(split, found.refused, len(records))
    print_unlearnt(split, found.rows, rendering.thinking)
    if not found.rows:
        raise Stop(f"every row of data/split/{split}.jsonl is longer than max_length {rendering.max_length}; raise it.")
    by_id = {record["id"]: record for record in records}
    for row in found.rows:
        row["task"], row["source"] = by_id[row["id"]]["task"], by_id[row["id"]]["source"]
    return found


def weigh_rows(rows: list[RenderedRow], weights: dict[str, float] | None) -> list[RenderedRow]:
    """Rows with the `weight` of their task in the loss, scaled so that a row counts 1 on average."""
    if not weights:
        return rows
    unknown = sorted(weights.keys() - {row["task"] for row in rows})
    if unknown:
        raise Stop(f"task_loss_weights: no row of train has the task '{unknown[0]}'; correct its name or take it out.")
    mean = sum(weights.get(row["task"], 1.0) for row in rows) / len(rows)
    return [{**row, "weight": weights.get(row["task"], 1.0) / mean} for row in rows]


def _select_replay(rows: list[RenderedRow], sources: dict[str, dict]) -> list[RenderedRow]:
    """The rows of the sources with `role: replay`."""
    replay = {name for name, source in sources.items() if source.get("role") == "replay"}
    return [row for row in rows if row["source"] in replay]


def train(trainer: ResponseTrainer, root: Path) -> _Trained:
    """Train from the last whole checkpoint below `root`, or from the start."""
    resume_from, over = find_latest_whole(root), False
    if resume_from:
        print(f"going on from {resume_from}")
        trainer.state = TrainerState.load_from_json(str(resume_from / "trainer_state.json"))
        over = trainer.is_over(trainer.state) and not lacks_validation(resume_from)
    if not over:  # or it was stopped before the result was handed on
        trainer.train(resume_from_checkpoint=str(resume_from) if resume_from else None)
    history, config = trainer.state.log_history, trainer.args
    log, sampler = extract_curve(history), LengthGroupedSampler(trainer.lengths, config.train_batch_size, config.seed)
    high = list_high_steps(log, trainer.row_ids, sampler, config.gradient_accumulation_steps)
    return _Trained(list_checkpoints(root)[find_best_step(history)], log, high)


def _write_results(trained: _Trained, too_long: dict[str, list[str]], **provenance: Any) -> None:
    """Write the adapter with where it comes from, the curves, and the rows that were too long."""
    with whole_folder("models/adapter") as folder:
        copy_weights(trained.best, folder)
        record_base(folder, BASE, **provenance)
    write_json("models/train/log.json", trained.log)
    write_json("models/train/high_steps.json", trained.high_steps)
    write_json("models/train/too_long.json", too_long)


@stage("train")
def main(params, fingerprint) -> str:
    make_deterministic(params.seed, params.num_threads)
    dtype, tokenizer = resolve_dtype(params.dtype), load_tokenizer(BASE)
    rows = _load_splits(tokenizer, Rendering(**params.select(RENDERING_PARAMS)), params.task_loss_weights)
    # Checkpoints are bound to the hardware too: resuming on another kind would mix two runs.
    root = locate_checkpoints("train", sha256_value([fingerprint, describe_hardware()])[:16])
    optimisation, settings = params.select(OPTIMISATION_PARAMS), params.select(METHOD_PARAMS)
    loop = params.select(LOOP_PARAMS) | {"eval_strategy": "steps", "save_steps": params.eval_steps}
    config = build_sft_config(root, dtype, **optimisation, **loop)
    tracked = {"method": params.method, **settings, **optimisation}
    trackers = make_trackers(params.report_to, find_runs_folder(), root.name, tracked)
    penalty = functools.partial(
        build_penalty,
        rows=_select_replay(rows.train, params.sources),
        batch_size=params.per_device_train_batch_size,
        **params.select(PENALTY_PARAMS),
    )
    with hold_lock("train", root), watch_memory(BASE, rows.train, params.select(FORECAST_PARAMS) | {"dtype": dtype}):
        freezing = params.select(FREEZING_PARAMS)
        model, adapter, unfreezing = load_trainee(BASE, params.method, MethodSettings(**settings), dtype, freezing)
        check_positions(model, params.max_length, adapter=adapter)
        announce_cost(rows.train, params.num_train_epochs, model.num_parameters(), dtype)
        onlookers = [*trackers, Doctor()]
        extras = Extras(params.packing, params.early_stopping_patience, penalty, unfreezing, onlookers)
        trained = train(ResponseTrainer(model, tokenizer, config, adapter, rows.train, rows.val, extras), root)
        base = {"name": params.model_name_or_path, "revision": params.model_revision}
        how = {"dtype": dtype, "double_quant": params.bnb_4bit_use_double_quant}
        _write_results(trained, rows.too_long, **base, method=params.method, **how)
        ignore_stops()  # without its checkpoints a stage that fails would have to train again
        shutil.rmtree(root)
    return f"best checkpoint: step {trained.best.name.rpartition('-')[2]} of {trained.log[-1]['step']}"


if __name__ == "__main__":
    main()
