"""How many rows and tokens a training has, and the largest batch among them: from the data where it is there."""

from pathlib import Path
from typing import NamedTuple

from tunelock.planning.memory import Batch
from tunelock.rendering.conversation import IGNORE
from tunelock.rendering.rendering import Rendering, load_tokenizer, render_records
from tunelock.run.errors import Stop
from tunelock.run.files import read_json, read_jsonl

SAMPLE = 2000  # rows that are rendered to learn how long they are
SPLIT, MEASURED = Path("data/split/train.jsonl"), Path("metrics/lengths.json")


class RowLength(NamedTuple):
    """Tokens of a row, and how many of them have a label."""

    tokens: int
    labelled: int


class TrainingRows(NamedTuple):
    """What is trained on: rows, tokens of an epoch, the share with a label, the largest batch, where that is from."""

    total: int
    tokens: float
    labelled_share: float
    batch: Batch
    source: str


def measure_rows(settings) -> TrainingRows:
    """The rows of the train split where it is, else what metrics/lengths.json says of them, else the limits."""
    if SPLIT.exists() and Path("models/base/tokenizer.json").exists():
        return _measure_split(settings)
    if MEASURED.exists():
        known = read_json(MEASURED)["train"]
        middle, longest = known["median"], min(known["longest"], settings.max_length)
        count = settings.max_train_samples or known["rows_measured"]
        lengths = [RowLength(middle, middle)] * 20 + [RowLength(longest, longest)]
        return summarise_lengths(lengths, count, settings, f"{MEASURED}, medians")
    lengths = [RowLength(settings.max_length, settings.max_length)]
    return summarise_lengths(lengths, settings.max_train_samples or 1000, settings, "no data yet: rows of max_length")


def _measure_split(settings) -> TrainingRows:
    records = list(read_jsonl(SPLIT))
    tokenizer = load_tokenizer("models/base")
    rows = render_records(tokenizer, records[:SAMPLE], Rendering.from_params(vars(settings))).rows
    if not rows:
        raise Stop(f"every row of {SPLIT} is longer than max_length {settings.max_length}; raise it.")
    lengths = []
    for row in rows:
        lengths.append(RowLength(len(row["input_ids"]), sum(label != IGNORE for label in row["labels"])))
    return summarise_lengths(lengths, len(records), settings, str(SPLIT))


def summarise_lengths(lengths: list[RowLength], count: int, settings, source: str) -> TrainingRows:
    """From the lengths of some of `count` rows. The longest rows meet in one batch, as our sampler has it."""
    tokens, labelled = sum(row.tokens for row in lengths), sum(row.labelled for row in lengths)
    size = settings.per_device_train_batch_size
    if settings.packing:
        batch = Batch(size, settings.max_length, round(size * settings.max_length * labelled / tokens))
    else:
        largest = (sorted(lengths) * size)[-size:] if len(lengths) < size else sorted(lengths)[-size:]
        batch = Batch(size, largest[-1].tokens, sum(row.labelled for row in largest))
    return TrainingRows(count, tokens / len(lengths) * count, labelled / tokens, batch, source)
