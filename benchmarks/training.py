"""Training speed and memory beside plain TRL, on the same rows, model and machine, in one run.

    make bench                                                      # or: python -m benchmarks.training [ROWS]
    python -m benchmarks.training --llamafactory PATH/TO/llamafactory-cli    # beside LLaMA-Factory too

Each contestant trains LoRA r=16 on all linear layers for one epoch over the same rows in a process of its own, batch
8, two threads, in bfloat16 where the CPU computes in it (`dtype: auto`), else all in float32: TRL's default of bfloat16
would make its products a tenth as fast or worse there. The rate of matrix products is that of this dtype. tokens/s
counts prompt and answer tokens, no padding. "loss of one batch" is each trainer's own, of the same batch before the
first step: the same for all, or somebody computes another loss. "loss after" is over all rows after the epoch, scored
alike for all.

LLaMA-Factory pins other versions of the same packages, so it has a venv of its own (`pip install torch==2.13.0
llamafactory==0.9.5`); it renders the rows itself, to the same tokens, and its time is the `train_runtime` it tells.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel
from trl import SFTConfig, SFTTrainer

from tunelock.answering.scoring import score_rows
from tunelock.model.methods.all_methods import METHODS
from tunelock.model.methods.method_settings import MethodSettings
from tunelock.model.modeling import has_bfloat16, load_model, make_deterministic, resolve_dtype
from tunelock.rendering.rendering import Rendering, load_tokenizer, render_records
from tunelock.run.files import read_json, read_jsonl, write_json
from tunelock.training.batches import make_dataset
from tunelock.training.optimisation import build_sft_config
from tunelock.training.trainer import ResponseTrainer
from tunelock.watching.progress import measure_matmul_rate

ROWS = 80
PARAMETERS = 134_515_008  # of models/base; with its weights frozen, training takes 4 FLOPs a parameter and token
COLUMNS = ("", "tokens/s", "ratio", "of matmul rate", "peak RSS (GB)", "loss of one batch", "loss after")
CONTESTANTS = {
    "sfttrainer": "SFTTrainer, defaults",
    "grouped": "SFTTrainer, group_by_length",
    "llamafactory": "LLaMA-Factory, defaults",
    "tunelock": "tunelock",
}
COMMON = {
    "per_device_train_batch_size": 8,
    "num_train_epochs": 1,
    "learning_rate": 1e-3,
    "seed": 0,
    "save_strategy": "no",
}


def rendered(count: int) -> list[dict]:
    """The first rows of the train split as tokens and labels."""
    records = list(read_jsonl("data/split/train.jsonl"))[:count]
    return render_records(load_tokenizer("models/base"), records, Rendering(1024)).rows


def plain_trainer(rows: list[dict], grouped: bool) -> SFTTrainer:
    """TRL with its defaults but for the CPU; the rows come tokenised and labelled, as they do for ours."""
    torch.set_num_threads(2)
    options = {"train_sampling_strategy": "group_by_length"} if grouped else {}
    options |= COMMON | {"use_cpu": True, "report_to": "none", "bf16": has_bfloat16()}
    config = SFTConfig(output_dir=".ckpt/benchmark", **options)
    lora = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    return SFTTrainer(model="models/base", args=config, train_dataset=make_dataset(rows), peft_config=lora)


def our_trainer(rows: list[dict]) -> ResponseTrainer:
    """The trainer of `stages.train` with the settings of `params.yaml`."""
    make_deterministic(0, 2)
    dtype = resolve_dtype("auto")
    config = build_sft_config(Path(".ckpt/benchmark"), dtype, gradient_checkpointing=False, **COMMON)
    settings = MethodSettings(lora_r=16, lora_alpha=32, lora_dropout=0.0, lora_target_modules="all-linear")
    lora = METHODS["lora"].peft_config("models/base", settings)
    model, tokenizer = load_model("models/base", dtype), load_tokenizer("models/base")
    return ResponseTrainer(model, tokenizer, config, lora, rows, [])


def measure(name: str, count: int) -> dict:
    """Train one contestant and return its figures."""
    rows = rendered(count)
    trainer = our_trainer(rows) if name == "tunelock" else plain_trainer(rows, name == "grouped")
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(8)])
    trainer.model.eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=has_bfloat16()):
        loss = trainer.compute_loss(trainer.model, dict(batch)).item()
    trainer.model.train()
    started = time.time()
    trainer.train()
    seconds = time.time() - started
    return {"loss": loss} | figures(trainer.model, rows, seconds, resource.RUSAGE_SELF)


def measure_llamafactory(cli: str, count: int) -> dict:
    """Train LLaMA-Factory's own way, in a process of its own, and return the same figures but the loss of one batch."""
    rows = rendered(count)
    beginning = load_tokenizer("models/base").decode(rows[0]["input_ids"])
    system = beginning.partition("<|im_end|>")[0].partition("system\n")[2]  # the template's own
    records = list(read_jsonl("data/split/train.jsonl"))[:count]
    with tempfile.TemporaryDirectory() as folder:
        said = [[message["content"] for message in record["messages"]] for record in records]
        table = [{"system": system, "instruction": question, "output": answer} for question, answer in said]
        write_json(f"{folder}/rows.json", table)
        columns = {"system": "system", "prompt": "instruction", "response": "output"}
        write_json(f"{folder}/dataset_info.json", {"rows": {"file_name": "rows.json", "columns": columns}})
        settings = COMMON | {
            "model_name_or_path": "models/base", "stage": "sft", "do_train": True, "finetuning_type": "lora",
            "lora_target": "all", "lora_rank": 16, "lora_alpha": 32, "dataset_dir": folder, "dataset": "rows",
            "template": "smollm2", "cutoff_len": 1024, "bf16": has_bfloat16(), "report_to": "none", "use_cpu": True,
            "gradient_accumulation_steps": 1, "output_dir": f"{folder}/out",
        }  # fmt: skip
        write_json(f"{folder}/settings.yaml", settings)  # JSON is YAML; LLaMA-Factory 0.9.5 fails at a .json
        environment = os.environ | {"OMP_NUM_THREADS": "2", "HF_HUB_OFFLINE": "1"}
        command = [cli, "train", f"{folder}/settings.yaml"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{cli} ended with {done.returncode}:\n{done.stderr[-2000:]}")
        seconds = read_json(Path(folder, "out/train_results.json"))["train_runtime"]
        model = PeftModel.from_pretrained(load_model("models/base", resolve_dtype("auto")), f"{folder}/out")
        return {"loss": None} | figures(model, rows, seconds, resource.RUSAGE_CHILDREN)


def figures(model, rows: list[dict], seconds: float, whose: int) -> dict:
    """What is told of a contestant whose training took `seconds`."""
    peak = resource.getrusage(whose).ru_maxrss * 1024 / 1e9
    tokens = sum(len(row["input_ids"]) for row in rows)
    scores = score_rows(model.get_base_model(), rows, 8)
    return {
        "tokens_per_s": tokens / seconds,
        "peak_rss_gb": peak,
        "loss_after": sum(one.loss for one in scores) / sum(one.tokens for one in scores),
        "tokens": tokens,
        "matmul_share": 4 * PARAMETERS * tokens / seconds / measure_matmul_rate(resolve_dtype("auto")),
    }


def main(count: int, cli: str | None) -> None:
    """Run the contestants one after another and print the table."""
    print(f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|")
    baseline = None
    for name, title in CONTESTANTS.items():
        if name == "llamafactory" and not cli:
            continue
        command = [sys.executable, "-m", "benchmarks.training", str(count), "--one", name]
        command += ["--llamafactory", cli] if cli else []
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        baseline = baseline or found["tokens_per_s"]
        speed, share = found["tokens_per_s"], found["matmul_share"]
        loss = "-" if found["loss"] is None else f"{found['loss']:.4f}"
        cells = (title, f"{speed:.0f}", f"{speed / baseline:.2f}", f"{share:.0%}", f"{found['peak_rss_gb']:.2f}",
                 loss, f"{found['loss_after']:.3f}")  # fmt: skip
        print(f"| {' | '.join(cells)} |", flush=True)
    if not cli:
        print("\nwithout LLaMA-Factory: name its llamafactory-cli by --llamafactory")
    what = f"{count} rows, {found['tokens']} tokens, models/base, LoRA r=16 all-linear"
    print(f"\n{what}, batch 8, two threads, {resolve_dtype('auto')}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="?", type=int, default=ROWS)
    parser.add_argument("--llamafactory", metavar="CLI", help="its llamafactory-cli, in a venv of its own")
    parser.add_argument("--one", choices=CONTESTANTS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one == "llamafactory":
        print(json.dumps(measure_llamafactory(given.llamafactory, given.rows)))
    elif given.one:
        print(json.dumps(measure(given.one, given.rows)))
    else:
        main(given.rows, given.llamafactory)
