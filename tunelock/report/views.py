"""The tables of the report as plain rows, out of the metrics files."""

import json
import re

METRICS = {  # key in metrics/evaluate.json: digits, and what it is
    "perplexity": (2, "exponential of the loss; lower is better"),
    "loss": (3, "nats a token of the reference answers; lower is better"),
    "contrast": (3, "nats a token by which a question's own answer is likelier than another question's"),
    "match_accuracy": (3, "share of rows where its own answer is the likelier one"),
    "accuracy": (3, "share of answers with the right label"),
    "macro_f1": (3, "F1 of the labels, each label counting the same"),
    "choice_accuracy": (3, "share of multiple-choice rows whose right option is the likeliest"),
    "choice_accuracy_norm": (3, "the same by likelihood a character of the option"),
    "exact_match": (3, "share of answers equal to the reference, but for case, articles and punctuation"),
    "token_f1": (3, "F1 of the words shared with the reference"),
    "rouge_l": (3, "longest common subsequence with the reference, F1"),
    "bleu": (1, "0 to 100, over all answers"),
    "chrf": (1, "0 to 100, by runs of characters"),
    "format_valid": (3, "share of answers in the form that params.yaml asks for"),
    "calibration_error": (3, "mean gap of how sure and how often right, over the tokens; lower is better"),
    "stop_rate": (3, "share of answers that ended by themselves"),
    "mean_length": (1, "tokens of an answer"),
    "repetition": (3, "share of an answer's word runs that stood in it before"),
}
COLUMNS = [(split, model) for split in ("test", "golden") for model in ("base", "tuned")]
UNITS = {"loss": "nats a token", "contrast": "nats a token", "bleu": "of 100", "chrf": "of 100"}
FRESH_EYES = {
    "memorised": "training text by heart",
    "copied": "taken out of the question",
    "verbatim": "the reference word for word",
}


def headline(sentences: str) -> tuple[str, str]:
    """The first of the sentences of a claim, and the others."""
    first, *others = re.split(r"(?<=[.!?])\s+(?=\S)", sentences.strip(), maxsplit=1)
    return first, " ".join(others)


def results(evaluate: dict, claims: dict) -> list[dict]:
    """A row for each metric that was measured: key, digits, what it is, and cells by COLUMNS.

    A cell is a value (None: not measured) and the claims' verdict on it; a perplexity has its loss's.
    """
    rows = []
    for key in [*METRICS, *others(evaluate)]:
        digits, about = METRICS.get(key, (3, ""))
        cells = [
            (evaluate.get(f"{split}_{key}_{model}"), decided(claims, split, key, model)) for split, model in COLUMNS
        ]
        if any(value is not None for value, _ in cells):
            rows.append({"key": key, "digits": digits, "about": about, "cells": cells})
    return rows


def others(evaluate: dict) -> list[str]:
    """Metrics of both models that are not among METRICS and that no other section shows."""
    ends = {key.removesuffix("_base").split("_", 1)[1] for key in evaluate if key.endswith("_base")}
    return sorted(ends - METRICS.keys() - FRESH_EYES.keys())


def decided(claims: dict, split: str, metric: str, model: str) -> str:
    """The verdict on a value of the tuned model; `undecided` where there is none."""
    entry = claims.get(f"{split}_{'loss' if metric == 'perplexity' else metric}", {})
    return entry.get("verdict", "undecided") if model == "tuned" else "undecided"


def comparisons(claims: dict, split: str) -> list[dict]:
    """The entries of metrics/claims.json that compare base and tuned on a split, in the order of METRICS.

    Each has what it holds (None for what could not be had), metric, digits, unit, and its interval's `strip`.
    """
    found = {key.partition("_")[2]: entry for key, entry in claims.items()
             if key.startswith(f"{split}_") and isinstance(entry, dict) and "difference" in entry}  # fmt: skip
    order = [key for key in METRICS if key in found]
    return [compared(key, found[key]) for key in order + sorted(found.keys() - set(order))]


def compared(metric: str, entry: dict) -> dict:
    """One row of `comparisons`."""
    row = dict.fromkeys(("low", "high", "p", "p_holm", "smallest_effect", "groups")) | entry
    known = row["low"] is not None and row["low"] < row["high"]
    return row | {
        "metric": metric, "digits": METRICS.get(metric, (3,))[0], "unit": UNITS.get(metric, ""),
        "strip": strip(row["difference"], row["low"], row["high"]) if known else None,
    }  # fmt: skip


def fresh_eyes(found: dict) -> list[dict]:
    """A row for each split and check of metrics/fresh_eyes.json: split, about, rows, base, tuned, p, examples."""
    return [
        {"split": split, "about": FRESH_EYES.get(check, check), **entry}
        for split in ("test", "golden")
        for check, entry in found.get(split, {}).items()
    ]


def strip(difference: float, low: float, high: float) -> dict[str, float]:
    """Where zero, a difference and its interval lie in a strip from 0 to 100 that holds all of them."""
    left, right = min(0.0, low), max(0.0, high)
    wide = right - left or 1.0
    return {
        key: round(6 + 88 * (value - left) / wide, 2)
        for key, value in {"zero": 0.0, "difference": difference, "low": low, "high": high}.items()
    }


def tasks(rows: list[dict]) -> dict:
    """Metrics by task and model: `columns` (key, digits, meaning) that some task has, and the `rows` as they are."""
    columns = [(key, *METRICS[key]) for key in METRICS if any(key in row for row in rows)]
    return {"columns": columns, "rows": sorted(rows, key=lambda row: (row["task"], row["model"]))}


def funnel(data: dict, split: dict) -> list[dict]:
    """From raw rows to splits: label, rows, kind (level, loss), and the share of the raw rows.

    Args:
        data: metrics/data.json; its total has rows, kept, and dropped and set_aside by reason.
        split: metrics/split.json; rows by split, and left_out by reason.
    """
    total, names = data["total"], [key for key in split if key != "left_out"]
    order = [key for key in ("train", "val", "test", "golden") if key in names]
    lost = {**total.get("dropped", {}), **{f"set aside: {key}": n for key, n in total.get("set_aside", {}).items()}}
    steps = [("raw rows", total["rows"], "level"), *by_size(lost), ("clean rows", total["kept"], "level")]
    steps += by_size(split.get("left_out", {}))
    steps += [(key, split[key]["rows"], "level") for key in order + sorted(set(names) - set(order))]
    most = max(1, total["rows"])
    return [{"label": label, "rows": n, "kind": kind, "share": n / most} for label, n, kind in steps]


def by_size(reasons: dict[str, int]) -> list[tuple[str, int, str]]:
    """What took rows away, the most first."""
    return [(key, n, "loss") for key, n in sorted(reasons.items(), key=lambda item: (-item[1], item[0]))]


def timings(found: dict) -> list[dict]:
    """A line a stage of metrics/timings.json, the longest first: seconds and peak memory in GB."""
    stages = {key.removesuffix("_seconds") for key in found if key.endswith("_seconds")}
    rows = [
        {"stage": stage, "seconds": found[f"{stage}_seconds"], "memory": found.get(f"{stage}_peak_rss_gb")}
        for stage in stages
    ]
    return sorted(rows, key=lambda row: (-row["seconds"], row["stage"]))


def outs(lock: dict) -> list[dict]:
    """Stage, path and digest of each output that dvc.lock names."""
    return [
        {"stage": stage, "path": out["path"], "hash": out.get("md5", "")}
        for stage, entry in lock.get("stages", {}).items()
        for out in entry.get("outs", [])
    ]


def flat(params: dict) -> list[tuple[str, str]]:
    """Each param and its value as JSON, in the order of params.yaml."""
    return [(key, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str))
            for key, value in params.items()]  # fmt: skip
