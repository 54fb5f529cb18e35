"""Measure the lengths of the rows in tokens and write the data card, so that it says what the data is and no more.

    python -m stages.card

Reads data/split, data/raw/README.md (what a person wrote about the data), metrics/{data,split}.json and the base
model's tokenizer; writes data/README.md, metrics/lengths.json and metrics/length_histogram.json.
"""

import itertools
import math
import os
from pathlib import Path

from tunelock.records.splits import SPLITS
from tunelock.rendering.rendering import RENDERING_PARAMS, Rendering, load_tokenizer, render_messages, select_messages
from tunelock.run.bars import Bar
from tunelock.run.files import read_json, read_jsonl, write_json, write_text
from tunelock.run.stage import stage

MEASURED = 20_000  # rows of a split, in its own fair order: enough for a percentile, and seconds instead of minutes
BINS = 16
SHOWN = 400  # characters of a message in an example


def percentile(sorted_values: list[int], share: float) -> int:
    """The smallest value that at least `share` of the values do not exceed (nearest rank)."""
    return sorted_values[max(0, math.ceil(share * len(sorted_values)) - 1)]


def length_figures(lengths: dict[str, list[int]], max_length: int) -> dict:
    """Figures of each split in tokens; `keeps_95_percent` is the max_length that would keep so many rows."""
    found = {}
    for name, values in lengths.items():
        ordered = sorted(values)
        found[name] = {
            "rows_measured": len(ordered),
            "median": percentile(ordered, 0.5),
            "keeps_95_percent": percentile(ordered, 0.95),
            "keeps_99_percent": percentile(ordered, 0.99),
            "longest": ordered[-1],
            "share_above_max_length": sum(value > max_length for value in ordered) / len(ordered),
        }
    return found


def histogram(values: list[int]) -> list[dict]:
    """Rows by length in up to BINS classes of one width, named by their first length, padded for sorting."""
    width = max(1, math.ceil((max(values) + 1) / BINS))
    digits = len(str(max(values)))
    counts = [sum(start <= value < start + width for value in values) for start in range(0, max(values) + 1, width)]
    return [{"tokens": f"{number * width:0{digits}d}", "rows": count} for number, count in enumerate(counts)]


def cut(text: str) -> str:
    """The beginning of a text, as a quotation in Markdown."""
    shown = text if len(text) <= SHOWN else text[:SHOWN].rstrip() + " …"
    return "\n".join(f"> {line}".rstrip() for line in shown.splitlines())


def examples(rows: list[dict]) -> str:
    """One row of each task, all its messages."""
    first = {}
    for row in rows:
        first.setdefault(row["task"], row)
    parts = []
    for task, row in sorted(first.items()):
        said = [f"**{spoken_by(message)}**\n\n{cut(message['content'])}" for message in row["messages"]]
        origin = f"`{row['id']}`, from `{row['file']}`, row {row['line']}"
        parts.append("\n\n".join([f"### {one_line(task)}", origin, *said]))
    return "\n\n".join(parts)


def spoken_by(message: dict) -> str:
    """The role of a message, and whether it is an answer that is not learnt from."""
    return message["role"] + (", not learnt from" if message.get("weight") == 0 else "")


def table(header: list[str], rows: list[list]) -> str:
    """A Markdown table; numbers get thousands separators."""
    lines = [[one_line(cell) for cell in row] for row in [header, *rows]]
    lines.insert(1, ["---"] * len(header))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def one_line(cell: object) -> str:
    """The text of a cell: no line end and no bar may break the table."""
    return f"{cell:,}" if isinstance(cell, int) else " ".join(str(cell).split()).replace("|", "\\|")


def funnel_table(data: dict) -> str:
    """What became of the rows of each source, by reason."""
    parts = data["sources"] if len(data["sources"]) == 1 else {**data["sources"], "in total": data["total"]}
    reasons = [(status, reason) for status in ("dropped", "set_aside") for reason in data["total"][status]]
    rows = [[name, *(part[name] for part in parts.values())] for name in ("rows", "kept", "repaired")]
    for status, reason in reasons:
        words = f"{status.replace('_', ' ')}: {reason.replace('_', ' ')}"
        rows.append([words, *(part[status].get(reason, 0) for part in parts.values())])
    return table(["", *parts], rows)


def relative(path: str) -> str:
    """A path without the folders of this machine; whatever is no absolute path as it is."""
    return os.path.relpath(path) if os.path.isabs(path) else path


def card(about: str, sources: dict, data: dict, split: dict, lengths: dict, max_length: int, rows: list[dict]) -> str:
    """The data card in Markdown."""
    described = [
        [name, f"`{relative(spec['path'])}`", f"`{(spec.get('revision') or '')[:12]}`",
         spec.get("licence") or "not stated", data["sources"][name]["rows"], data["sources"][name]["kept"]]
        for name, spec in sorted(sources.items())
    ]  # fmt: skip
    tasks = sorted(data["tasks"])
    parts = [[name, split[name]["rows"], split[name]["groups"], *(split[name]["tasks"].get(t, 0) for t in tasks)]
             for name in SPLITS]  # fmt: skip
    measured = [
        [name, figures["median"], figures["keeps_95_percent"], figures["keeps_99_percent"], figures["longest"],
         f"{figures['share_above_max_length']:.1%}"]
        for name, figures in lengths.items()
    ]  # fmt: skip
    found = data["total"]["pii"]
    personal = table(["kind", "found"], [[kind, n] for kind, n in found.items()]) if found else "None was found."
    left_out = [[reason.replace("_", " "), n] for reason, n in split["left_out"].items()]
    sections = {
        "Sources": table(["source", "path", "revision", "licence", "rows", "kept"], described),
        "From raw rows to clean ones": funnel_table(data),
        "Personal data and secrets": personal,
        "Splits": table(["split", "rows", "groups", *tasks], parts),
        "Left out of the splits": table(["reason", "rows"], left_out),
        f"Lengths in tokens (max_length is {max_length})": table(
            ["split", "median", "keeps 95 %", "keeps 99 %", "longest", "above max_length"], measured
        ),
        "Examples from train": examples(rows),
    }
    body = "\n\n".join(f"## {title}\n\n{text}" for title, text in sections.items())
    return (
        f"<!-- Written by `python -m stages.card`; edit data/raw/README.md instead. -->\n{about.rstrip()}\n\n{body}\n"
    )


@stage("card")
def main(params, _fingerprint) -> str:
    tokenizer = load_tokenizer("models/base")
    rendering = Rendering(**params.select(RENDERING_PARAMS))
    lengths, train = {}, []
    for name in SPLITS:
        rows = list(itertools.islice(read_jsonl(f"data/split/{name}.jsonl"), MEASURED))
        train = train or rows
        bar = Bar(rows, desc=f"measure {name}", unit="row")
        messages = (select_messages(row, rendering) for row in bar)
        lengths[name] = [len(render_messages(tokenizer, said).input_ids) for said in messages]
    figures = length_figures(lengths, params.max_length)
    write_json("metrics/lengths.json", figures)
    write_json("metrics/length_histogram.json", histogram(lengths["train"]))
    about = Path("data/raw/README.md").read_text(encoding="utf-8")
    data, split = read_json("metrics/data.json"), read_json("metrics/split.json")
    write_text("data/README.md", card(about, params.sources, data, split, figures, params.max_length, train))
    share, enough = figures["train"]["share_above_max_length"], figures["train"]["keeps_99_percent"]
    return f"{share:.1%} of the train rows exceed max_length {params.max_length}; {enough} would keep 99 %"


if __name__ == "__main__":
    main()
