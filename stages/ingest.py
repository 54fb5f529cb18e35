"""Read every source of params.yaml into records of one type; each row becomes one or is set aside with its reason.

    python -m stages.ingest                                 # the stage
    python -m stages.ingest preview PATH                    # what it would become, tokens and loss mask included
    python -m stages.ingest convert PATH --to sharegpt      # the same rows in another format, on stdout

Reads the files, URLs, hub datasets and wheel members of `sources` (local files belong into data/raw, which DVC
watches); writes data/records/records.jsonl, data/records/set_aside.jsonl and data/records/counts.json.
"""

import argparse
import os
import runpy
import sys
from collections import Counter

from tunelock.reading.formats import FORMATS
from tunelock.reading.reading import Source, given_source, read, take_source
from tunelock.reading.rows import Unfit
from tunelock.run.errors import Stop
from tunelock.run.files import json_line, whole_folder, write_json
from tunelock.run.stage import plain_errors, stage


def check_share(counts: dict[str, Counter], limit: float) -> None:
    """Stop if too many rows were set aside: more likely the source is described wrongly than so many rows bad."""
    for source, seen in counts.items():
        reasons = {key: n for key, n in seen.items() if key.startswith("set_aside_")}
        if sum(reasons.values()) > limit * seen["rows"]:
            raise Stop(
                f"{sum(reasons.values())} of {seen['rows']} rows of source '{source}' were set aside "
                f"({', '.join(f'{key[10:]}: {n}' for key, n in sorted(reasons.items()))}), more than "
                f"max_set_aside_share {limit}; look into data/records/set_aside.jsonl and mend the source."
            )


@stage("ingest")
def main(params, _fingerprint) -> str:
    counts = {}
    with whole_folder("data/records") as folder:
        with open(folder / "records.jsonl", "wb") as records, open(folder / "set_aside.jsonl", "wb") as set_aside:
            for name, spec in sorted(params.sources.items()):
                seen = counts[name] = Counter()
                for row in read(name, Source(**spec)):
                    seen["rows"] += 1
                    seen[f"{row['status']}_{row['reason']}" if "status" in row else "records"] += 1
                    (set_aside if "status" in row else records).write(json_line(row))
        write_json(folder / "counts.json", counts)
    check_share(counts, params.max_set_aside_share)
    return "; ".join(f"{name}: {seen['records']} records of {seen['rows']} rows" for name, seen in counts.items())


def convert(source: Source, to: str) -> None:
    """Write the rows of a source to stdout as JSON lines of the format `to`, and say on stderr what was left out."""
    left_out = Counter()
    for row in read("convert", source):
        try:
            if "status" in row:
                raise Unfit(row["reason"])
            sys.stdout.buffer.write(json_line(FORMATS[to].from_messages(row["messages"])))
        except Unfit as unfit:
            left_out[str(unfit)] += 1
    if left_out:
        print(f"left out: {', '.join(f'{n} {reason}' for reason, n in sorted(left_out.items()))}", file=sys.stderr)


def command_line(arguments: list[str]) -> None:
    """The commands beside the stage."""
    parser = argparse.ArgumentParser(prog="python -m stages.ingest", description="Look into raw data, or convert it.")
    parser.add_argument("command", choices=["convert"])
    take_source(parser)
    parser.add_argument("--to", choices=sorted(FORMATS), required=True)
    given = parser.parse_args(arguments)
    with plain_errors("convert"):
        try:
            convert(given_source(given), given.to)
            sys.stdout.flush()
        except BrokenPipeError:  # `| head` has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    match sys.argv[1:]:
        case []:
            main()
        case ["preview", *_]:  # shows the rendering, which ingest itself must not depend on
            runpy.run_module("tunelock.commands.preview", run_name="__main__")
        case arguments:
            command_line(arguments)
