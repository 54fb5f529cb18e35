"""What a training would take before anything is started: memory, time, disk and money on named GPUs and here.

    python -m tunelock.commands.estimate [--gpu a100-80gb ...] [--model NAME] [-S method=qlora ...] [--price 1.20]

For the current params.yaml, changed by `-S` as `dvc exp run` would. `--model` takes the shape of a known family instead
of models/base. Prices are list prices of one day, to compare by; `--price` puts yours, in dollars an hour.
"""

import argparse
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

from ruamel.yaml import YAML

from tunelock.planning.gpus import CPU_UTILISATION, DENSE_UTILISATION, GPUS, UTILISATION, Gpu
from tunelock.planning.guides import guide_lines
from tunelock.planning.known_models import FAMILIES
from tunelock.planning.memory import GB, Batch, Disk, Memory, disk, flops, memory
from tunelock.planning.shape import Architecture, architecture, parameters, trainable
from tunelock.run.errors import Stop
from tunelock.run.files import read_json, read_jsonl
from tunelock.run.params import load_yaml
from tunelock.run.stage import plain_errors
from tunelock.schema.params_problems import find_problems
from tunelock.watching.shortage import available

SAMPLE = 2000  # rows that are rendered to learn how long they are


class Rows(NamedTuple):
    """What is trained on: rows, tokens of an epoch, the share with a label, the largest batch, where that is from."""

    count: int
    tokens: float
    labelled_share: float
    batch: Batch
    source: str


def rows_of(lengths: list[tuple[int, int]], count: int, settings, source: str) -> Rows:
    """From (tokens, labels) of some of `count` rows. The longest rows meet in one batch, as our sampler has it."""
    tokens, labels = (sum(part) for part in zip(*lengths))
    size = settings.per_device_train_batch_size
    if settings.packing:
        batch = Batch(size, settings.max_length, round(size * settings.max_length * labels / tokens))
    else:
        largest = (sorted(lengths) * size)[-size:] if len(lengths) < size else sorted(lengths)[-size:]
        batch = Batch(size, largest[-1][0], sum(labels for _, labels in largest))
    return Rows(count, tokens / len(lengths) * count, labels / tokens, batch, source)


def find_rows(settings) -> Rows:
    """The rows of the train split where it is, else what metrics/lengths.json says of them, else the limits."""
    split, measured = Path("data/split/train.jsonl"), Path("metrics/lengths.json")
    if split.exists() and Path("models/base/tokenizer.json").exists():
        from tunelock.rendering.rendering import IGNORE, fit, load_tokenizer

        records = list(read_jsonl(split))
        tokenizer = load_tokenizer("models/base")
        rows, _ = fit(tokenizer, records[:SAMPLE], settings.system_prompt, settings.max_length)
        if not rows:
            raise Stop(f"every row of {split} is longer than max_length {settings.max_length}; raise it.")
        lengths = [(len(row["input_ids"]), sum(label != IGNORE for label in row["labels"])) for row in rows]
        return rows_of(lengths, len(records), settings, str(split))
    if measured.exists():
        known = read_json(measured)["train"]
        middle, longest = known["median"], min(known["longest"], settings.max_length)
        count = settings.max_train_samples or known["rows_measured"]
        return rows_of([(middle, middle)] * 20 + [(longest, longest)], count, settings, f"{measured}, medians")
    full = settings.max_length
    return rows_of([(full, full)], settings.max_train_samples or 1000, settings, "no data yet: rows of max_length")


def shape_of(name: str | None) -> tuple[str, Architecture]:
    """The named family's shape, or that of models/base."""
    if name:
        if name not in FAMILIES:
            raise Stop(f"--model {name} is not known; choose among {', '.join(FAMILIES)}.")
        return name, FAMILIES[name].architecture
    if not Path("models/base/config.json").exists():
        raise Stop("models/base is not there; run `dvc repro base`, or name a model: `--model llama-3.1-8b`.")
    try:
        return "models/base", architecture(read_json("models/base/config.json"))
    except KeyError:
        raise Stop(
            "models/base is not built like Llama, so its memory is not known; name one that is: `--model`."
        ) from None


def given_settings(changes: list[str]) -> SimpleNamespace:
    """params.yaml with the changes `key=value`, checked like the file itself."""
    values = load_yaml("params.yaml")
    for change in changes:
        key, _, value = change.partition("=")
        values[key] = YAML(typ="safe", pure=True).load(value)
    wrong = find_problems(values)
    if wrong:
        raise Stop(" ".join(wrong))
    return SimpleNamespace(**values)


def duration(seconds: float) -> str:
    """Seconds in the unit a person would use."""
    minutes = seconds / 60
    return f"{minutes / 60:.1f} h" if minutes >= 90 else f"{minutes:.0f} min" if minutes >= 1 else "< 1 min"


def verdict_of(needed: float, there: float) -> str:
    """Whether that much memory fits, or how much is missing; both in bytes."""
    return "fits" if needed <= there else f"{(needed - there) / GB:.1f} GB short"


def gpu_line(name: str, gpu: Gpu, needed: float, work: float, settings, price: float) -> str:
    """One row of the table: `needed` in bytes, `work` in FLOPs."""
    fits = needed <= gpu.memory * GB
    verdict = verdict_of(needed, gpu.memory * GB)
    if name == "t4" and settings.dtype == "bfloat16":
        verdict += ", with dtype=float16"
    seconds = work / (UTILISATION.get(settings.method, DENSE_UTILISATION) * gpu.tflops * 1e12)
    spent = f"{duration(seconds)} | ${price * seconds / 3600:.2f}" if fits else "- | -"
    return f"| {name} | {gpu.memory} | {needed / GB:.1f} | {verdict} | {spent} | ${price:.2f} | {gpu.source} |"


def own_line(shape: Architecture, settings, batch: Batch, work: float) -> str:
    """The row of this machine, in the dtype that `settings.dtype` means here; `work` in FLOPs."""
    from tunelock.model.modeling import resolve_dtype  # brings torch
    from tunelock.watching.progress import matmul_rate

    dtype = resolve_dtype(settings.dtype)
    needed = memory(shape, SimpleNamespace(**vars(settings) | {"dtype": dtype}), batch).peak
    there, rate = available(), matmul_rate(dtype)
    seconds = work / (CPU_UTILISATION * rate)
    spent = f"{duration(seconds)} | -" if needed <= there else "- | -"
    source = f"{rate / 1e9:.0f} GFLOP/s measured in {dtype}"
    return (
        f"| here, CPU | {there / GB:.1f} | {needed / GB:.1f} | {verdict_of(needed, there)} | {spent} | - | {source} |"
    )


def parts(memory: Memory, disk: Disk) -> str:
    """Memory and disk by part, in GB."""

    def listed(pairs: dict) -> str:
        return ", ".join(f"{name} {value / GB:.2f}" for name, value in pairs.items() if value)

    fields = {key: value for key, value in memory._asdict().items() if key != "accumulates"}
    return (
        f"memory (GB): {listed(fields)}; at the peak {memory.peak / GB:.2f}\n"
        f"disk (GB): {listed(disk._asdict())}; in all {sum(disk) / GB:.2f}"
    )


def report(name: str, shape: Architecture, settings, rows: Rows, gpus: list[str], price: float | None) -> list[str]:
    """Everything that is printed, line by line."""
    whole, trained = parameters(shape), trainable(shape, settings)
    taken = memory(shape, settings, rows.batch)
    tokens = rows.tokens * settings.num_train_epochs
    work = tokens * flops(shape, settings, rows.tokens / rows.count, rows.labelled_share)
    return [
        f"{name}: {whole:,} parameters; {settings.method} trains {trained:,} ({trained / whole:.2%}), {settings.dtype}",
        f"{rows.count:,} rows, {tokens:,.0f} tokens in {settings.num_train_epochs:g} epochs ({rows.source}); "
        f"the largest batch has {rows.batch.rows} rows of {rows.batch.length} tokens",
        parts(taken, disk(shape, settings, settings.save_total_limit)),
        "",
        "| on | has (GB) | needs (GB) | verdict | time | cost | an hour | price of |",
        "|---|---|---|---|---|---|---|---|",
        *(gpu_line(key, GPUS[key], taken.peak, work, settings, price or GPUS[key].price) for key in gpus),
        own_line(shape, settings, rows.batch, work),
        "time: training alone, at a share of the peak rate that large models reach; small ones are slower than that",
        "",
        *guide_lines(settings),
    ]


def main() -> None:
    """Parse the command line and print."""
    parser = argparse.ArgumentParser(prog="python -m tunelock.commands.estimate", description=__doc__.splitlines()[0])
    parser.add_argument("--gpu", nargs="+", choices=GPUS, default=list(GPUS), help="default: all that are known")
    parser.add_argument("--model", help="a known family, default models/base")
    parser.add_argument("--price", type=float, help="dollars an hour, instead of the list price")
    parser.add_argument("-S", action="append", default=[], metavar="KEY=VALUE", help="change a param for the estimate")
    given = parser.parse_args()
    with plain_errors("estimate"):
        settings = given_settings(given.S)
        name, shape = shape_of(given.model)
        print("\n".join(report(name, shape, settings, find_rows(settings), given.gpu, given.price)))


if __name__ == "__main__":
    main()
