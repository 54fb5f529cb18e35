"""The memory that the fine-tuning guides name for each size of model, beside ours, and why they differ."""

from types import SimpleNamespace

from tunelock.planning.known_models import FAMILIES
from tunelock.planning.memory import GB, Batch, memory

GUIDES = {"7b": (28, 16, 6), "13b": (52, 28, 12), "70b": (280, 80, 48)}  # GB for full, LoRA and QLoRA
ONE_ROW = Batch(1, 512, 512)
WHY = {
    "full": "the guides count 4 bytes a parameter, the float32 weights alone; training with AdamW takes 16: weights, "
    "gradients, two moments (Rajbhandari et al. 2020, https://arxiv.org/abs/1910.02054)",
    "lora": "alike but for 70B, whose frozen base alone is 138 GB at 2 bytes a parameter; 80 GB would be method=int8",
    "qlora": "alike: half a byte a weight, embeddings and head 2 bytes, 16 bytes for each trained parameter",
}


def guide_lines(settings) -> list[str]:
    """The guides' table beside ours for one short row; the settings that are not the methods' own stay as they are."""
    given = {**vars(settings), "gradient_accumulation_steps": 1, "dtype": "bfloat16", "optim": "adamw_torch"}
    given |= {"freeze_embeddings": False, "freeze_layers": 0}
    lines = [f"| GB, the guides' / ours | {' | '.join(WHY)} |", "|---|---|---|---|"]
    for size, numbers in GUIDES.items():
        shape = FAMILIES[f"llama-2-{size}"].architecture
        ours = (memory(shape, SimpleNamespace(**{**given, "method": key}), ONE_ROW).peak / GB for key in WHY)
        lines.append(f"| {size.upper()} | {' | '.join(f'{a} / {b:.0f}' for a, b in zip(numbers, ours))} |")
    return [*lines, *(f"{method}: {why}" for method, why in WHY.items())]
