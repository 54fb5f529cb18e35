"""The result table of README.md, base against tuned, out of metrics/evaluate.json, and the claim below it."""

import textwrap
from itertools import product

from tunelock.run.errors import Stop

TABLE = {  # row of the table: key in metrics/evaluate.json, digits
    "perplexity": 2,
    "loss": 3,
    "chrf": 1,
    "rouge_l": 3,
    "token_f1": 3,
    "accuracy": 3,
    "choice_accuracy": 3,
    "match_accuracy": 3,
    "stop_rate": 3,
}
COLUMNS = tuple(product(("test", "golden"), ("base", "tuned")))
MARKS = ("<!-- results: made by `tunelock report --readme` -->\n", "<!-- end of results -->\n")


def format_results(metrics: dict[str, float], claims: dict) -> str:
    """The result table and the claim in Markdown, from metrics/evaluate.json and metrics/claims.json.

    A figure that was not measured is a dash; a row of dashes alone is left out.
    """
    lines = ["| | test base | test tuned | golden base | golden tuned |", "|---|---|---|---|---|"]
    for key, digits in TABLE.items():
        columns = [f"{split}_{key}_{model}" for split, model in COLUMNS]
        cells = [f"{metrics[column]:.{digits}f}" if column in metrics else "-" for column in columns]
        lines += [f"| {key} | " + " | ".join(cells) + " |"] if set(cells) != {"-"} else []
    return "\n".join(lines) + "\n\n" + textwrap.fill(claims["claim_sentence"], 120, break_on_hyphens=False) + "\n"


def replace_results(readme: str, results: str) -> str:
    """README text with the part between MARKS replaced."""
    start, end = (readme.find(mark) for mark in MARKS)
    if not 0 <= start < end:
        raise Stop(f"README.md lacks the lines {MARKS[0].strip()} and {MARKS[1].strip()}; put them back.")
    return readme[: start + len(MARKS[0])] + results + readme[end:]
