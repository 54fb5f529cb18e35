"""Fine-tune the base model on the train split by any of the methods; resumes after a crash to the same bits.

    python -m stages.train

Reads models/base, data/split/{train,val}.jsonl and the pilot's go; writes models/adapter (what was trained, of the
checkpoint with the lowest validation loss), models/train/log.json (the curves) and models/train/too_long.json.
"""

import functools
import shutil
from pathlib import Path

from transformers import TrainerState

from tunelock.model.methods.all_methods import METHODS
from tunelock.model.methods.method_settings import METHOD_PARAMS, MethodSettings
from tunelock.model.modeling import describe_hardware, load_model, make_deterministic, resolve_dtype
from tunelock.model.provenance import copy_weights, record_base
from tunelock.rendering.rendering import RENDERING_PARAMS, Rendering, load_tokenizer, render_records
from tunelock.run.errors import Stop
from tunelock.run.files import read_jsonl, whole_folder, write_json
from tunelock.run.hashing import sha256_value
from tunelock.run.scratch import locate_checkpoints
from tunelock.run.stage import hold_lock, stage
from tunelock.training.checkpoints import find_latest_whole, list_checkpoints
from tunelock.training.curves import extract_curve, find_best_step
from tunelock.training.freezing import freeze_parts
from tunelock.training.optimisation import OPTIMISATION_PARAMS, build_sft_config
from tunelock.training.penalties.all_penalties import build_penalty
from tunelock.training.trainer import Extras, ResponseTrainer
from tunelock.watching.doctor import Doctor
from tunelock.watching.progress import announce_cost
from tunelock.watching.shortage import FORECAST_PARAMS, watch_memory
from tunelock.watching.trackers import find_runs_folder, make_trackers

FREEZING_PARAMS = ("freeze_embeddings", "freeze_layers", "unfreeze_schedule")
PENALTY_PARAMS = ("regularization", "regularization_weight")


def load_rows(tokenizer, records: list[dict], split: str, rendering: Rendering) -> tuple:
    """The rendered rows of a split, with the task and source of their records, and the ids of those too long."""
    rows, left_out = render_records(tokenizer, records, rendering)
    if not rows:
        raise Stop(f"every row of data/split/{split}.jsonl is longer than max_length {rendering.max_length}; raise it.")
    about = {record["id"]: {"task": record["task"], "source": record["source"]} for record in records}
    return [row | about[row["id"]] for row in rows], [row["id"] for row in left_out]


def weigh(rows: list[dict], weights: dict[str, float] | None) -> list[dict]:
    """Rows with the `weight` of their task in the loss, scaled so that a row counts 1 on average."""
    if not weights:
        return rows
    unknown = sorted(weights.keys() - {row["task"] for row in rows})
    if unknown:
        raise Stop(f"task_loss_weights: no row of train has the task '{unknown[0]}'; correct its name or take it out.")
    mean = sum(weights.get(row["task"], 1.0) for row in rows) / len(rows)
    return [row | {"weight": weights.get(row["task"], 1.0) / mean} for row in rows]


def train(trainer: ResponseTrainer, root: Path) -> tuple[Path, list[dict]]:
    """Train from the last whole checkpoint below `root`, or from the start.

    Returns:
        The folder of the checkpoint with the lowest validation loss, and the curves.
    """
    resume_from = find_latest_whole(root)
    if resume_from:
        print(f"going on from {resume_from}")
        trainer.state = TrainerState.load_from_json(str(resume_from / "trainer_state.json"))
    if not resume_from or not trainer.is_over(trainer.state):  # over: it was killed before the result was handed on
        trainer.train(resume_from_checkpoint=str(resume_from) if resume_from else None)
    history = trainer.state.log_history
    return list_checkpoints(root)[find_best_step(history)], extract_curve(history)


def extras(params, model, rows: list[dict], trackers: list) -> Extras:
    """What the run has beside the loss over its rows, as the params say."""
    method = METHODS[params.method]
    replay = {name for name, source in params.sources.items() if source.get("role") == "replay"}
    return Extras(
        packing=params.packing,
        patience=params.early_stopping_patience,
        penalty=functools.partial(
            build_penalty, **params.select(PENALTY_PARAMS), rows=[row for row in rows if row["source"] in replay],
            batch_size=params.per_device_train_batch_size, seed=params.seed,
        ),
        unfreezing=freeze_parts(model, **params.select(FREEZING_PARAMS)) if method.trains_whole_model else None,
        callbacks=[*trackers, Doctor()],
    )  # fmt: skip


@stage("train")
def main(params, fingerprint) -> str:
    make_deterministic(params.seed, params.num_threads)
    dtype, tokenizer = resolve_dtype(params.dtype), load_tokenizer("models/base")
    rendering = Rendering(**params.select(RENDERING_PARAMS))
    rows, too_long = {}, {}
    for split in ("train", "val"):
        records = list(read_jsonl(f"data/split/{split}.jsonl"))
        rows[split], too_long[split] = load_rows(tokenizer, records, split, rendering)
    adapter = METHODS[params.method].peft_config("models/base", MethodSettings(**params.select(METHOD_PARAMS)))
    # Checkpoints are bound to the hardware too: resuming on another kind would mix two runs.
    key = sha256_value([fingerprint, describe_hardware()])[:16]
    root = locate_checkpoints("train", key)
    config = build_sft_config(
        root, dtype, num_train_epochs=params.num_train_epochs, eval_strategy="steps", eval_steps=params.eval_steps,
        save_steps=params.eval_steps, save_total_limit=params.save_total_limit, **params.select(OPTIMISATION_PARAMS),
    )  # fmt: skip
    settings = {"method": params.method} | params.select(METHOD_PARAMS) | params.select(OPTIMISATION_PARAMS)
    trackers = make_trackers(params.report_to, find_runs_folder(), key, settings)
    needs = params.select(FORECAST_PARAMS) | {"dtype": dtype}
    with hold_lock("train", root), watch_memory("models/base", rows["train"], needs):
        method, double_quant = METHODS[params.method], params.bnb_4bit_use_double_quant
        model = load_model("models/base", method.weights_dtype(dtype), method.quantization(dtype, double_quant))
        announce_cost(rows["train"], params.num_train_epochs, model.num_parameters(), dtype)
        beside = extras(params, model, rows["train"], trackers)
        weighed = weigh(rows["train"], params.task_loss_weights)
        trainer = ResponseTrainer(model, tokenizer, config, adapter, weighed, rows["val"], beside)
        best, log = train(trainer, root)
        with whole_folder("models/adapter") as folder:
            copy_weights(best, folder)
            trained_with = {"dtype": dtype, "double_quant": double_quant}
            record_base(folder, "models/base", params.model_name_or_path, params.method, **trained_with)
        write_json("models/train/log.json", log)
        write_json("models/train/too_long.json", too_long)
        shutil.rmtree(root)
    return f"best checkpoint: step {best.name.rpartition('-')[2]} of {log[-1]['step']}"


if __name__ == "__main__":
    main()
