"""The comment on a pull request, in Markdown: the verdict first, then what changed, and nothing that did not."""

from collections.abc import Callable

from tunelock.pull_request.facts import Facts
from tunelock.pull_request.lock import LOCK
from tunelock.pull_request.markdown import code, details, level_of, number, signed, six_digits, table
from tunelock.pull_request.pairing import Comparison
from tunelock.pull_request.thresholds import Metrics, finite, rounded
from tunelock.pull_request.verdict import verdict

MARK = "<!-- tunelock: this comment is updated, not repeated -->"  # how the workflow finds it again
LONGEST = 60_000  # characters; GitHub takes 65,536
FUNNEL = ("metrics/data.json", "metrics/split.json")
TIMINGS = "metrics/timings.json"
OWN_PLACE = (*FUNNEL, TIMINGS, "metrics/claims.json")


def comment(facts: Facts) -> str:
    """The whole Markdown text, at most LONGEST characters: of more, the tables that are furthest down are left out."""
    tables = [gate(facts), params(facts), paired_table(facts), other_metrics(facts), funnel(facts), timings(facts)]
    cut = ""
    while (
        len(text := joined([MARK, verdict(facts), *tables, cut, pictures(facts), footer(facts)])) > LONGEST and tables
    ):
        tables.pop()
        cut = f"More is left out, for it is too long; run `dvc metrics diff {facts.base_commit[:7]}`."
    return text


def joined(blocks: list[str]) -> str:
    """Blocks of Markdown with an empty line between them; empty ones are left out."""
    return "\n\n".join(filter(None, blocks)) + "\n"


def gate(facts: Facts) -> str:
    """The gate's lines."""
    rows = [
        [code(line.metric), six_digits(line.value), line.rule if line.metric == LOCK else code(line.rule),
         six_digits(line.base), f"**{line.result}**", line.note]
        for line in facts.gate
    ]  # fmt: skip
    note = f"\n\n{facts.gate_note}" if facts.gate_note else ""
    return "#### Gate\n\n" + table(["check", "here", "rule", f"at {code(facts.base)}", "result", ""], rows) + note


def params(facts: Facts) -> str:
    """The params that changed."""
    rows = [
        [code(key if file == "params.yaml" else f"{file}:{key}"), value(pair.get("old")), value(pair.get("new"))]
        for file, keys in sorted(facts.params.items())
        for key, pair in sorted(keys.items())
    ]
    if not rows:
        return "#### Params\n\nNone changed."
    return "#### Params\n\n" + table(["param", f"at {code(facts.base)}", "here"], rows, "run `dvc params diff`")


def value(of: object) -> str:
    """The value of a param; `-` where it is not set."""
    return "-" if of is None else code(of)


def pictures(facts: Facts) -> str:
    """The charts, or where they are: a comment on GitHub shows no image that is not hosted somewhere."""
    if not facts.charts:
        return ""
    if facts.charts_at:
        return f"Charts: {', '.join(facts.charts)} ([as files of this run]({facts.charts_at}))."
    shown = [f"![{title}]({name})" for name, title in facts.charts.items()] + [""]
    return table(["", ""], [shown[at : at + 2] for at in range(0, len(shown) - 1, 2)])


def paired_table(facts: Facts) -> str:
    """Tuned of this commit against tuned of BASE."""
    if not facts.comparisons:
        return ""
    rows = [
        [f"{one.split} {one.metric}", number(one.interval.base), number(one.interval.tuned),
         signed(one.interval.difference), interval(one), f"**{one.verdict}**", f"{one.rows:,}"]
        for one in facts.comparisons
    ]  # fmt: skip
    header = ["tuned model", f"at {code(facts.base)}", "here", "difference", level_of(facts.level), "verdict", "rows"]
    return details(
        "Row by row: the tuned model here against the one there", table(header, rows) + "\n\n" + unpaired(facts)
    )


def interval(one: Comparison) -> str:
    """low to high, or a dash."""
    return f"{signed(one.interval.low)} to {signed(one.interval.high)}" if one.interval.low is not None else "-"


def unpaired(facts: Facts) -> str:
    """How the table was made, and which rows are not in it."""
    pairs = facts.pairs
    said = [
        "Paired bootstrap over whole groups; the verdicts are Holm-corrected for the number of comparisons.",
        "Loss in nats a token, lower is better; of all others more is better.",
    ]
    if pairs.only_base or pairs.only_here:
        said.append(f"Left out: {pairs.only_here:,} rows that only this commit has, {pairs.only_base:,} that it lacks.")
    if pairs.other_tokens:
        said.append(f"{pairs.other_tokens:,} rows have other tokens than before, so their loss is not compared.")
    return " ".join(said)


def changed(metrics: Metrics, wanted: Callable[[str], bool], known_already: frozenset = frozenset()) -> list[list[str]]:
    """Table rows of the metrics that changed within six digits, of the files that `wanted(file)` takes."""
    rows = []
    for file, values in sorted(metrics.items()):
        for key, pair in sorted(values.items()) if wanted(file) else []:
            if key in known_already:
                continue
            old, new = (pair.get(side) for side in ("old", "new"))
            known = finite(old) is not None and finite(new) is not None
            if (rounded(old) != rounded(new)) if known else old != new:
                rows.append([code(key), number(old), number(new), signed(new - old) if known else ""])
    return rows


def section(title: str, facts: Facts, rows: list[list[str]]) -> str:
    """A table of changed metrics to unfold, nothing if none changed."""
    header = ["metric", f"at {code(facts.base)}", "here", "difference"]
    body = table(header, rows, f"run `dvc metrics diff {facts.base_commit[:7]}`")
    return details(f"{title} ({len(rows)} changed)", body) if rows else ""


def other_metrics(facts: Facts) -> str:
    """All metrics that have no place of their own."""
    shown = {f"{one.split}_{one.metric}_tuned" for one in facts.comparisons}
    shown |= {name.replace("_loss_", "_perplexity_") for name in shown} | {
        "retention",
        "retention_low",
        "retention_high",
    }
    return section("Other metrics", facts, changed(facts.metrics, lambda file: file not in OWN_PLACE, frozenset(shown)))


def funnel(facts: Facts) -> str:
    """How many rows each step of the data kept and dropped."""
    rows = changed(facts.metrics, lambda file: file in FUNNEL)
    return section("Data: rows in, kept and left out", facts, rows) or "Data: not a row more or less in any split."


def timings(facts: Facts) -> str:
    """Seconds and memory."""
    return section("Time (seconds) and memory (GB)", facts, changed(facts.metrics, lambda file: file == TIMINGS))


def footer(facts: Facts) -> str:
    """Which two commits were compared."""
    both = f"{facts.here} against {code(facts.base)} ({facts.base_commit[:7]})"
    return f"<sub>{both}, by `python -m tunelock.commands.pull_request comment`</sub>"
