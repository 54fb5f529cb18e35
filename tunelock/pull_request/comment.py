"""The comment on a pull request, in Markdown: the verdict first, then what changed, and nothing that did not."""

from collections.abc import Callable

from tunelock.metrics.registry import METRICS, name_judged
from tunelock.pull_request.facts import Facts
from tunelock.pull_request.lock import LOCK
from tunelock.pull_request.markdown import (
    format_code,
    format_details,
    format_level,
    format_number,
    format_signed,
    format_six_digits,
    format_table,
)
from tunelock.pull_request.pairing import Comparison, PairedRows
from tunelock.pull_request.thresholds import GateLine, MetricsDiff, keep_finite, round_metric
from tunelock.pull_request.verdict import compose_verdict

MARK = "<!-- tunelock: this comment is updated, not repeated -->"  # how the workflow finds it again
LONGEST = 60_000  # characters; GitHub takes 65,536
FUNNEL = ("metrics/data.json", "metrics/split.json")
TIMINGS = "metrics/timings.json"
OWN_PLACE = (*FUNNEL, TIMINGS, "metrics/claims.json")


def compose_comment(facts: Facts) -> str:
    """The whole Markdown text, at most LONGEST characters: of more, the tables that are furthest down are left out."""
    tables = [
        _tabulate_gate(facts),
        _tabulate_params(facts),
        _tabulate_pairs(facts),
        _tabulate_other_metrics(facts),
        _tabulate_funnel(facts),
        _tabulate_timings(facts),
    ]
    cut = ""
    while True:
        text = _join_blocks([MARK, compose_verdict(facts), *tables, cut, _show_charts(facts), _name_commits(facts)])
        if len(text) <= LONGEST or not tables:
            return text
        tables.pop()
        cut = f"More is left out, for it is too long; run `dvc metrics diff {facts.base_commit[:7]}`."


def _join_blocks(blocks: list[str]) -> str:
    """Blocks of Markdown with an empty line between them; empty ones are left out."""
    return "\n\n".join(filter(None, blocks)) + "\n"


def _tabulate_gate(facts: Facts) -> str:
    """The gate's lines."""
    header = ["check", "here", "rule", f"at {format_code(facts.base)}", "result", ""]
    table = format_table(header, [_format_gate_line(line) for line in facts.gate])
    return f"#### Gate\n\n{table}" + (f"\n\n{facts.gate_note}" if facts.gate_note else "")


def _format_gate_line(line: GateLine) -> list[str]:
    rule = line.rule if line.metric == LOCK else format_code(line.rule)
    here, base = format_six_digits(line.value), format_six_digits(line.base)
    base += f" ({line.owner})" if line.owner else ""
    return [format_code(line.metric), here, rule, base, f"**{line.result}**", line.note]


def _tabulate_params(facts: Facts) -> str:
    """The params that changed."""
    rows = []
    for file, keys in sorted(facts.params.items()):
        for key, values in sorted(keys.items()):
            name = format_code(key if file == "params.yaml" else f"{file}:{key}")
            rows.append([name, _format_param(values.get("old")), _format_param(values.get("new"))])
    if not rows:
        return "#### Params\n\nNone changed."
    header = ["param", f"at {format_code(facts.base)}", "here"]
    return "#### Params\n\n" + format_table(header, rows, "run `dvc params diff`")


def _format_param(value: object) -> str:
    """The value of a param; `-` where it is not set."""
    return "-" if value is None else format_code(value)


def _show_charts(facts: Facts) -> str:
    """The charts, or where they are: a comment on GitHub shows no image that is not hosted somewhere."""
    undrawn = " ".join(facts.undrawn)
    if not facts.charts:
        return undrawn
    if facts.charts_at:
        return f"Charts: {', '.join(facts.charts)} ([as files of this run]({facts.charts_at})). {undrawn}".strip()
    images = [f"![{title}]({name})" for name, title in facts.charts.items()] + [""]
    table = format_table(["", ""], [images[at : at + 2] for at in range(0, len(images) - 1, 2)])
    return _join_blocks([table, undrawn]).strip()


def _tabulate_pairs(facts: Facts) -> str:
    """Tuned of this commit against tuned of BASE."""
    if not facts.comparisons or not facts.pairs:
        return ""
    level = format_level(facts.level)
    header = ["tuned model", f"at {format_code(facts.base)}", "here", "difference", level, "verdict", "rows"]
    table = format_table(header, [_format_comparison(one) for one in facts.comparisons])
    title = "Row by row: the tuned model here against the one there"
    return format_details(title, f"{table}\n\n{_explain_pairs(facts.pairs)}")


def _format_comparison(one: Comparison) -> list[str]:
    interval = one.interval
    bounds = f"{format_signed(interval.low)} to {format_signed(interval.high)}" if interval.low is not None else "-"
    return [
        f"{one.split} {one.metric}", format_number(interval.base), format_number(interval.tuned),
        format_signed(interval.difference), bounds, f"**{one.verdict}**", f"{one.rows:,}",
    ]  # fmt: skip


def _explain_pairs(pairs: PairedRows) -> str:
    """How the table was made, and which rows are not in it."""
    sentences = [
        "Paired bootstrap over whole groups; the verdicts are Holm-corrected for the number of comparisons.",
        "Loss in nats a token, lower is better; of all others more is better.",
    ]
    if pairs.only_base or pairs.only_here:
        left_out = f"{pairs.only_here:,} rows that only this commit has, {pairs.only_base:,} that it lacks"
        sentences.append(f"Left out: {left_out}.")
    if pairs.other_tokens:
        count = f"{pairs.other_tokens:,}"
        sentences.append(f"{count} rows have other tokens than before, so their loss is not compared.")
    return " ".join(sentences)


def _list_changes(
    metrics: MetricsDiff, wanted: Callable[[str], bool], shown: frozenset[str] = frozenset()
) -> list[list[str]]:
    """Table rows of the metrics that changed within six digits, of the files that `wanted(file)` takes.

    `shown` are metrics that stand elsewhere in the comment.
    """
    rows = []
    for file, values in sorted(metrics.items()):
        for key, pair in sorted(values.items()) if wanted(file) else []:
            if key in shown:
                continue
            old, new = pair.get("old"), pair.get("new")
            known = keep_finite(old) is not None and keep_finite(new) is not None
            if (round_metric(old) != round_metric(new)) if known else old != new:
                difference = format_signed(new - old) if known else ""
                rows.append([format_code(key), format_number(old), format_number(new), difference])
    return rows


def _fold_changes(title: str, facts: Facts, rows: list[list[str]]) -> str:
    """A table of changed metrics to unfold, nothing if none changed."""
    header = ["metric", f"at {format_code(facts.base)}", "here", "difference"]
    body = format_table(header, rows, f"run `dvc metrics diff {facts.base_commit[:7]}`")
    return format_details(f"{title} ({len(rows)} changed)", body) if rows else ""


def _tabulate_other_metrics(facts: Facts) -> str:
    """All metrics that have no place of their own."""
    shown = {"retention", "retention_low", "retention_high"}
    for one in facts.comparisons:
        shown |= {f"{one.split}_{name}_tuned" for name in METRICS if name_judged(name) == one.metric}
    unlike = _group_unlike(facts)
    for names in unlike.values():
        shown |= set(names)
    rows = _list_changes(facts.metrics, lambda file: file not in OWN_PLACE, frozenset(shown))
    left_out = [f"Not compared: {', '.join(map(format_code, names))}: {why}." for why, names in unlike.items()]
    return _join_blocks([_fold_changes("Other metrics", facts, rows), *left_out]).strip()


def _group_unlike(facts: Facts) -> dict[str, list[str]]:
    """The metrics that both commits have, but not of the same thing, by the reason why."""
    found: dict[str, list[str]] = {}
    for file, values in sorted(facts.metrics.items()):
        for key, pair in sorted(values.items()) if file not in OWN_PLACE else []:
            why = facts.likeness.explain(key)
            if why and pair.get("old") is not None and pair.get("new") is not None:
                found.setdefault(why, []).append(key)
    return found


def _tabulate_funnel(facts: Facts) -> str:
    """How many rows each step of the data kept and dropped."""
    rows = _list_changes(facts.metrics, lambda file: file in FUNNEL)
    title = "Data: rows in, kept and left out"
    return _fold_changes(title, facts, rows) or "Data: not a row more or less in any split."


def _tabulate_timings(facts: Facts) -> str:
    """Seconds and memory."""
    rows = _list_changes(facts.metrics, lambda file: file == TIMINGS)
    return _fold_changes("Time (seconds) and memory (GB)", facts, rows)


def _name_commits(facts: Facts) -> str:
    """Which two commits were compared."""
    both = f"{facts.here} against {format_code(facts.base)} ({facts.base_commit[:7]})"
    return f"<sub>{both}, by `tunelock pr comment`</sub>"
