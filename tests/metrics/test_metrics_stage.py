"""The report's figures are those computed by hand, and its texts say them in the right place."""

import csv
import io
import json
import math
from pathlib import Path

import numpy as np
import pytest

from stages import metrics as metrics_stage
from tunelock.claims.comparison import bin_reliability, compare_models, flatten_scores, score_models, score_tasks
from tunelock.claims.samples import SAMPLES, format_samples, format_scores
from tunelock.metrics.digits import round_digits
from tunelock.metrics.labels import MAX_LABELS, label_rows
from tunelock.metrics.metric import Column, Metric, pair_with_ones
from tunelock.metrics.registry import METRICS, name_row_sets
from tunelock.pull_request.seed_report import list_default_metrics
from tunelock.records.record import make_messages
from tunelock.report.result_table import format_results
from tunelock.run.errors import Stop
from tunelock.run.files import read_json, write_json, write_jsonl
from tunelock.run.params import Params, load_yaml, read_declared_params, read_stage_entry

RIGHT = "CWE-79: one two three four"
LABELS, CHECKS = {"classify": r"CWE-\d+"}, {"explain": "json"}
LEVEL, DRAWS = 0.95, 200


def row(loss=1.0, tokens=1, task="explain", split="test", **more) -> dict:
    """A row as `stages.evaluate` writes it; with `answer=` one that was answered."""
    found = {"id": "row-1", "group": "g", "task": task, "split": split, "loss": loss, "tokens": tokens}
    found |= {"question": "Which one?", "reference": RIGHT}
    return found | ({"stopped": True, "new_tokens": 3} if "answer" in more else {}) | more


def compared(base: list[dict], tuned: list[dict], patterns: dict[str, str] = LABELS) -> dict:
    """What both models have of each metric."""
    return compare_models(*(label_rows(rows, patterns, CHECKS) for rows in (base, tuned)), METRICS.values())


def measure(rows: list[dict]) -> dict[str, float]:
    """The figures of one model on these rows."""
    both = score_models(compared(rows, rows), np.ones(len(rows), dtype=bool))
    assert all(base == tuned for base, tuned in both.values())
    return {key: value for key, (value, _) in both.items()}


def test_perplexity_is_of_all_tokens_and_not_the_mean_of_rows():
    found = measure([row(loss=2.0, tokens=1), row(loss=4.0, tokens=11)])
    assert found["loss"] == pytest.approx(6 / 12)
    assert found["perplexity"] == pytest.approx(math.exp(6 / 12))
    assert found["perplexity"] != pytest.approx((math.exp(2 / 1) + math.exp(4 / 11)) / 2)


def test_what_no_row_has_is_absent():
    assert set(measure([row(), row(task="classify")])) == {"loss", "perplexity"}


def test_no_rows_stop():
    with pytest.raises(Stop, match="no rows to measure"):
        compared([], [])


def test_rows_of_other_questions_stop():
    with pytest.raises(Stop, match="different rows"):
        compared([row()], [row(id="row-2")])


def test_answers_are_measured_over_the_rows_that_were_answered():
    found = measure([row(answer=RIGHT), row(answer="nothing of it", stopped=False, new_tokens=7), row()])
    assert found["stop_rate"] == found["exact_match"] == 1 / 2
    assert found["mean_length"] == 5 and found["rouge_l"] == pytest.approx(1 / 2)


def test_accuracy_is_over_the_labelled_rows_that_were_answered():
    labelled = [row(task="classify", answer=answer) for answer in ("CWE-79", "CWE-89", "no idea")]
    others = [row(answer=RIGHT), row(task="classify"), row(task="classify", answer="CWE-79", reference="no label")]
    found = measure(labelled + others)
    assert found["accuracy"] == pytest.approx(1 / 3)
    assert found["macro_f1"] == pytest.approx(2 * 1 / (2 + 2))  # of CWE-79: one right, two missed
    assert not {"accuracy", "macro_f1"} & measure(others).keys()


def test_labels_of_two_tasks_are_two_labels_and_too_many_have_no_macro_f1():
    patterns = {"a": r"\w+", "b": r"\w+"}
    rows = [row(task="a", answer="yes", reference="yes"), row(task="b", answer="no", response="yes")]
    assert compared(rows, rows, patterns)["macro_f1"].score_both() == (0.5, 0.5)
    many = [row(task="a", answer="x", reference=f"label{n}") for n in range(MAX_LABELS + 1)]
    assert "macro_f1" not in compared(many, many, patterns) and "macro_f1" in compared(many[1:], many[1:], patterns)


def test_format_is_checked_by_task():
    assert measure([row(answer="{}"), row(answer="{"), row(task="classify", answer="{")])["format_valid"] == 1 / 2


def test_contrast_is_by_how_many_nats_a_token_the_own_answer_is_likelier():
    rows = [row(4.0, 2, other_loss=9.0, other_tokens=3), row(6.0, 2, other_loss=5.0, other_tokens=5), row(9.0, 1)]
    found = measure(rows)
    assert found["contrast"] == pytest.approx(((9 / 3 - 4 / 2) + (5 / 5 - 6 / 2)) / 2)
    assert found["match_accuracy"] == 1 / 2


def test_contrast_holds_the_same_answer_under_two_questions_where_it_is_known_whose_it_is():
    rows = [row(8.0, 2, id="a", other_id="b", other_loss=9.0, other_tokens=3)]
    rows += [row(6.0, 3, id="b", other_id="c", other_loss=5.0, other_tokens=5)]  # c has no contrast of its own
    assert measure([*rows, row(9.0, 1, id="c")])["contrast"] == pytest.approx(((9 / 3 - 6 / 3) + (5 / 5 - 6 / 3)) / 2)


def test_choices_are_measured_by_nats_and_by_nats_a_character():
    rows = [row(choices=["ab", "abcdef"], choice_losses=[3.0, 4.0], right=1), row()]
    found = measure(rows)
    assert (found["choice_accuracy"], found["choice_accuracy_norm"]) == (0, 1)


def test_each_figure_is_named_by_split_and_model():
    base = [row(loss=math.log(8)), row(loss=math.log(10), split="golden")]
    tuned = [row(loss=math.log(2)), row(loss=math.log(12), split="golden")]
    assert flatten_scores(compared(base, tuned), base) == pytest.approx(
        {
            "test_perplexity_base": 8,
            "test_perplexity_tuned": 2,
            "test_perplexity_improvement": 0.75,
            "test_loss_base": math.log(8),
            "test_loss_tuned": math.log(2),
            "golden_perplexity_base": 10,
            "golden_perplexity_tuned": 12,
            "golden_perplexity_improvement": -0.2,
            "golden_loss_base": math.log(10),
            "golden_loss_tuned": math.log(12),
        }
    )


def test_the_plots_get_a_row_for_each_split_task_and_model_with_its_interval():
    rows = [row(math.log(3 + n % 3), group=f"g{n}") for n in range(12)] + [row(math.log(3), task="detect")]
    rows += [row(loss=math.log(5), split="golden")]
    tuned = [one | {"loss": one["loss"] - math.log(2)} for one in rows]
    found = score_tasks(compared(rows, tuned), rows, LEVEL, DRAWS)
    assert [(t["split"], t["name"], t["task"], t["model"], round(t["perplexity"], 1)) for t in found] == [
        ("golden", "explain base", "explain", "base", 5),
        ("golden", "explain tuned", "explain", "tuned", 2.5),
        ("test", "detect base", "detect", "base", 3),
        ("test", "detect tuned", "detect", "tuned", 1.5),
        ("test", "explain base", "explain", "base", 3.9),
        ("test", "explain tuned", "explain", "tuned", 2),
    ]
    assert "low" not in found[0] and 1.5 < found[-1]["low"] < found[-1]["perplexity"] < found[-1]["high"] < 2.5


def test_the_plot_of_calibration_is_of_the_test_split_and_leaves_empty_bins_out():
    bins = [[0, 0, 0.0]] * 9
    rows = [row(confidence=[*bins, [4, 3, 3.8]]), row(confidence=[*bins, [4, 2, 3.9]])]
    rows += [row(confidence=[[9, 9, 0.1], *bins], split="golden")]
    sure = {"confidence": pytest.approx(7.7 / 8), "accuracy": 5 / 8, "tokens": 8}
    found = bin_reliability(compared(rows, rows), rows)
    assert found == [{"model": "base", **sure}, {"model": "tuned", **sure}]
    assert bin_reliability(compared([row()], [row()]), [row()]) == []


def test_scores_have_a_line_a_row_with_blanks_where_there_is_nothing():
    base = [row(2.0000004, 3, "classify", answer="CWE-79", other_loss=6.0, other_tokens=2), row(id="row-2")]
    tuned = [row(1.0, 3, "classify", answer="CWE-89", other_loss=6.0, other_tokens=2), row(0.25, id="row-2")]
    lines = list(csv.DictReader(io.StringIO(format_scores(base, compared(base, tuned)))))
    assert ",".join(lines[0]) == (
        "id,split,task,group,tokens,loss_base,loss_tuned,contrast_base,contrast_tuned,"
        "rouge_l_base,rouge_l_tuned,token_f1_base,token_f1_tuned,right_base,right_tuned"
    )
    assert lines[0]["loss_base"] == "2" and lines[0]["contrast_tuned"] == f"{3 - 1 / 3:.6g}"
    assert (lines[0]["right_base"], lines[0]["right_tuned"]) == ("1", "0")
    filled = {key: value for key, value in lines[1].items() if value}
    assert filled == {"id": "row-2", "split": "test", "task": "explain", "group": "g", "tokens": "1",
                      "loss_base": "1", "loss_tuned": "0.25"}  # fmt: skip


def test_figures_keep_six_digits():
    assert round_digits({"a": [1.23456789, 1e-9 / 3], "b": 7, "c": "x"}) == {
        "a": [1.23457, 3.33333e-10],
        "b": 7,
        "c": "x",
    }


def test_side_by_side_shows_reference_base_and_tuned_of_a_golden_question():
    base = [row(split="golden", answer="of the base")]
    page = format_samples(base, [row(split="golden", answer="of the tuned\n# no heading")])
    parts = [
        "## row-1 (explain)",
        "**question**",
        "Which one?",
        "**reference**",
        RIGHT,
        "**base**",
        "of the base",
        "**tuned**",
        "of the tuned",
    ]
    places = [page.index(part) for part in parts]
    assert places == sorted(places)
    assert "\n    # no heading\n" in page


def test_side_by_side_shows_the_first_golden_questions_that_were_answered():
    rows = [row(answer="x"), row(split="golden"), *(row(split="golden", answer="x", id=f"q{n}") for n in range(99))]
    headings = [line for line in format_samples(rows, rows).splitlines() if line.startswith("## ")]
    assert headings == [f"## q{n} (explain)" for n in range(SAMPLES)]


def general_row(number: int, loss: float) -> dict:
    """A general question, every second one with options, which are right."""
    more = {"other_id": f"q{(number + 2) % 12}", "other_loss": 2 * loss, "other_tokens": 4}
    if number % 2:
        more = {"choices": ["a", "b"], "choice_losses": [loss, 2 * loss], "right": 0}
    return row(
        loss, 4, "facts", "general", id=f"q{number}", group=f"general-{number}", confidence=[[4, 2, 2]] * 10, **more
    )


@pytest.fixture(scope="module")
def params() -> Params:
    """What params.yaml says."""
    return Params("metrics", read_declared_params(read_stage_entry("metrics")))


@pytest.fixture
def inputs(params, tmp_path, monkeypatch) -> Path:
    """A folder with all that the stage reads: 24 rows of each split, of which tuned is surer by half a nat."""
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    hard = draw.normal(3, 0.5, 48)
    for model, gain, answer in (("base", 0, "No idea."), ("tuned", 0.5, RIGHT)):
        rows = []
        for n in range(48):
            nats = hard[n] - gain + draw.normal(0, 0.05)
            rows.append(
                row(10 * nats, 10, ("classify", "explain")[n % 2], ("test", "golden")[n // 24], id=f"r{n}",
                    group=f"g{n // 2}", answer=answer, confidence=[[2, 1, 0.5]] * 10,
                    other_loss=10 * (nats + 0.5 + gain), other_tokens=10)
            )  # fmt: skip
        rows += [general_row(n, 8.0 + gain) | ({"kl": 0.5} if gain else {}) for n in range(12)]
        write_jsonl(f"models/evaluation/{model}.jsonl", rows)
    write_jsonl("data/split/train.jsonl", [{"id": "t", "messages": make_messages("a", "", "b")}])
    log = [{"step": n, "loss": 3 - n / 20, "grad_norm": 1.0, "learning_rate": 1e-3} for n in range(1, 30)]
    write_json("models/train/log.json", [*log, {"step": 20, "eval_loss": 2.5}, {"step": 29, "eval_loss": 2.6}])
    write_json("models/train/high_steps.json", [{"step": 7, "loss": 9.0, "rows": ["train-7"]}])
    write_json("models/train/too_long.json", {"train": ["x"], "val": []})
    write_json("models/pilot/report.json", {"loss_before": 3.0, "loss_after": 2.0, "control_strings": 0})
    write_json("models/merge_proof.json", {"merged_against_adapter": 0.01})
    return tmp_path


@pytest.fixture
def project(inputs, params) -> Path:
    """That folder after the stage has run."""
    metrics_stage.main.__wrapped__(params, "")
    return inputs


def test_the_stage_writes_what_dvc_yaml_says_and_nothing_else(project):
    entry = load_yaml(Path(__file__).parents[2] / "dvc.yaml")["stages"]["metrics"]
    listed = {next(iter(out)) for out in entry["outs"] + entry["metrics"]}
    written = {path.relative_to(project).as_posix() for path in (project / "metrics").iterdir()}
    assert written == listed
    assert {path.stem for path in (project / "metrics/plots").iterdir()} == {
        "train_loss", "eval_loss", "tasks_test", "tasks_golden", "calibration",
    }  # fmt: skip


def test_the_stage_tells_one_story_in_all_its_files(project):
    metrics, claims = (read_json(f"metrics/{name}.json") for name in ("evaluate", "claims"))
    assert claims["claim"] == "gain"
    for model in ("base", "tuned"):
        assert claims["test_loss"][model] == metrics[f"test_loss_{model}"]
    assert (metrics["test_accuracy_base"], metrics["test_accuracy_tuned"]) == (0, 1)
    train = read_json("metrics/train.json")
    assert (train["train_best_step"], train["train_steps"], train["train_eval_loss"]) == (20, 29, 2.5)
    assert read_json("metrics/versions.json")["chrf"]["signature"]
    assert len((project / "metrics/scores.csv").read_text().splitlines()) == 1 + 48


def test_the_metrics_read_well_in_a_diff(project):
    metrics = read_json("metrics/evaluate.json")
    assert all(isinstance(value, float | int) for value in metrics.values())
    assert max(map(len, metrics)) <= 40
    assert all(len(json.dumps(value).lstrip("-0.").replace(".", "").split("e")[0]) <= 6 for value in metrics.values())


def test_general_rows_are_for_retention_alone(project):
    general = read_json("metrics/retention.json")
    assert general["general_rows"] == 12
    assert general["retention"] == pytest.approx(math.exp(-0.5 / 4), rel=1e-5)
    assert general["general_kl"] == pytest.approx(0.5 / 4)
    assert general["general_accuracy_base"] == general["general_accuracy_tuned"] == 1
    names = ("evaluate", "claims", "fresh_eyes", "plots/tasks_test", "plots/tasks_golden", "plots/calibration")
    assert not [name for name in names if "general" in json.dumps(read_json(f"metrics/{name}.json"))]
    assert not [name for name in ("scores.csv", "samples.md") if "general" in Path("metrics", name).read_text()]


def test_the_rows_behind_each_figure_are_named_by_their_content(project):
    found = read_json("metrics/rows.json")
    assert set(found) == {"test", "golden", "general"} and set(found["general"]) >= {"loss", "choice_accuracy"}
    assert all(name in METRICS for names in found.values() for name in names)
    assert found["test"]["loss"] == found["test"]["perplexity"] != found["general"]["loss"]


def test_rows_are_the_same_by_their_content_and_not_by_their_ids_or_their_order():
    rows = [row(id="a", answer="x", reference="one"), row(id="b", tokens=2, reference="two")]
    known = name_row_sets(rows)["test"]
    moved = name_row_sets([rows[1] | {"id": "c", "loss": 9.0}, rows[0] | {"answer": "other"}])["test"]
    assert moved == known
    other_text = name_row_sets([rows[0] | {"reference": "One"}, rows[1]])["test"]
    assert not [name for name in known if other_text[name] == known[name]]
    other_tokens = name_row_sets([rows[0], rows[1] | {"tokens": 3}])["test"]
    assert {name for name in known if other_tokens[name] != known[name]} == {"loss", "perplexity"}
    all_answered = name_row_sets([rows[0], rows[1] | {"answer": "y"}])["test"]
    assert all_answered["loss"] == known["loss"] and all_answered["chrf"] != known["chrf"]


def count_question_marks(rows: list[dict]) -> np.ndarray:
    return pair_with_ones(row["answer"].count("?") for row in rows)


def test_a_metric_is_one_entry_from_which_every_list_follows(inputs, params, monkeypatch):
    toy = Metric("toy", "Question marks.", "1.0.0", "here", lambda row: "answer" in row, count_question_marks,
                 digits=1, unit="marks", in_table=True, column=Column("toy"))  # fmt: skip
    monkeypatch.setitem(METRICS, "toy", toy)
    metrics_stage.main.__wrapped__(params, "")
    evaluate, claims = read_json("metrics/evaluate.json"), read_json("metrics/claims.json")
    assert evaluate["test_toy_base"] == evaluate["golden_toy_tuned"] == 0
    assert claims["test_toy"]["verdict"] == "undecided"
    assert read_json("metrics/versions.json")["toy"] == {"version": "1.0.0", "source": "here"}
    assert Path("metrics/scores.csv").read_text().splitlines()[0].endswith("toy_base,toy_tuned")
    assert "toy" in read_json("metrics/plots/tasks_test.json")[0]
    assert "| toy | 0.0 | 0.0 | 0.0 | 0.0 |" in format_results(evaluate, claims)
    assert "golden_toy_tuned" in list_default_metrics()
