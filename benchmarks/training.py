"""Training speed and memory beside plain TRL, on the same rows, model and machine, in one run.

    make bench        # or: python -m benchmarks.training [ROWS]

Each contestant trains LoRA r=16 on all linear layers for one epoch over the same rows in a process of its own, batch
8, two threads, in bfloat16 where the CPU computes in it (`dtype: auto`), else all in float32: TRL's default of bfloat16
would make its products a tenth as fast or worse there. The rate of matrix products is that of this dtype. tokens/s
counts prompt and answer tokens, no padding. "loss of one batch" is each trainer's own, of the same batch before the
first step: the same for all, or somebody computes another loss. "loss after" is over all rows after the epoch, scored
alike for all.
"""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import torch
from peft import LoraConfig
from trl import SFTConfig, SFTTrainer

from stages.lib.files import read_jsonl
from stages.lib.measuring.scoring import score
from stages.lib.tokens.rendering import fit, load_tokenizer
from stages.lib.training.adapter import lora_config
from stages.lib.training.batches import dataset
from stages.lib.training.modeling import has_bfloat16, load_model, resolve_dtype, settle
from stages.lib.training.optimisation import sft_config
from stages.lib.training.progress import matmul_rate
from stages.lib.training.trainer import ResponseTrainer

ROWS = 80
PARAMETERS = 134_515_008  # of models/base; with its weights frozen, training takes 4 FLOPs a parameter and token
COLUMNS = ("", "tokens/s", "ratio", "of matmul rate", "peak RSS (GB)", "loss of one batch", "loss after")
CONTESTANTS = {
    "sfttrainer": "SFTTrainer, defaults",
    "grouped": "SFTTrainer, group_by_length",
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
    return fit(load_tokenizer("models/base"), records, None, 1024)[0]


def plain_trainer(rows: list[dict], grouped: bool) -> SFTTrainer:
    """TRL with its defaults but for the CPU; the rows come tokenised and labelled, as they do for ours."""
    torch.set_num_threads(2)
    options = {"train_sampling_strategy": "group_by_length"} if grouped else {}
    options |= COMMON | {"use_cpu": True, "report_to": "none", "bf16": has_bfloat16()}
    config = SFTConfig(output_dir=".ckpt/benchmark", **options)
    lora = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    return SFTTrainer(model="models/base", args=config, train_dataset=dataset(rows), peft_config=lora)


def our_trainer(rows: list[dict]) -> ResponseTrainer:
    """The trainer of `stages.train` with the settings of `params.yaml`."""
    settle(0, 2)
    dtype = resolve_dtype("auto")
    config = sft_config(Path(".ckpt/benchmark"), dtype, gradient_checkpointing=False, **COMMON)
    lora = lora_config("models/base", 16, 32, 0.0, "all-linear")
    model, tokenizer = load_model("models/base", dtype), load_tokenizer("models/base")
    return ResponseTrainer(model, tokenizer, config, lora, rows, [])


def measure(name: str, count: int) -> dict:
    """Train one contestant and return its figures."""
    rows = rendered(count)
    trainer = our_trainer(rows) if name == "tunelock" else plain_trainer(rows, name == "grouped")
    tokens = sum(len(ids) for ids in trainer.train_dataset["input_ids"])
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(8)])
    trainer.model.eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=has_bfloat16()):
        loss = trainer.compute_loss(trainer.model, dict(batch)).item()
    trainer.model.train()
    started = time.time()
    trainer.train()
    seconds = time.time() - started
    scores = score(trainer.model.get_base_model(), rows, 8)
    return {
        "tokens_per_s": tokens / seconds,
        "peak_rss_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
        "loss": loss,
        "loss_after": sum(loss for loss, _ in scores) / sum(tokens for _, tokens in scores),
        "tokens": tokens,
        "matmul_share": 4 * PARAMETERS * tokens / seconds / matmul_rate(resolve_dtype("auto")),
    }


def main(count: int) -> None:
    """Run the contestants one after another and print the table."""
    print(f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|")
    baseline = None
    for name, title in CONTESTANTS.items():
        command = [sys.executable, "-m", "benchmarks.training", str(count), name]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        baseline = baseline or found["tokens_per_s"]
        speed, share = found["tokens_per_s"], found["matmul_share"]
        cells = (title, f"{speed:.0f}", f"{speed / baseline:.2f}", f"{share:.0%}", f"{found['peak_rss_gb']:.2f}",
                 f"{found['loss']:.4f}", f"{found['loss_after']:.3f}")  # fmt: skip
        print(f"| {' | '.join(cells)} |", flush=True)
    what = f"{count} rows, {found['tokens']} tokens, models/base, LoRA r=16 all-linear"
    print(f"\n{what}, batch 8, two threads, {resolve_dtype('auto')}")


if __name__ == "__main__":
    rows_to_train = int(sys.argv[1]) if sys.argv[1:] else ROWS
    if sys.argv[2:]:
        print(json.dumps(measure(sys.argv[2], rows_to_train)))
    else:
        main(rows_to_train)
