"""Fine-tune the base model with LoRA or QLoRA on the train split; resumes after a crash to the same bits.

    python -m stages.train

Reads models/base, data/split/{train,val}.jsonl and the pilot's go; writes models/adapter (the checkpoint with the
lowest validation loss), models/train/log.json (the curves) and models/train/too_long.json.
"""

import shutil
from pathlib import Path

from stages.lib.adapter import LORA_PARAMS, lora_config
from stages.lib.checkpoints import checkpoint_root, checkpoints, latest_whole
from stages.lib.errors import Stop
from stages.lib.files import read_jsonl, whole_folder, write_json
from stages.lib.hashing import sha256_value
from stages.lib.modeling import hardware, load_model, settle
from stages.lib.progress import announce_cost
from stages.lib.provenance import record_base
from stages.lib.rendering import fit, load_tokenizer
from stages.lib.stage import only_one, stage
from stages.lib.trainer import OPTIMISATION_PARAMS, ResponseTrainer, best_step, curve, sft_config

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")


def train(trainer: ResponseTrainer, root: Path) -> tuple[Path, list[dict]]:
    """Train from the last whole checkpoint below `root`, or from the start.

    Returns:
        The folder of the checkpoint with the lowest validation loss, and the curves.
    """
    resume_from = latest_whole(root)
    if resume_from:
        print(f"going on from {resume_from}")
    trainer.train(resume_from_checkpoint=str(resume_from) if resume_from else None)
    history = trainer.state.log_history
    return checkpoints(root)[best_step(history)], curve(history)


@stage("train")
def main(params, fingerprint) -> None:
    settle(params.seed, params.num_threads)
    tokenizer = load_tokenizer("models/base")
    splits = {name: read_jsonl(f"data/split/{name}.jsonl") for name in ("train", "val")}
    rows, too_long = {}, {}
    for name, records in splits.items():
        rows[name], left_out = fit(tokenizer, records, params.system_prompt, params.max_length)
        too_long[name] = [row["id"] for row in left_out]
        if not rows[name]:
            raise Stop(f"every row of data/split/{name}.jsonl is longer than max_length {params.max_length}; raise it.")
    peft_config = lora_config("models/base", **params.select(LORA_PARAMS))
    # Checkpoints are bound to the hardware too: resuming on another kind would mix two runs.
    root = checkpoint_root("train", sha256_value([fingerprint, hardware()])[:16])
    config = sft_config(
        root,
        params.dtype,
        num_train_epochs=params.num_train_epochs,
        eval_strategy="steps",
        eval_steps=params.eval_steps,
        save_steps=params.eval_steps,
        **params.select(OPTIMISATION_PARAMS),
    )
    with only_one("train", root):
        model = load_model("models/base", params.dtype, quantize=params.method == "qlora")
        announce_cost(rows["train"], params.num_train_epochs, model.num_parameters())
        trainer = ResponseTrainer(model, tokenizer, config, peft_config, rows["train"], rows["val"])
        best, log = train(trainer, root)
        with whole_folder("models/adapter") as folder:
            for name in ADAPTER_FILES:
                shutil.copyfile(best / name, folder / name)
            record_base(folder, "models/base", params.model_name_or_path, params.method)
        write_json("models/train/log.json", log)
        write_json("models/train/too_long.json", too_long)
        shutil.rmtree(root)
    print(f"best checkpoint: step {best.name.rpartition('-')[2]} of {log[-1]['step']}")


if __name__ == "__main__":
    main()
