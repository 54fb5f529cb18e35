"""Measure the lengths of the rows in tokens and write the data card, so that it says what the data is and no more.

    python -m stages.card

Reads data/split, data/raw/README.md (see `tunelock.records.about_data`), metrics/{data,split}.json and the base
model's tokenizer; writes data/README.md, metrics/lengths.json and metrics/length_histogram.json.
"""

import itertools
from dataclasses import dataclass

from tunelock.records.about_data import AboutData, hide_machine, read_about_data, warn_of_gaps
from tunelock.records.record import Record, text_of
from tunelock.records.splits import SPLITS
from tunelock.rendering.refused import count_refused, print_refused
from tunelock.rendering.rendering import RENDERING_PARAMS, Rendering, load_tokenizer
from tunelock.rendering.row_lengths import count_by_length, measure_cuts, measure_row_lengths, summarise_row_lengths
from tunelock.run.files import read_json, read_jsonl, write_json, write_text
from tunelock.run.stage import stage

MEASURED = 20_000  # rows of a split, in its own fair order: enough for a percentile, and seconds instead of minutes
EXCERPT = 400  # characters of a message in an example
_UNLEARNT = {"answers_not_learnt": "answers that are context", "reasoning_left_out": "answers without their reasoning"}


@dataclass(frozen=True, slots=True)
class CardFacts:
    """What the data card is written from.

    Attributes:
        about: what a person wrote about the data.
        sources: `sources` of params.yaml.
        data: metrics/data.json.
        split: metrics/split.json.
        lengths: metrics/lengths.json.
        max_length: tokens.
        rows: rows of train, of which the examples are the first of each task.
    """

    about: AboutData
    sources: dict[str, dict]
    data: dict
    split: dict
    lengths: dict[str, dict]
    max_length: int
    rows: list[Record]


def quote_beginning(text: str) -> str:
    """The beginning of a text, as a quotation in Markdown."""
    beginning = text if len(text) <= EXCERPT else text[:EXCERPT].rstrip() + " …"
    return "\n".join(f"> {line}".rstrip() for line in beginning.splitlines())


def _write_example(task: str, row: Record) -> str:
    """A row under its task, all its messages."""
    paragraphs = [f"### {_format_cell(task)}", f"`{row['id']}`, from `{row['file']}`, row {row['line']}"]
    for message in row["messages"]:
        remark = ", not learnt from" if message.get("weight") == 0 else ""
        paragraphs.append(f"**{message['role']}{remark}**\n\n{quote_beginning(text_of(message))}")
    return "\n\n".join(paragraphs)


def _write_examples(rows: list[Record]) -> str:
    """One row of each task."""
    first: dict[str, Record] = {}
    for row in rows:
        first.setdefault(row["task"], row)
    return "\n\n".join(_write_example(task, row) for task, row in sorted(first.items()))


def make_table(header: list[str], rows: list[list]) -> str:
    """A Markdown table; numbers get thousands separators."""
    lines = ["| " + " | ".join(map(_format_cell, row)) + " |" for row in [header, *rows]]
    lines.insert(1, "| " + " | ".join(["---"] * len(header)) + " |")
    return "\n".join(lines)


def _format_cell(cell: object) -> str:
    """The text of a cell: no line end and no bar may break the table."""
    return f"{cell:,}" if isinstance(cell, int) else " ".join(str(cell).split()).replace("|", "\\|")


def _tabulate_sources(facts: CardFacts) -> str:
    rows = []
    for name, source in sorted(facts.sources.items()):
        path, revision = hide_machine(source["path"]), (source.get("revision") or "")[:12]
        counts, licence = facts.data["sources"][name], source.get("licence") or "not stated"
        rows.append([name, f"`{path}`", f"`{revision}`", licence, counts["rows"], counts["kept"]])
    return make_table(["source", "path", "revision", "licence", "rows", "kept"], rows)


def _tabulate_cleaning(facts: CardFacts) -> str:
    """What became of the rows of each source, by reason."""
    sources, total = facts.data["sources"], facts.data["total"]
    parts = sources if len(sources) == 1 else {**sources, "in total": total}
    rows = []
    for name in ("rows", "kept", "repaired"):
        rows.append([name, *(part[name] for part in parts.values())])
    for status in ("dropped", "set_aside"):
        for reason in total[status]:
            words = f"{status}: {reason}".replace("_", " ")
            rows.append([words, *(part[status].get(reason, 0) for part in parts.values())])
    return make_table(["", *parts], rows)


def _describe_personal_data(facts: CardFacts) -> str:
    """What a person said of it, and what the patterns found."""
    found = facts.data["total"]["pii"]
    said = facts.about.personal_data or "Nobody has said yet whether the rows are about persons."
    table = make_table(["kind", "found"], [[*item] for item in found.items()]) if found else "The patterns found none."
    return f"{said}\n\n{table}"


def _tabulate_splits(facts: CardFacts) -> str:
    tasks, rows = sorted(facts.data["tasks"]), []
    for name in SPLITS:
        part = facts.split[name]
        rows.append([name, part["rows"], part["groups"], *(part["tasks"].get(task, 0) for task in tasks)])
    return make_table(["split", "rows", "groups", *tasks], rows)


def _tabulate_left_out(facts: CardFacts) -> str:
    rows = [[reason.replace("_", " "), count] for reason, count in facts.split["left_out"].items()]
    return make_table(["reason", "rows"], rows)


def _tabulate_lengths(facts: CardFacts) -> str:
    rows = []
    for name, figures in facts.lengths.items():
        values = [figures[key] for key in ("median", "keeps_95_percent", "keeps_99_percent", "longest")]
        rows.append([name, *values, f"{figures['share_above_max_length']:.1%}"])
    return make_table(["split", "median", "keeps 95 %", "keeps 99 %", "longest", "above max_length"], rows)


def _tabulate_refused(facts: CardFacts) -> str:
    """The rows that the chat template cannot say, by split and reason."""
    rows = []
    for name, figures in facts.lengths.items():
        for reason, count in figures.get("refused", {}).items():
            rows.append([name, reason.replace("_", " "), count])
    return make_table(["split", "reason", "rows"], rows)


def _tabulate_unlearnt(facts: CardFacts) -> str:
    """How many answers are context, and how many lost their reasoning, by split."""
    rows = []
    for name, figures in facts.lengths.items():
        rows.append([name, *(figures.get(key, 0) for key in _UNLEARNT)])
    return make_table(["split", *_UNLEARNT.values()], rows)


def _write_head(facts: CardFacts) -> str:
    """The title and what a person wrote; the names of the sources where nobody did."""
    about = facts.about
    if about.title is None and about.prose.startswith("# "):
        return about.prose
    title = about.title or ", ".join(sorted(facts.sources))
    return f"# Data card: {title}\n\n{about.prose or 'Nobody has written about this data yet.'}"


def write_data_card(facts: CardFacts) -> str:
    """The data card in Markdown."""
    sections = {
        "Sources": _tabulate_sources(facts),
        "From raw rows to clean ones": _tabulate_cleaning(facts),
        "Personal data and secrets": _describe_personal_data(facts),
        "Splits": _tabulate_splits(facts),
        "Left out of the splits": _tabulate_left_out(facts),
        f"Lengths in tokens (max_length is {facts.max_length})": _tabulate_lengths(facts),
        "Examples from train": _write_examples(facts.rows),
    }
    if any("refused" in figures for figures in facts.lengths.values()):
        sections["Set aside, for the chat template cannot say them"] = _tabulate_refused(facts)
    if any(_UNLEARNT.keys() & figures.keys() for figures in facts.lengths.values()):
        sections["Read and not learnt, by the chat template and `thinking`"] = _tabulate_unlearnt(facts)
    body = "\n\n".join(f"## {title}\n\n{text}" for title, text in sections.items())
    origin = "<!-- Written by `python -m stages.card`; edit data/raw/README.md instead. -->"
    return f"{origin}\n{_write_head(facts)}\n\n{body}\n"


@stage("card")
def main(params, _fingerprint) -> str:
    tokenizer, rendering = load_tokenizer("models/base"), Rendering(**params.select(RENDERING_PARAMS))
    rows, lengths, refused, asides = {}, {}, {}, {}
    for name in SPLITS:
        rows[name] = list(itertools.islice(read_jsonl(f"data/split/{name}.jsonl"), MEASURED))
        measured = measure_row_lengths(rows[name], tokenizer, rendering, name)
        print_refused(name, measured.refused, len(rows[name]))
        lengths[name], refused[name] = measured.lengths, count_refused(measured.refused)
        asides[name] = measured.asides
    figures = summarise_row_lengths(lengths, rendering.max_length)
    for name in SPLITS:
        figures[name] |= measure_cuts(rows[name], tokenizer, rendering) | asides[name]
    for name in filter(refused.get, SPLITS):
        figures[name]["refused"] = refused[name]
    about = read_about_data(params.sources)
    warn_of_gaps(about, params.sources)
    data, split = read_json("metrics/data.json"), read_json("metrics/split.json")
    facts = CardFacts(about, params.sources, data, split, figures, rendering.max_length, rows["train"])
    write_json("metrics/lengths.json", figures)
    write_json("metrics/length_histogram.json", count_by_length(lengths["train"]))
    write_text("data/README.md", write_data_card(facts))
    share, enough = figures["train"]["share_above_max_length"], figures["train"]["keeps_99_percent"]
    return f"{share:.1%} of the train rows exceed max_length {rendering.max_length}; {enough} would keep 99 %"


if __name__ == "__main__":
    main()
