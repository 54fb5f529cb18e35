"""Lengths in tokens: the longest row, the longest answer, and the batch that keeps memory as it was."""

import math
from pathlib import Path
from typing import Any, NamedTuple

from tunelock.previewing.start_limits import Choices, take_quantile
from tunelock.previewing.start_look import SourceLook
from tunelock.records.record import Record, reference_of
from tunelock.run.files import read_json
from tunelock.run.terminal import format_duration

MEASURED = 400  # rows of a source
ASCII_CHARS = 3.0  # a token, on the safe side: English has about four
OTHER_TOKENS = 1.5  # tokens of another character, where a vocabulary is made for English
TEMPLATE_TOKENS = 48  # of the chat template and its system prompt
USUAL_CONTEXT = 2048  # tokens, where the base's own limit is not known
STEP = 64  # tokens
BATCH_TOKENS = 8 * 384  # of the example's batches, which fit a small machine
MOST_NEW_TOKENS = 512
LONG_TRAINING = 8 * 3600.0  # seconds
EXAMPLE_SPEED = 280.0  # tokens a second: its 640 rows took four minutes on two cores


class _RowTokens(NamedTuple):
    """The tokens of sampled rows and of their answers, each in ascending order, and where the figures are from."""

    rows: list[int]
    answers: list[int]
    source: str


def measure_tokens(looks: list[SourceLook], params: dict[str, Any], base: Path) -> _RowTokens:
    """Count tokens with the tokenizer of the base, or estimate them by characters where it is not there."""
    records = [record for look in looks for record in look.records[:MEASURED]] if len(looks) == 1 else _pool(looks)
    if (base / "tokenizer.json").exists():
        from tunelock.rendering.rendering import Rendering, load_tokenizer  # imports transformers
        from tunelock.rendering.row_lengths import measure_row_lengths

        tokenizer = load_tokenizer(base)
        rows = measure_row_lengths(records, tokenizer, Rendering.from_params(params), "the sample").lengths
        answers = [len(tokenizer.encode(reference_of(record), add_special_tokens=False)) for record in records]
        return _RowTokens(sorted(rows), sorted(answers), f"the tokenizer in {base}")
    rows = [
        TEMPLATE_TOKENS + sum(_guess_tokens(message["content"]) for message in record["messages"]) for record in records
    ]
    answers = [_guess_tokens(reference_of(record)) for record in records]
    return _RowTokens(sorted(rows), sorted(answers), f"an estimate by characters, for {base} has no tokenizer yet")


def _pool(looks: list[SourceLook]) -> list[Record]:
    pooled: list[Record] = []
    for look in looks:
        pooled += look.records[:MEASURED]
    return pooled


def _guess_tokens(text: str) -> int:
    """About how many tokens a text has, rather too many than too few."""
    plain = len(text.encode("ascii", "ignore"))
    return math.ceil(plain / ASCII_CHARS + OTHER_TOKENS * (len(text) - plain))


def choose_token_limits(
    looks: list[SourceLook], tokens: _RowTokens, params: dict[str, Any], context: int | None
) -> Choices:
    """max_length, max_new_tokens, and a batch of about as many tokens as before."""
    choices = Choices()
    enough, longest, most = take_quantile(tokens.rows, 0.99), tokens.rows[-1], context or USUAL_CONTEXT
    wanted = longest if longest <= 1.5 * enough else enough
    length = min(most, max(STEP, math.ceil(wanted / STEP) * STEP))
    above = sum(count > length for count in tokens.rows) / len(tokens.rows)
    figures = f"median {take_quantile(tokens.rows, 0.5):,}, 99 % {enough:,}, longest {longest:,}"
    choices.add({"max_length": length}, f"max_length {length:,} tokens: rows have {figures} ({tokens.source})")
    answer = math.ceil(1.2 * take_quantile(tokens.answers, 0.99) / 16) * 16 + 16
    new = max(16, min(MOST_NEW_TOKENS, answer, length - STEP // 2))
    choices.add({"max_new_tokens": new}, f"max_new_tokens {new}: 99 % of the answers have {answer - 16} tokens at most")
    batch = max(1, min(8, BATCH_TOKENS // length))
    choices.add(
        {"per_device_train_batch_size": batch, "gradient_accumulation_steps": 8 // batch},
        f"per_device_train_batch_size {batch}, gradient_accumulation_steps {8 // batch}: eight rows a step",
    )
    if above > params["pilot_max_too_long"]:
        _fit_long_rows(choices, looks, above, length)
    return choices


def _fit_long_rows(choices: Choices, looks: list[SourceLook], above: float, length: int) -> None:
    """What becomes of rows that are longer than any length the base takes."""
    said = f"{above:.0%} of the rows are longer than the {length:,} tokens that the base takes"
    if any(map(_has_context, looks)):
        choices.add({"long_rows": "cut_context"}, f"long_rows cut_context: {said}; their context is cut at a sentence")
    else:
        share = min(0.99, round(above * 1.2 + 0.01, 2))
        choices.add(
            {"pilot_max_too_long": share}, f"pilot_max_too_long {share}: {said}, and they have no context to cut"
        )
    choices.warnings.append(said)


def _has_context(look: SourceLook) -> bool:
    """Whether questions stand beside a context."""
    return "question" in look.records[0]["messages"][-2] if len(look.records[0]["messages"]) > 1 else False


def read_context(base: Path) -> int | None:
    """The positions that the base was made for, where it is there."""
    file = base / "config.json"
    return read_json(file).get("max_position_embeddings") if file.exists() else None


def choose_train_rows(tokens: _RowTokens, rows: int, params: dict[str, Any]) -> Choices:
    """All rows, with how long they would train by the speed of the last run here or of the example."""
    choices = Choices()
    total = rows * sum(tokens.rows) / len(tokens.rows) * params["num_train_epochs"]
    speed, source = _find_speed()
    seconds = total / speed
    said = f"about {format_duration(seconds, rounded=True)} for {total:,.0f} tokens, {source}"
    choices.add(
        {"max_train_samples": None}, f"max_train_samples null, all rows: {said}; `tunelock estimate` knows GPUs"
    )
    if seconds > LONG_TRAINING:
        fewer = max(100, round(rows * LONG_TRAINING / seconds) // 100 * 100)
        choices.warnings.append(f"all rows would train for {said}; `max_train_samples: {fewer}` would take 8 h")
    return choices


def _find_speed() -> tuple[float, str]:
    """Tokens a second of the last training here, or of the example's."""
    timings, lengths, split = (Path("metrics", f"{name}.json") for name in ("timings", "lengths", "split"))
    if not (timings.exists() and lengths.exists() and split.exists()):
        return EXAMPLE_SPEED, "at the speed of the example on two cores"
    seconds = read_json(timings).get("train_seconds")
    trained = read_json(split)["train"]["rows"] * read_json(lengths)["train"]["median"]
    return (trained / seconds, "at the speed of the last run") if seconds else (EXAMPLE_SPEED, "at the example's speed")
