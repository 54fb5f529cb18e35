"""Measured peak memory of training beside the estimate of `tunelock.planning.memory`, each method in a process of its
own.

    python -m benchmarks.memory [METHOD ...]                # models/base, params.yaml, a few steps
    python -m benchmarks.memory --rows 2 [METHOD ...]       # smaller batches
    python -m benchmarks.memory --as-run [METHOD ...]       # with the heap as training has it
    python -m benchmarks.memory --gpu-shape [METHOD ...]    # CUDA: random weights in the shape of Llama 3.1 8B

On the CPU the figure is the model's weights and what the resident set grows by at most during the steps. Each tensor
gets a mapping of its own, so that only what is alive counts; `--as-run` leaves the heap to `modeling.keep_pages`:
freed pages are kept for speed, and there are holes. On CUDA it is PyTorch's own peak. The rows are the longest of the
train split, so that every batch is the largest one.
"""

import argparse
import ctypes
import gc
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from tunelock.model.methods.all_methods import METHODS
from tunelock.model.methods.architecture import read_architecture
from tunelock.model.methods.method_settings import MethodSettings
from tunelock.model.modeling import load_model, make_deterministic, resolve_dtype
from tunelock.planning.memory import Batch, estimate_memory
from tunelock.planning.memory_settings import MemorySettings
from tunelock.rendering.conversation import IGNORE
from tunelock.rendering.rendering import Rendering, load_tokenizer, render_records
from tunelock.run.files import read_json, read_jsonl
from tunelock.run.params import load_yaml
from tunelock.training.freezing import freeze_parts
from tunelock.training.optimisation import OPTIMISATION_PARAMS, build_sft_config
from tunelock.training.trainer import Extras, ResponseTrainer

STEPS = 2  # the optimiser's states come with the first
LLAMA_8B = {
    "vocab_size": 128256, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "tie_word_embeddings": False,
}  # fmt: skip


def resident(field: str) -> int:
    """Bytes of this process by a field of /proc/self/status: VmRSS now, VmHWM at its peak."""
    return int(re.search(rf"{field}:\s+(\d+)", Path("/proc/self/status").read_text())[1]) * 1024


def map_each_tensor() -> None:
    """Undo `tunelock.model.modeling._keep_pages`: glibc maps what is above 64 KB and gives it back."""
    trim, top_pad, mmap_threshold, mmap_max = -1, -2, -3, -4  # of malloc.h
    for option, value in ((trim, 2**17), (top_pad, 0), (mmap_threshold, 2**16), (mmap_max, 2**16)):
        ctypes.CDLL(None).mallopt(option, value)


def settled(model: torch.nn.Module) -> int:
    """Bytes of this process beside the model's weights, once loading has left nothing behind.

    Weights are views of the mapped file until they are copied; the heap keeps what loading used until it is trimmed.
    """
    for tensor in [*model.parameters(), *model.buffers()]:
        tensor.data = tensor.data.clone()
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return resident("VmRSS") - sum(tensor.nbytes for tensor in model.parameters())


def longest(params, count: int) -> list[dict]:
    """The longest rows of the train split, rendered."""
    rows = render_records(
        load_tokenizer("models/base"), read_jsonl("data/split/train.jsonl"), Rendering(params.max_length)
    ).rows
    return sorted(rows, key=lambda row: len(row["input_ids"]))[-count:]


def filled(count: int, length: int) -> list[dict]:
    """Rows of random tokens, all of them with a label, as packed sequences have."""
    tokens = torch.randint(1000, 40000, (count, length)).tolist()
    return [{"id": str(number), "input_ids": row, "labels": row} for number, row in enumerate(tokens)]


def random_base(folder: Path) -> Path:
    """A folder with random bfloat16 weights in the shape of Llama 3.1 8B, and the tokenizer of models/base."""
    with torch.device("cuda"):
        model = AutoModelForCausalLM.from_config(LlamaConfig(**LLAMA_8B), dtype=torch.bfloat16)
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copyfile(Path("models/base", name), folder / name)
    del model
    torch.cuda.empty_cache()
    return folder


def trainer_of(base: Path | str, params, rows: list[dict]) -> ResponseTrainer:
    """The trainer of `stages.train` on the model in `base`."""
    options = {key: getattr(params, key) for key in OPTIMISATION_PARAMS}
    config = build_sft_config(Path(".ckpt/benchmark"), params.dtype, max_steps=STEPS, save_strategy="no", **options)
    method, settings = METHODS[params.method], MethodSettings.from_params(vars(params))
    adapter = method.peft_config(base, settings)
    quantization = method.quantization(params.dtype, settings.bnb_4bit_use_double_quant)
    model = load_model(base, method.weights_dtype(params.dtype), quantization)
    frozen = freeze_parts(model, params.freeze_embeddings, 0, None) if method.trains_whole_model else None
    extras = Extras(unfreezing=frozen)
    return ResponseTrainer(model, load_tokenizer("models/base"), config, adapter, rows, [], extras)


def measure(method: str, gpu_shape: bool, as_run: bool, size: int | None) -> dict[str, float]:
    """Train a few steps and return the measured and the estimated peak in bytes."""
    params = SimpleNamespace(**{**load_yaml("params.yaml"), "method": method})
    params.dtype = resolve_dtype(params.dtype)
    make_deterministic(params.seed, 1)  # memory does not depend on threads
    if not as_run:
        map_each_tensor()
    size = params.per_device_train_batch_size = size or params.per_device_train_batch_size
    with tempfile.TemporaryDirectory() as folder:
        if gpu_shape:
            params.max_length, base, rows = 2048, random_base(Path(folder)), filled(size * STEPS, 2048)
        else:
            base, rows = "models/base", longest(params, size * STEPS)
        trainer = trainer_of(base, params, rows)
        before = 0 if gpu_shape else settled(trainer.model)
        if gpu_shape:
            torch.cuda.reset_peak_memory_stats()
        else:
            Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts anew
        trainer.train()
        peak = torch.cuda.max_memory_allocated() if gpu_shape else resident("VmHWM")
        shape = read_architecture(read_json(Path(base, "config.json")))
    last = rows[-size:]
    labelled = sum(label != IGNORE for row in last for label in row["labels"])
    estimate = estimate_memory(
        shape, MemorySettings.from_params(vars(params)), Batch(size, len(rows[-1]["input_ids"]), labelled)
    )
    return {"measured": peak - before, "estimated": estimate.peak, **estimate._asdict()}


def main(methods: list[str], options: list[str]) -> None:
    """Run the methods one after another and print the table."""
    print("| method | measured (GB) | estimated (GB) | ratio | parts of the estimate (GB) |\n|---|---|---|---|---|")
    for method in methods:
        command = [sys.executable, "-m", "benchmarks.memory", method, "--one", *options]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        measured, estimated = found.pop("measured"), found.pop("estimated")
        parts = ", ".join(f"{name} {value / 1e9:.2f}" for name, value in found.items() if value > 5e6)
        print(
            f"| {method} | {measured / 1e9:.2f} | {estimated / 1e9:.2f} | {estimated / measured:.2f} | {parts} |",
            flush=True,
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("methods", nargs="*", default=list(METHODS))
    parser.add_argument("--gpu-shape", action="store_true")
    parser.add_argument("--as-run", action="store_true")
    parser.add_argument("--rows", type=int, help="of a batch, default that of params.yaml")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(given.methods[0], given.gpu_shape, given.as_run, given.rows)))
    else:
        rows = ["--rows", str(given.rows)] if given.rows else []
        main(given.methods, [*["--gpu-shape"] * given.gpu_shape, *["--as-run"] * given.as_run, *rows])
