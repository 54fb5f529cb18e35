"""Options of a question that bfloat16 can hardly tell apart: scored again in float32, so that no rounding decides.

In bfloat16 logits of 16 to 32 come in steps of 1/8. Of 36 questions, put to SmolLM2-135M, the difference of two options
was up to 0.24 nats times the root of their tokens beside that in float32; one choice was another one, and one a tie.
"""

import math
import sys
from pathlib import Path

import torch

from tunelock.answering.families import Family
from tunelock.answering.scoring import score_families
from tunelock.model.modeling import find_device, resolve_dtype
from tunelock.model.tuned import load_tuned
from tunelock.records.scored_row import ScoredRow, find_margin
from tunelock.rendering.conversation import IGNORE

NEAR = 0.5  # nats times the root of the tokens of the longest option: twice what was measured
ROOM = 1.2  # of the weights in float32: what a GPU must have free for them and a batch


def settle_near_ties(
    folder: str, dtype: str, families: dict[str, list[Family]], rows: dict[str, list[ScoredRow]], batch_size: int
) -> None:
    """Replace `choice_losses` of rows whose two likeliest options are near each other by those of float32.

    Args:
        folder, dtype: of the model that scored the rows.
        families, rows: of each split, one row for each family. A line on stderr says how many were near, and how many
            choices changed.
    """
    known, dtype = _list_choices(families, rows), resolve_dtype(dtype)
    near = [(family, row) for family, row in known if _is_near_tie(family, row)]
    if not near or dtype == "float32":
        return
    said = f"choices: {len(near)} of {len(known)} rows have two options that {dtype} can hardly tell apart"
    if not _has_room(folder):
        print(f"{said}; they stay so, for the GPU has no room for the model in float32", file=sys.stderr)
        return
    scored = score_families(load_tuned(folder, "float32"), [list(family.options) for family, _ in near], batch_size)
    changed = 0
    for (_, row), scores in zip(near, scored):
        before, losses = row["choice_losses"], [score.loss for score in scores]
        changed += before.index(min(before)) != losses.index(min(losses))
        row["choice_losses"] = losses
    print(f"{said}; scored again in float32, which changed {changed} choices", file=sys.stderr)


def _list_choices(
    families: dict[str, list[Family]], rows: dict[str, list[ScoredRow]]
) -> list[tuple[Family, ScoredRow]]:
    """The families that have options, each with its row."""
    found = []
    for split, members in families.items():
        found += [pair for pair in zip(members, rows[split], strict=True) if pair[0].choice]
    return found


def _is_near_tie(family: Family, row: ScoredRow) -> bool:
    """Whether the likeliest option is ahead of the next one by less than rounding may be wrong."""
    tokens = max(len(option["labels"]) - option["labels"].count(IGNORE) for option in family.options)
    return find_margin(row["choice_losses"]) <= NEAR * math.sqrt(tokens)


def _has_room(folder: str) -> bool:
    """Whether the weights fit in float32 where the model runs; on a CPU answers are written in float32 anyway."""
    if not find_device().startswith("cuda"):
        return True
    stored = sum(path.stat().st_size for path in Path(folder).rglob("*.safetensors"))
    return 2 * stored * ROOM < torch.cuda.mem_get_info()[0]
