"""Made files in the form that the evaluating stages write, for the tests of what shows them."""

import json
import math
import random
import shutil
from pathlib import Path

ROOT = Path(__file__).parent.parent
TASKS = ("classify", "consequences", "detect", "explain", "mitigate")
MODELS = ("base", "tuned")
WORDS = (
    "input",
    "output",
    "buffer",
    "attacker",
    "memory",
    "check",
    "data",
    "product",
    "code",
    "path",
    "user",
    "length",
)
CHECKED = {  # metric of metrics/evaluate.json: base, tuned
    "loss": (3.377, 2.645), "perplexity": (29.27, 14.08), "bleu": (0.81, 2.73), "chrf": (18.2, 22.9),
    "rouge_l": (0.0975, 0.255), "exact_match": (0.0, 0.01), "token_f1": (0.12, 0.27), "accuracy": (0.05, 0.15),
    "macro_f1": (0.031, 0.12), "choice_accuracy": (0.42, 0.61), "choice_accuracy_norm": (0.4, 0.63),
    "contrast": (0.61, 0.78), "match_accuracy": (0.87, 0.93), "stop_rate": (0.1, 0.99), "mean_length": (124.0, 31.5),
    "repetition": (0.41, 0.03), "format_valid": (0.0, 1.0), "calibration_error": (0.09, 0.03),
    "memorised": (0.0, 0.01), "copied": (0.0, 0.0), "verbatim": (0.0, 0.005),
}  # fmt: skip


def write(folder: Path, name: str, value: object) -> None:
    """A JSON file, or JSON lines of a list if the name says so."""
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in value) if name.endswith("l") else json.dumps(value)
    (folder / name).write_text(text, encoding="utf-8")


def made_rows(count: int = 40, answered: int = 15) -> dict[str, list[dict]]:
    """Rows of models/evaluation/{base,tuned}.jsonl: `count` a split, the first `answered` with an answer."""
    rng = random.Random(0)
    rows = {model: [] for model in MODELS}
    for split in ("test", "golden"):
        for number in range(count):
            tokens, said = rng.randint(5, 90), " ".join(rng.choices(WORDS, k=12))
            same = {
                "id": f"cwe-{split}-{number:08x}", "split": split, "group": f"CWE-{number % 9}",
                "task": TASKS[number % 5],
                "question": f"What about CWE-{number} ({said[:30]})?", "reference": f"Impact: {said}.",
                "tokens": tokens,
            }  # fmt: skip
            for model, level in zip(MODELS, (3.4, 2.6)):
                row = same | {"loss": tokens * max(0.1, rng.gauss(level, 0.7))}
                if number < answered:
                    words = " ".join(rng.choices(WORDS, k=20))
                    row |= {"answer": f"The weakness lets {words}.", "stopped": model == "tuned", "new_tokens": 30}
                rows[model].append(row)
    return rows


def general_rows(model: str) -> list[dict]:
    """General rows of models/evaluation/{base,tuned}.jsonl, every second one multiple choice."""
    rows = []
    for n in range(12):
        row = {"id": f"general-{n}", "split": "general", "group": f"g{n}", "task": ("facts", "sums")[n % 2],
               "question": f"What is {n} and {n}?", "reference": f"{2 * n}", "tokens": 4}  # fmt: skip
        row |= {"loss": 4.0 + n / 10} if model == "base" else {"loss": 4.2 + n / 8, "kl": 0.1 + n / 100}
        if n % 2:
            row |= {"choices": ["1", "2"], "right": 0, "choice_losses": [1, 2] if model == "base" else [2, 1]}
        rows.append(row)
    return rows


def compared(base: float, tuned: float, half: float, verdict: str) -> dict:
    """An entry of metrics/claims.json."""
    middle = tuned - base
    return {"base": base, "tuned": tuned, "difference": middle, "low": middle - half, "high": middle + half, "p": 0.001,
            "p_holm": 0.004, "verdict": verdict, "smallest_effect": half, "groups": 74,
            "rows": 200}  # fmt: skip


def plots(folder: Path, rng: random.Random) -> None:
    """metrics/plots and metrics/length_histogram.json."""
    train = [{"step": step, "loss": 2.4 + math.exp(-step / 20) + rng.gauss(0, 0.4)} for step in range(1, 81)]
    write(folder, "metrics/plots/train_loss.json", train)
    write(folder, "metrics/plots/eval_loss.json", [{"step": s, "loss": 2.7 + 9 / s} for s in (25, 50, 75, 80)])
    for split in ("test", "golden"):
        rows = [
            {"name": f"{task} {model}", "task": task, "model": model, "split": split, "rouge_l": 0.1, "stop_rate": 1.0,
             "perplexity": at, "loss": math.log(at), "low": at * 0.86, "high": at * 1.17}
            for task, both in zip(TASKS, ((1.77, 1.15), (84.3, 7.3), (67.6, 44.5), (23.4, 14.1), (43.2, 21.2)))
            for model, at in zip(MODELS, both)
        ]  # fmt: skip
        write(folder, f"metrics/plots/tasks_{split}.json", rows)
    write(folder, "metrics/plots/calibration.json", [
        {"model": model, "confidence": 0.05 + place / 10, "accuracy": (0.03 + place / 10) * kept,
         "tokens": 90 * (12 - place)}
        for model, kept in zip(MODELS, (0.8, 0.95)) for place in range(1, 10)
    ])  # fmt: skip
    write(folder, "metrics/length_histogram.json", [
        {"tokens": 19 * place, "rows": n}
        for place, n in enumerate((0, 0, 0, 114, 143, 76, 54, 62, 96, 54, 18, 10))
    ])  # fmt: skip


def fresh_eyes(folder: Path) -> None:
    """metrics/fresh_eyes.json: two answers of the tuned model with a run of words from train."""
    nothing = {"rows": 15, "base": 0, "tuned": 0, "p": 1.0, "examples": []}
    seen = {
        "rows": 15,
        "base": 0,
        "tuned": 2,
        "p": 0.5,
        "examples": [{"id": "cwe-test-00000001", "match": "a run of words"}],
    }
    write(folder, "metrics/fresh_eyes.json", {
        "suspicious": [], "test": {"memorised": seen, "copied": nothing, "verbatim": nothing},
        "golden": {"memorised": nothing, "copied": nothing, "verbatim": nothing},
    })  # fmt: skip


def made_results(folder: Path) -> Path:
    """A folder as a finished run leaves it, as far as the report and the review look; returns it."""
    for name in ("params.yaml", "pyproject.toml"):
        shutil.copy(ROOT / name, folder / name)
    for name in ("data", "split", "lengths", "train", "timings"):
        (folder / "metrics").mkdir(exist_ok=True)
        shutil.copy(ROOT / f"metrics/{name}.json", folder / f"metrics/{name}.json")
    shutil.copy(ROOT / "metrics/samples.md", folder / "metrics/samples.md")
    out = {"path": "models/merged", "md5": "0123456789abcdef0123456789abcdef.dir"}
    (folder / "dvc.lock").write_text(json.dumps({"schema": "2.0", "stages": {"merge": {"outs": [out]}}}))
    evaluate = {
        f"{split}_{key}_{model}": value if split == "test" or value <= 1 else 1.07 * value
        for key, both in CHECKED.items() for model, value in zip(MODELS, both) for split in ("test", "golden")
    }  # fmt: skip
    write(folder, "metrics/evaluate.json", evaluate)
    write(folder, "metrics/claims.json", {
        "claim": "gain",
        "claim_sentence": "The tuned model beats the base on the test split: 2.645 against 3.377 nats a token, a "
                          "difference of −0.732 (95 % interval −0.81 to −0.65) over 74 groups.",
        **{
            f"{split}_{key}": compared(*CHECKED[key], half, verdict)
            for split in ("test", "golden")
            for key, half, verdict in (
                ("loss", 0.08, "better"), ("contrast", 0.05, "better"), ("accuracy", 0.18, "undecided"),
                ("choice_accuracy", 0.11, "better"), ("rouge_l", 0.03, "better"), ("bleu", 0.9, "better"),
                ("exact_match", 0.02, "undecided"), ("repetition", 0.05, "better"),
            )
        },
        "test_macro_f1": {"base": 0.2, "tuned": 0.1, "difference": -0.1, "verdict": "undecided", "groups": 2},
        "test_token_f1": compared(0.27, 0.12, 0.05, "worse"),
    })  # fmt: skip
    fresh_eyes(folder)
    write(folder, "metrics/retention.json", {
        "retention": 0.962, "retention_low": 0.941, "retention_high": 0.981, "general_perplexity_base": 9.87,
        "general_perplexity_tuned": 10.26, "general_kl": 0.081, "general_accuracy_base": 0.58,
        "general_accuracy_tuned": 0.56, "general_rows": 12,
    })  # fmt: skip
    write(folder, "metrics/diagnosis.json", {
        "verdicts": 1,
        "overfitting": {"step": 50, "evidence": "the validation loss was lowest at step 50, 2.801, and rose to 2.934, "
                        "while the train loss fell to 2.412.", "rows": ["cwe-train-1"]},
        "remedy": ["dvc exp run -S early_stopping_patience=2"],
    })  # fmt: skip
    plots(folder, random.Random(0))
    for model, rows in made_rows().items():
        write(folder, f"models/evaluation/{model}.jsonl", rows + general_rows(model))
    return folder
