"""What a training would take before anything is started: memory, time, disk and money on named GPUs and here."""

from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

from ruamel.yaml import YAML

from tunelock.model.methods.architecture import Architecture, read_architecture
from tunelock.planning.arithmetic import count_flops, estimate_disk
from tunelock.planning.gpus import CPU_UTILISATION, GPUS
from tunelock.planning.known_models import FAMILIES
from tunelock.planning.memory import GB, Memory, estimate_memory
from tunelock.planning.memory_settings import MemorySettings
from tunelock.planning.training_rows import TrainingRows
from tunelock.run.errors import Stop
from tunelock.run.files import read_json
from tunelock.run.params import load_yaml
from tunelock.schema.params_problems import find_problems


class Machine(NamedTuple):
    """This machine: the dtype it would train in, free memory in bytes, measured FLOP/s of products in that dtype."""

    dtype: str
    memory: float
    rate: float


@dataclass(frozen=True, slots=True)
class Place:
    """A GPU or this machine: memory there and needed in GB; seconds and dollars where it fits; who asks the price."""

    name: str
    memory_gb: float
    needed_gb: float
    fits: bool
    seconds: float | None
    cost: float | None
    dollars_an_hour: float | None
    source: str
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Forecast:
    """One training on several places. Memory and disk are in GB, by part; `tokens` are those of all epochs."""

    model: str
    method: str
    dtype: str
    parameters: int
    trained_parameters: int
    rows: int
    rows_from: str
    epochs: float
    tokens: float
    batch_rows: int
    batch_tokens: int
    memory: dict[str, float]
    memory_at_peak: float
    disk: dict[str, float]
    places: list[Place]


def change_settings(changes: list[str]) -> SimpleNamespace:
    """params.yaml with the changes `key=value`, checked like the file itself.

    Raises:
        Stop: what comes out has problems.
    """
    values = load_yaml("params.yaml")
    for change in changes:
        key, _, value = change.partition("=")
        values[key] = YAML(typ="safe", pure=True).load(value)
    wrong = find_problems(values)
    if wrong:
        raise Stop(" ".join(wrong))
    return SimpleNamespace(**values)


def find_shape(family: str | None) -> Architecture:
    """The named family's shape, or that of models/base."""
    if family:
        if family not in FAMILIES:
            raise Stop(f"--model {family} is not known; choose among {', '.join(FAMILIES)}.")
        return FAMILIES[family].architecture
    if not Path("models/base/config.json").exists():
        raise Stop("models/base is not there; run `dvc repro base`, or name a model: `--model llama-3.1-8b`.")
    try:
        return read_architecture(read_json("models/base/config.json"))
    except KeyError:
        raise Stop(
            "models/base is not built like Llama, so its memory is not known; name one that is: `--model`."
        ) from None


def forecast_training(
    model: str, shape: Architecture, settings, rows: TrainingRows, prices: dict[str, float | None], machine: Machine
) -> Forecast:
    """The forecast for the GPUs in `prices` (dollars an hour, None for the list price) and for this machine."""
    needs = MemorySettings.from_params(vars(settings))
    taken = estimate_memory(shape, needs, rows.batch)
    tokens = rows.tokens * settings.num_train_epochs
    work = tokens * count_flops(shape, needs, rows.tokens / rows.total, rows.labelled_share)
    places = [forecast_gpu(name, taken.peak, work, needs, price) for name, price in prices.items()]
    places.append(forecast_machine(shape, needs, rows, work, machine))
    return Forecast(
        model=model,
        method=settings.method,
        dtype=settings.dtype,
        parameters=shape.parameters,
        trained_parameters=needs.entry.count_trained(shape, needs),
        rows=rows.total,
        rows_from=rows.source,
        epochs=settings.num_train_epochs,
        tokens=tokens,
        batch_rows=rows.batch.rows,
        batch_tokens=rows.batch.length,
        memory=_split_memory(taken),
        memory_at_peak=taken.peak / GB,
        disk=_in_gb(estimate_disk(shape, needs, settings.save_total_limit)._asdict()),
        places=places,
    )


def forecast_gpu(name: str, needed: float, work: float, settings: MemorySettings, price: float | None = None) -> Place:
    """A training on a GPU: `needed` in bytes, `work` in FLOPs, `price` in dollars an hour."""
    gpu = GPUS[name]
    price = price or gpu.price
    fits = needed <= gpu.memory * GB
    seconds = work / (settings.entry.utilisation * gpu.tflops * 1e12)
    return Place(
        name=name,
        memory_gb=gpu.memory,
        needed_gb=needed / GB,
        fits=fits,
        seconds=seconds if fits else None,
        cost=price * seconds / 3600 if fits else None,
        dollars_an_hour=price,
        source=gpu.source,
        remark="with dtype=float16" if name == "t4" and settings.dtype == "bfloat16" else "",
    )


def forecast_machine(
    shape: Architecture, settings: MemorySettings, rows: TrainingRows, work: float, machine: Machine
) -> Place:
    """A training on this machine, in the dtype that `settings.dtype` means here; `work` in FLOPs."""
    needed = estimate_memory(shape, replace(settings, dtype=machine.dtype), rows.batch).peak
    fits = needed <= machine.memory
    return Place(
        name="here, CPU",
        memory_gb=machine.memory / GB,
        needed_gb=needed / GB,
        fits=fits,
        seconds=work / (CPU_UTILISATION * machine.rate) if fits else None,
        cost=None,
        dollars_an_hour=None,
        source=f"{machine.rate / 1e9:.0f} GFLOP/s measured in {machine.dtype}",
    )


def _split_memory(taken: Memory) -> dict[str, float]:
    """Memory by part, in GB; `accumulates` is no part of its own."""
    return _in_gb({key: value for key, value in taken._asdict().items() if key != "accumulates"})


def _in_gb(parts: dict[str, float]) -> dict[str, float]:
    return {name: value / GB for name, value in parts.items() if value}
