"""What a pull request changes: a comment for its readers, and a gate that may stop it.

    python -m tunelock.commands.pull_request comment [BASE] [--out comment] [--charts-at URL]
    python -m tunelock.commands.pull_request gate [BASE]

BASE is a git revision, `main` if not given. The files of the working tree are compared with those that git has of BASE:
params.yaml, dvc.lock and metrics/; neither data nor DVC cache is needed. `comment` writes comment.md and its charts.
`gate` checks the rules under `gate` in params.yaml, and that dvc.lock and metrics/ come from this code and its params;
exit code 0 if all passed, 1 if a check failed, 2 if none failed but one could not be decided.
"""

import argparse
import sys
from pathlib import Path

from tunelock.pull_request.comment import compose_comment
from tunelock.pull_request.facts import Facts
from tunelock.pull_request.gate import check_gate, note_changed_rules
from tunelock.pull_request.lock import refuse_tracked_cache
from tunelock.pull_request.markdown import escape_unprintable, format_six_digits
from tunelock.pull_request.pairing import Comparison, PairedRows, compare_commits, pair_rows, read_scores
from tunelock.pull_request.thresholds import EXIT, UNDECIDED, judge_lines
from tunelock.run.errors import Stop
from tunelock.run.files import read_json, whole_file, write_text
from tunelock.run.params import load_yaml
from tunelock.run.revisions import find_commit, name_this_commit, read_file_at, read_json_at, run_dvc_json
from tunelock.run.stage import plain_errors

SCORES, CLAIMS = "metrics/scores.csv", "metrics/claims.json"


def settings() -> tuple[dict, float, int]:
    """The rules of the gate, the level of the intervals and the resamples, from params.yaml."""
    params = load_yaml("params.yaml")
    try:
        return params["gate"], params["confidence_level"], params["bootstrap_samples"]
    except KeyError as key:
        raise Stop(f"params.yaml lacks {key}; add it back (`git diff params.yaml` shows what was there).") from None


def compared(commit: str, level: float, samples: int) -> tuple[list[Comparison], PairedRows | None, str]:
    """The tuned models of both commits row by row; or nothing, and why."""
    if not Path(SCORES).exists():
        raise Stop(f"{SCORES} is missing; run `dvc repro` to make it.")
    before = read_file_at(commit, SCORES)
    if before is None:
        return [], None, f"The other commit has no `{SCORES}`, so there are no rows to pair."
    here = read_scores(Path(SCORES).read_text(encoding="utf-8"), SCORES)
    pairs = pair_rows(read_scores(before, f"{SCORES} of {commit[:7]}"), here)
    found = compare_commits(pairs, level, samples)
    if any((one.split, one.metric) == ("test", "loss") for one in found):
        return found, pairs, ""
    return found, pairs, "The two commits have no test row in common that both scored on the same tokens."


def charts(commit: str, base: str, out: Path) -> dict[str, str]:
    """Write the charts that both commits have rows for; title by file name."""
    from tunelock.pull_request.commit_charts import two_by_task, two_losses
    from tunelock.report.charts import to_png

    def both(name: str) -> tuple[list, list]:
        path = f"metrics/plots/{name}.json"
        return read_json_at(commit, path, []), read_json(path) if Path(path).exists() else []

    names, figures = (base, "here"), {}
    if any(evals := both("eval_loss")):
        figures["loss.png"] = "Loss by step", two_losses(both("train_loss"), evals, names)
    for split in ("test", "golden"):
        if any(rows := both(f"tasks_{split}")):
            figures[f"{split}.png"] = f"Perplexity on {split} by task", two_by_task(rows, names, split)
    for name, (_, figure) in figures.items():
        with whole_file(out / name) as file:
            file.write(to_png(figure))
    return {name: title for name, (title, _) in figures.items()}


def write_comment(base: str, out: Path, charts_at: str | None) -> None:
    """comment.md and the charts into the folder `out`."""
    commit, (rules, level, samples) = find_commit(base), settings()
    metrics = run_dvc_json("metrics", "diff", "--all", commit)
    found, pairs, why = compared(commit, level, samples)
    base_claims = read_json_at(commit, CLAIMS, {})
    claims = read_json(CLAIMS) if Path(CLAIMS).exists() else {}
    drawn = charts(commit, base, out)
    text = compose_comment(Facts(
        base=base, base_commit=commit, here=name_this_commit(), level=level, metrics=metrics,
        params=run_dvc_json("params", "diff", commit), comparisons=found, pairs=pairs, unpaired_because=why,
        base_claims=base_claims, claims=claims,
        gate=check_gate(rules, metrics, found, level), gate_note=note_changed_rules(rules, commit),
        charts=drawn, charts_at=charts_at,
    ))  # fmt: skip
    write_text(out / "comment.md", text)
    attached = "".join(f" --attach {name}" for name in drawn)
    print(f"{out / 'comment.md'}; `cd {out} && gh pr comment --body-file comment.md{attached}` posts it")


def run_gate(base: str) -> int:
    """Print a line a check; the exit code."""
    commit, (rules, level, samples) = find_commit(base), settings()
    metrics = run_dvc_json("metrics", "diff", "--all", commit)
    found, _, why = compared(commit, level, samples)
    lines = check_gate(rules, metrics, found, level)
    for line in lines:
        shown = f"{line.metric} {format_six_digits(line.value)}" if line.value is not None else line.metric
        was = f" ({base}: {format_six_digits(line.base)})" if line.base is not None else ""
        print(f"{line.result:10}{escape_unprintable(shown)} {line.rule}{was}{'; ' * bool(line.note)}{line.note}")
    for remark in filter(None, (note_changed_rules(rules, commit), why)):
        print(f"note      {remark}")
    return EXIT[judge_lines(lines)]


def main() -> None:
    """Parse the command line and do one of the two."""
    parser = argparse.ArgumentParser(
        prog="python -m tunelock.commands.pull_request", description=__doc__.splitlines()[0]
    )
    parser.add_argument("command", choices=["comment", "gate"])
    parser.add_argument("base", nargs="?", default="main", help="git revision to compare with, default main")
    parser.add_argument("--out", type=Path, default=Path("comment"), help="folder of the comment, default comment/")
    parser.add_argument("--charts-at", metavar="URL", help="link to the charts there instead of showing them")
    given = parser.parse_args()
    if given.command == "comment":
        with plain_errors("pull_request"):
            refuse_tracked_cache()
            write_comment(given.base, given.out, given.charts_at)
        return
    try:
        refuse_tracked_cache()
        code_ = run_gate(given.base)
    except Stop as stop:
        print(f"pull_request: {stop}", file=sys.stderr)
        code_ = EXIT[UNDECIDED]
    sys.exit(code_)


if __name__ == "__main__":
    main()
