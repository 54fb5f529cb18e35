"""What README.md shows of the results: four rows with a sentence about each, the claim, and an answer of each model."""

import re
import textwrap
from typing import NamedTuple

from tunelock.metrics.metric import Metric
from tunelock.metrics.registry import METRICS
from tunelock.report.result_table import COLUMNS
from tunelock.run.errors import Stop

MARKS = ("<!-- results: made by `tunelock report --readme` -->\n", "<!-- end of results -->\n")
CUT = 320  # characters of an answer
SHORTER = 0.8  # of the base's length: from here on, shorter answers explain that less of the reference stands in them


class _Sample(NamedTuple):
    """A question of metrics/samples.md with the reference and both answers."""

    question: str
    reference: str
    base: str
    tuned: str


def format_readme_results(metrics: dict[str, float], claims: dict, samples: str) -> str:
    """The part of README.md between the marks, from metrics/evaluate.json, claims.json and samples.md."""
    lines = ["| | test base | test tuned | golden base | golden tuned | what it is |", "|---|---|---|---|---|---|"]
    for metric in METRICS.values():
        figures = [metrics.get(f"{split}_{metric.name}_{model}") for split, model in COLUMNS]
        if metric.headline and None not in figures:
            cells = [f"{figure:.{metric.digits}f}" for figure in figures]
            lines.append(f"| {metric.name} | {' | '.join(cells)} | {_explain_row(metric, metrics)} |")
    claim = textwrap.fill(claims["claim_sentence"], 120, break_on_hyphens=False)
    return "\n".join(lines) + f"\n\n{claim}\n" + _format_sample(pick_sample(samples))


def _explain_row(metric: Metric, metrics: dict[str, float]) -> str:
    """What the metric is; and if it fell on test while answers became shorter, that they did."""
    change = metric.direction * (metrics[f"test_{metric.name}_tuned"] - metrics[f"test_{metric.name}_base"])
    before, after = (metrics.get(f"test_mean_length_{model}", 0.0) for model in ("base", "tuned"))
    if change < 0 and metric.shrinks_with_length and after < SHORTER * before:
        return f"{metric.meaning} It fell: answers now have {after:.0f} tokens, before {before:.0f}."
    return metric.meaning


def pick_sample(samples: str) -> _Sample | None:
    """The first question of one line whose reference is a sentence, or the first of all; None where there is none."""
    found = [_read_sample(section) for section in re.split(r"^## ", samples, flags=re.MULTILINE)[1:]]
    for sample in found:
        if "\n" not in sample.question and len(sample.reference) > len(sample.question):
            return sample
    return found[0] if found else None


def _read_sample(section: str) -> _Sample:
    """One section of metrics/samples.md."""
    texts = dict.fromkeys(_Sample._fields, "")
    for title, block in re.findall(r"^\*\*(\w+)\*\*\n\n((?:    .*\n|\s*\n)*)", section, re.MULTILINE):
        texts[title] = textwrap.dedent(block).strip()
    return _Sample(**texts)


def _format_sample(sample: _Sample | None) -> str:
    """Both answers side by side, in Markdown."""
    if sample is None:
        return ""
    return (
        f"\n> {_quote(sample.question)}\n\n| base | tuned |\n|---|---|\n"
        f"| {_quote(sample.base)} | {_quote(sample.tuned)} |\n"
    )


def _quote(text: str) -> str:
    """A text as one cell of a table, cut where it is long; nothing in it is markup."""
    line = " ".join(text.split())
    cut = line if len(line) <= CUT else line[:CUT].rstrip() + " …"
    return re.sub(r"([\\`*_|<>\[\]])", r"\\\1", cut)


def replace_results(readme: str, results: str) -> str:
    """README text with the part between MARKS replaced."""
    start, end = (readme.find(mark) for mark in MARKS)
    if not 0 <= start < end:
        raise Stop(f"README.md lacks the lines {MARKS[0].strip()} and {MARKS[1].strip()}; put them back.")
    return readme[: start + len(MARKS[0])] + results + readme[end:]
