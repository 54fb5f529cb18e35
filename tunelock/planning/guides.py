"""The memory that the fine-tuning guides name for each size of model, beside ours, and why they differ."""

from dataclasses import replace

from tunelock.model.methods.all_methods import METHODS
from tunelock.planning.known_models import FAMILIES
from tunelock.planning.memory import GB, Batch, estimate_memory
from tunelock.planning.memory_settings import MemorySettings

SIZES_OF_GUIDES = ("7b", "13b", "70b")  # as `Guide.gigabytes` has them
ONE_ROW = Batch(1, 512, 512)
GUIDED = {name: method.guide for name, method in METHODS.items() if method.guide}
GUIDED = dict(sorted(GUIDED.items(), key=lambda item: -item[1].gigabytes[0]))  # the most first


def compare_with_guides(settings: MemorySettings) -> list[str]:
    """The guides' table beside ours for one short row; the settings that are not the methods' own stay as they are."""
    plain = replace(
        settings,
        gradient_accumulation_steps=1,
        dtype="bfloat16",
        optim="adamw_torch",
        freeze_embeddings=False,
        freeze_layers=0,
    )
    lines = [f"| GB, the guides' / ours | {' | '.join(GUIDED)} |", "|---|" + "---|" * len(GUIDED)]
    lines += [_compare_size(place, size, plain) for place, size in enumerate(SIZES_OF_GUIDES)]
    return [*lines, *(f"{name}: {guide.why}" for name, guide in GUIDED.items())]


def _compare_size(place: int, size: str, settings: MemorySettings) -> str:
    """A row of the table: what the guides say of the size, and what we count."""
    shape, cells = FAMILIES[f"llama-2-{size}"].architecture, []
    for name, guide in GUIDED.items():
        ours = estimate_memory(shape, replace(settings, method=name), ONE_ROW).peak / GB
        cells.append(f"{guide.gigabytes[place]} / {ours:.0f}")
    return f"| {size.upper()} | {' | '.join(cells)} |"
