"""What a file of raw data would become, before anything runs: its format, three records, their tokens and loss mask.

    python -m stages.ingest preview PATH [--revision SHA256] [--format alpaca] [--columns JSON] [--model models/base]

In the rendered rows, what the model learns from stands between ⟦ and ⟧; the rest is read and not learnt.
"""

import argparse
import itertools
import json
import sys
from collections import Counter
from pathlib import Path

from tunelock.reading.reading import Source, given_source, look, take_source
from tunelock.rendering.rendering import IGNORE, fit, load_tokenizer
from tunelock.run.params import load_yaml
from tunelock.run.stage import plain_errors

SHOWN = 3
COUNTED = 10_000  # rows that are read, so that a large file answers at once


def marked(tokenizer, row: dict) -> str:
    """The tokens as text, the supervised ones between ⟦ and ⟧."""
    pieces = []
    for learnt, run in itertools.groupby(zip(row["input_ids"], row["labels"]), lambda pair: pair[1] != IGNORE):
        text = tokenizer.decode([token for token, _ in run])
        pieces.append(f"⟦{text}⟧" if learnt else text)
    return "".join(pieces)


def numbered(tokenizer, row: dict) -> str:
    """One token a line: its number, its text as JSON, and an asterisk where it is learnt from."""
    tokens = zip(row["input_ids"], row["labels"])
    lines = (
        f"{token:>8} {'*' if label != IGNORE else ' '} {json.dumps(tokenizer.decode([token]), ensure_ascii=False)}"
        for token, label in tokens
    )
    return "\n".join(lines)


def preview(
    source: Source, model: str, system_prompt: str | None, max_length: int, max_turns: int | None, each_token: bool
) -> None:
    """Print what the rows of a source become."""
    kinds, rows = look(source, COUNTED)
    for name, kind in kinds.items():
        print(f"{name}: {kind}")
    records = [row for row in rows if "status" not in row]
    reasons = Counter(row["reason"] for row in rows if "status" in row)
    print(f"{len(rows)} rows read: {len(records)} records, {len(rows) - len(records)} left out")
    for reason, count in sorted(reasons.items()):
        print(f"    {reason}: {count}")
    tokenizer = load_tokenizer(model) if Path(model, "tokenizer.json").exists() else None
    for record in records[:SHOWN]:
        print(f"\n--- {record['file']}, row {record['line']}, task {record['task']}, group {record['group']}")
        if tokenizer is None:
            print(json.dumps(record["messages"], indent=2, ensure_ascii=False))
            continue
        fitting, too_long = fit(tokenizer, [record], system_prompt, max_length, max_turns)
        row = (fitting + too_long)[0]
        learnt = sum(label != IGNORE for label in row["labels"])
        cut = f", turns left out by max_turns: {row['turns_left_out']}" if row["turns_left_out"] else ""
        long = f", longer than max_length {max_length}: set aside" if too_long else ""
        print(f"{len(row['input_ids'])} tokens, {learnt} of them learnt from{cut}{long}")
        print((numbered if each_token else marked)(tokenizer, row))
    if tokenizer is None:
        print(
            f"\n{model} has no tokenizer; `dvc repro base` makes it, and the tokens will be shown too.", file=sys.stderr
        )


def main(arguments: list[str]) -> None:
    """Parse the command line and show."""
    parser = argparse.ArgumentParser(prog="python -m stages.ingest preview", description=__doc__.splitlines()[0])
    take_source(parser)
    parser.add_argument("--model", default="models/base", help="folder with the tokenizer, default models/base")
    parser.add_argument("--tokens", action="store_true", help="one token a line")
    given = parser.parse_args(arguments)
    with plain_errors("preview"):
        params = load_yaml("params.yaml")
        settings = (params[key] for key in ("system_prompt", "max_length", "max_turns"))
        preview(given_source(given), given.model, *settings, given.tokens)


if __name__ == "__main__":
    main(sys.argv[2:] if sys.argv[1:2] == ["preview"] else sys.argv[1:])
