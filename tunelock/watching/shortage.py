"""Too little memory: seen before training, recognised when it happens, and answered with what to try."""

import resource
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tunelock.model.methods.all_methods import METHODS
from tunelock.model.methods.architecture import read_architecture
from tunelock.planning.memory import GB, Batch, estimate_memory
from tunelock.planning.memory_settings import MEMORY_PARAMS, MemorySettings
from tunelock.run.errors import Stop
from tunelock.run.files import read_json

FORECAST_PARAMS = MEMORY_PARAMS  # of params.yaml, for `within_memory`
CERTAIN = 1.5  # times what there is: the estimate is good to a fifth, so this cannot fit
CGROUPS = (  # (limit, use) of cgroup v2 and v1: a container has less than its machine
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def is_shortage(error: BaseException) -> bool:
    """True if the error says that memory is used up: CUDA's, that of PyTorch or oneDNN, or Python's own."""
    signs = ("can't allocate memory", "out of memory", "bad_alloc", "bad allocation", "could not create a memory")
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"  # torch.OutOfMemoryError, without importing torch
        or (isinstance(error, RuntimeError) and any(sign in str(error) for sign in signs))
    )


def available() -> int:
    """Bytes that this process may still take: of the GPU if there is one, else of the machine and its limits."""
    torch = sys.modules.get("torch")
    if torch and torch.cuda.is_available():
        return torch.cuda.mem_get_info()[0]
    return min([machine(), *cgroups(), *address_space()])


def machine() -> int:
    """Free bytes of the machine, caches that can be dropped included."""
    import psutil

    return psutil.virtual_memory().available


def cgroups() -> list[int]:
    """Free bytes below the limits of control groups, as containers and batch jobs have them."""
    found = []
    for limit, used in CGROUPS:
        try:
            found.append(int(Path(limit).read_text()) - int(Path(used).read_text()))
        except (OSError, ValueError):  # no such file, or no limit ("max")
            continue
    return found


def address_space() -> list[int]:
    """Free bytes below `ulimit -v`."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY or not Path("/proc/self/statm").exists():
        return []
    return [limit - int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()]


def remedies(settings: MemorySettings, cuda: bool) -> list[str]:
    """What to try, the mildest first, each with its command; what is in force already is left out."""
    rows, steps = settings.per_device_train_batch_size, settings.gradient_accumulation_steps
    fewer = max([part for part in range(1, rows // 2 + 1) if rows % part == 0], default=rows)
    shorter, rank = max(32, settings.max_length // 2), settings.lora_r // 2
    method, smallest = settings.entry, min(METHODS.values(), key=lambda method: method.bits)
    run = "dvc exp run -S"
    tries = [
        (rows > 1, "a smaller batch, accumulated to the same",
         f"{run} per_device_train_batch_size={fewer} -S gradient_accumulation_steps={steps * rows // fewer}"),
        (not settings.gradient_checkpointing and method.allows_checkpointing, "gradient checkpointing",
         f"{run} gradient_checkpointing=true"),
        (shorter < settings.max_length, "shorter rows", f"{run} max_length={shorter}"),
        (cuda and settings.optim == "adamw_torch", "an 8-bit optimiser", f"{run} optim=paged_adamw_8bit"),
        (method.has_rank and rank >= 4, "a lower rank", f"{run} lora_r={rank}"),
        (method.bits > smallest.bits, f"a base in {smallest.bits} bits", f"{run} method={smallest.name}"),
        (True, "a smaller model", "tunelock configure --model NAME"),
    ]  # fmt: skip
    return [f"{what}: `{command}`" for worth, what, command in tries if worth]


def sentence(start: str, needed: float, there: float, settings: MemorySettings, cuda: bool) -> str:
    """One sentence: what happened, what was needed, what there is, what to try."""
    ways = "; ".join(remedies(settings, cuda))
    facts = f"training needs about {needed / GB:.1f} GB and {there / GB:.1f} GB are free"
    return f"{start}: {facts}; try, in this order, {ways}."


def out_of_memory(needed: float, there: float, settings: MemorySettings, cuda: bool) -> Stop:
    """The error for a run that has used up its memory; the batch is never changed in silence.

    Args:
        needed: bytes, from `tunelock.planning.memory`.
        there: bytes that were free before training.
    """
    return Stop(sentence("out of memory", needed, there, settings, cuda))


def foresee(needed: float, there: float, settings: MemorySettings, cuda: bool) -> None:
    """Say on stderr that memory will be short.

    Raises:
        Stop: it cannot be enough by far. Linux would kill the process without a word.
    """
    if needed > CERTAIN * there:
        raise Stop(sentence("too little memory", needed, there, settings, cuda))
    if needed > there:
        print(sentence("memory may be short", needed, there, settings, cuda), file=sys.stderr)


@contextmanager
def within_memory(base: Path | str, rows: list[dict], values: dict[str, Any]):
    """Around a training: say before it that memory will be short, and after it ran out what was needed.

    Args:
        rows: rendered rows, of which the longest make the largest batch.
        values: of `FORECAST_PARAMS`, with the `dtype` of the arithmetic.
    """
    settings = MemorySettings(**values)
    try:
        shape = read_architecture(read_json(Path(base, "config.json")))
        needed = estimate_memory(shape, settings, largest_batch(rows, settings)).peak
    except KeyError:  # a model of another kind than those whose memory we can count
        yield
        return
    there, cuda = available(), "torch" in sys.modules and sys.modules["torch"].cuda.is_available()
    facts = needed, there, settings, cuda
    foresee(*facts)
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if is_shortage(error):
            raise out_of_memory(*facts) from None
        raise


def largest_batch(rows: list[dict], settings: MemorySettings) -> Batch:
    """The batch of the longest rows, which our sampler puts first; packed sequences are all full."""
    size = settings.per_device_train_batch_size
    longest = sorted((len(row["input_ids"]), sum(label >= 0 for label in row["labels"])) for row in rows)[-size:]
    length = settings.max_length if settings.packing else longest[-1][0]
    return Batch(size, length, sum(labelled for _, labelled in longest))
