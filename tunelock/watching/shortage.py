"""Too little memory: seen before training, recognised when it happens, and answered with what to try."""

import sys
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tunelock.model.methods.all_methods import METHODS
from tunelock.model.methods.architecture import read_architecture
from tunelock.planning.memory import GB, Batch, estimate_memory
from tunelock.planning.memory_settings import MEMORY_PARAMS, MemorySettings
from tunelock.planning.training_rows import RowLength
from tunelock.run.errors import Stop
from tunelock.run.files import read_json
from tunelock.run.free_memory import measure_free_ram

FORECAST_PARAMS = MEMORY_PARAMS  # of params.yaml, for `watch_memory`
_CERTAIN = 1.5  # times what there is: the estimate is good to a fifth, so this cannot fit


def is_shortage(error: BaseException) -> bool:
    """True if the error says that memory is used up: CUDA's, that of PyTorch or oneDNN, or Python's own."""
    signs = ("can't allocate memory", "out of memory", "bad_alloc", "bad allocation", "could not create a memory")
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"  # torch.OutOfMemoryError, without importing torch
        or (isinstance(error, RuntimeError) and any(sign in str(error) for sign in signs))
    )


def measure_free_memory() -> int:
    """Bytes that this process may still take: of the GPU if there is one, else of the machine and its limits."""
    torch = sys.modules.get("torch")
    if torch and torch.cuda.is_available():
        return torch.cuda.mem_get_info()[0]
    return measure_free_ram()


class MemoryNeed(NamedTuple):
    """What a training takes by the estimate and what is free before it, in bytes; its settings; whether on a GPU."""

    needed: float
    free: float
    settings: MemorySettings
    cuda: bool


class _Remedy(NamedTuple):
    """Something to try, its command, and whether it changes anything here."""

    what: str
    command: str
    helps: bool


def list_memory_remedies(settings: MemorySettings, cuda: bool) -> list[str]:
    """What to try, the mildest first, each with its command; what is in force already is left out."""
    rows, steps = settings.per_device_train_batch_size, settings.gradient_accumulation_steps
    fewer = max([part for part in range(1, rows // 2 + 1) if rows % part == 0], default=rows)
    shorter, rank = max(32, settings.max_length // 2), settings.lora_r // 2
    method, smallest = settings.entry, min(METHODS.values(), key=lambda method: method.bits)
    checkpoints = not settings.gradient_checkpointing and method.allows_checkpointing
    run = "dvc exp run -S"
    batch = f"{run} per_device_train_batch_size={fewer} -S gradient_accumulation_steps={steps * rows // fewer}"
    remedies = [
        _Remedy("a smaller batch, accumulated to the same", batch, rows > 1),
        _Remedy("gradient checkpointing", f"{run} gradient_checkpointing=true", checkpoints),
        _Remedy("shorter rows", f"{run} max_length={shorter}", shorter < settings.max_length),
        _Remedy("an 8-bit optimiser", f"{run} optim=paged_adamw_8bit", cuda and settings.optim == "adamw_torch"),
        _Remedy("a lower rank", f"{run} lora_r={rank}", method.has_rank and rank >= 4),
        _Remedy(f"a base in {smallest.bits} bits", f"{run} method={smallest.name}", method.bits > smallest.bits),
        _Remedy("a smaller model", "tunelock configure --model NAME", True),
    ]
    return [f"{remedy.what}: `{remedy.command}`" for remedy in remedies if remedy.helps]


def _describe_shortage(start: str, need: MemoryNeed) -> str:
    """One sentence: what happened, what was needed, what there is, what to try."""
    ways = "; ".join(list_memory_remedies(need.settings, need.cuda))
    facts = f"training needs about {need.needed / GB:.1f} GB and {need.free / GB:.1f} GB are free"
    return f"{start}: {facts}; try, in this order, {ways}."


def make_memory_stop(need: MemoryNeed) -> Stop:
    """The error for a run that has used up its memory; the batch is never changed in silence."""
    return Stop(_describe_shortage("out of memory", need))


def foresee_shortage(need: MemoryNeed) -> None:
    """Say on stderr that memory will be short.

    Raises:
        Stop: it cannot be enough by far. Linux would kill the process without a word.
    """
    if need.needed > _CERTAIN * need.free:
        raise Stop(_describe_shortage("too little memory", need))
    if need.needed > need.free:
        print(_describe_shortage("memory may be short", need), file=sys.stderr)


@contextmanager
def watch_memory(base: Path | str, rows: Sequence[Mapping[str, Any]], values: dict[str, Any]):
    """Around a training: say before it that memory will be short, and after it ran out what was needed.

    Args:
        rows: rendered rows, of which the longest make the largest batch.
        values: of `FORECAST_PARAMS`, with the `dtype` of the arithmetic.
    """
    settings = MemorySettings(**values)
    try:
        shape = read_architecture(read_json(Path(base, "config.json")))
        needed = estimate_memory(shape, settings, _find_largest_batch(rows, settings)).peak
    except KeyError:  # a model of another kind than those whose memory we can count
        yield
        return
    cuda = "torch" in sys.modules and sys.modules["torch"].cuda.is_available()
    need = MemoryNeed(needed, measure_free_memory(), settings, cuda)
    foresee_shortage(need)
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if is_shortage(error):
            raise make_memory_stop(need) from None
        raise


def _find_largest_batch(rows: Sequence[Mapping[str, Any]], settings: MemorySettings) -> Batch:
    """The batch of the longest rows, which our sampler puts first; packed sequences are all full."""
    size = settings.per_device_train_batch_size
    longest = sorted(map(count_row_tokens, rows))[-size:]
    length = settings.max_length if settings.packing else longest[-1].tokens
    return Batch(size, length, sum(row.labelled for row in longest))


def count_row_tokens(row: Mapping[str, Any]) -> RowLength:
    """The length of a rendered row."""
    return RowLength(len(row["input_ids"]), sum(label >= 0 for label in row["labels"]))
