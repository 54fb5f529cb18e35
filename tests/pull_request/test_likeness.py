"""What two commits did not measure alike is found by its content, and what it means is decided rule by rule."""

import json
import subprocess
from pathlib import Path

import pytest

from tunelock.pull_request.comment import compose_comment
from tunelock.pull_request.facts import Facts
from tunelock.pull_request.likeness import Likeness, compare_likeness, find_metric
from tunelock.pull_request.pairing import pair_rows, read_scores
from tunelock.pull_request.thresholds import check_rules
from tunelock.pull_request.two_commits import compare_rows
from tunelock.run.revisions import find_commit

HEADER = "id,split,task,group,tokens,loss_base,loss_tuned,contrast_base,contrast_tuned,rouge_l_base,rouge_l_tuned,"
HEADER += "token_f1_base,token_f1_tuned,right_base,right_tuned"
KNOWN = {"test": {"loss": "1", "perplexity": "1", "chrf": "2"}, "general": {"loss": "3", "contrast": "3"}}
METRICS = {
    "metrics/evaluate.json": {
        "test_perplexity_tuned": {"old": 9.0, "new": 8.0}, "test_perplexity_base": {"old": 20.0, "new": 19.0},
        "test_chrf_tuned": {"old": 30.0, "new": 31.0}, "golden_chrf_tuned": {"old": 30.0, "new": 30.0},
    },
    "metrics/retention.json": {"retention": {"old": 0.97, "new": 0.98}},
    "metrics/train.json": {"train_eval_loss": {"old": 2.0, "new": 1.9}, "train_steps": {"old": 80, "new": 80}},
}  # fmt: skip


def write_scores(ids: list[str], tokens: int = 10, groups: int = 9) -> str:
    rows = [f"{name},test,t,g{number % groups},{tokens},9,5,,,0.5,0.5,,,," for number, name in enumerate(ids)]
    return "\n".join([HEADER, *rows]) + "\n"


def write_metrics(ids: list[str], rows: dict | None, versions: dict | None = None, lock: str = "", **more) -> None:
    Path("metrics").mkdir(exist_ok=True)
    Path("metrics/scores.csv").write_text(write_scores(ids, **more))
    Path("metrics/evaluate.json").write_text("{}")
    for name, content in (("rows", rows), ("versions", versions)):
        path = Path(f"metrics/{name}.json")
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_text(json.dumps(content))
    Path("dvc.lock").write_text(f"- path: data/split/val.jsonl\n  hash: md5\n  md5: {lock or 'e'}\n")


@pytest.fixture
def repository(tmp_path, monkeypatch) -> str:
    """A repository whose commit measured nine rows; its commit."""
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "-q"], check=True)
    write_metrics(list("abcdefghi"), KNOWN, {"chrf": {"version": "1.0.0"}, "rouge_l": {"version": "1.0.0"}})
    subprocess.run(["git", "add", "-A"], check=True)
    subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b.invalid", "commit", "-qm", "x"], check=True)
    return find_commit("HEAD")


def compare(commit: str) -> Likeness:
    rows = compare_rows(commit, 0.95, 200)
    return compare_likeness(commit, rows.pairs, rows.groups)


def results(likeness: Likeness, **rules: str) -> dict[str, str]:
    return {line.metric: line.result for line in check_rules(rules, METRICS, {}, likeness)}


MAIN = {"test_perplexity_tuned": "<= main", "test_chrf_tuned": ">= main", "retention": ">= main"}


def test_the_same_rows_are_decided(repository):
    assert results(compare(repository), **MAIN) == dict.fromkeys(MAIN, "passed")


def test_as_many_rows_with_the_same_ids_but_other_texts_are_other_rows(repository):
    write_metrics(list("abcdefghi"), KNOWN | {"test": {"loss": "9", "perplexity": "9", "chrf": "9"}})
    likeness = compare(repository)
    passed = {"test_perplexity_tuned": "undecided", "test_chrf_tuned": "undecided", "retention": "passed"}
    assert results(likeness, **MAIN) == passed
    assert likeness.explain("test_chrf_tuned") == "the test rows that have it are not those of the other commit"


def test_a_rule_is_undecided_only_where_its_own_rows_are_others(repository):
    write_metrics(list("abcdefghi"), {"test": KNOWN["test"] | {"chrf": "9"}, "general": {"loss": "8"}})
    passed = {"test_perplexity_tuned": "passed", "test_chrf_tuned": "undecided", "retention": "undecided"}
    assert results(compare(repository), **MAIN) == passed


def test_a_rule_with_a_number_is_decided_and_says_that_the_rows_are_others(repository):
    write_metrics(list("abcdefghj"), KNOWN | {"test": {"loss": "9", "perplexity": "9", "chrf": "9"}})
    (line,) = check_rules({"test_perplexity_tuned": "<= 8.5"}, METRICS, {}, compare(repository))
    assert line.result == "passed" and "1 are new, 1 are gone, which a number as the bound does not need" in line.note
    assert results(compare(repository), test_perplexity_tuned="< 7", test_chrf_tuned="> 1") == {
        "test_perplexity_tuned": "failed", "test_chrf_tuned": "passed",
    }  # fmt: skip
    assert results(compare(repository), test_perplexity_tuned="<= base")["test_perplexity_tuned"] == "passed"


def test_a_commit_without_hashes_is_compared_by_ids_and_tokens(repository):
    write_metrics(list("abcdefghj"), None)
    assert results(compare(repository), **MAIN)["test_chrf_tuned"] == "undecided"
    write_metrics(list("abcdefghi"), None, tokens=11)
    found = results(compare(repository), **MAIN)
    assert (found["test_perplexity_tuned"], found["test_chrf_tuned"]) == ("undecided", "passed")


def test_two_versions_of_a_metric_are_two_metrics(repository):
    write_metrics(list("abcdefghi"), KNOWN, {"chrf": {"version": "2.0.0"}, "rouge_l": {"version": "2.0.0"}})
    found = results(compare(repository), **MAIN)
    assert (found["test_perplexity_tuned"], found["test_chrf_tuned"]) == ("passed", "undecided")
    assert "version 1.0.0 there, 2.0.0 here" in compare(repository).explain("golden_chrf_base")
    assert [one.metric for one in compare_rows(repository, 0.95, 200).comparisons] == ["loss"]


def test_the_losses_on_other_val_rows_are_not_compared(repository):
    rules = {"train_eval_loss": "<= main", "train_steps": "== main"}
    assert results(compare(repository), **rules) == dict.fromkeys(rules, "passed")
    write_metrics(list("abcdefghi"), KNOWN, lock="f")
    assert results(compare(repository), **rules) == {"train_eval_loss": "undecided", "train_steps": "passed"}


def test_too_few_groups_decide_nothing_and_say_so(repository):
    write_metrics(list("abcdefghi"), KNOWN, groups=3)
    lines = check_rules(MAIN, METRICS, {}, compare(repository))
    assert [line.result for line in lines] == ["undecided", "undecided", "passed"]
    assert "test has 3 groups, fewer than the 5 of an interval" in lines[0].note
    (line,) = check_rules({"test_chrf_tuned": "> 30"}, METRICS, {}, compare(repository))
    assert line.result == "passed" and "test has 3 groups" in line.note
    same = {"metrics/evaluate.json": {"test_chrf_tuned": {"old": 30.0, "new": 30.0}}}
    assert check_rules({"test_chrf_tuned": ">= main"}, same, {}, compare(repository))[0].result == "passed"


def test_without_metrics_there_the_base_model_stands_for_main():
    likeness = Likeness(groups={"test": 9}, is_first=True)
    lines = check_rules({**MAIN, "test_perplexity_tuned": "<= main * 0.4"}, METRICS, {}, likeness)
    assert [(line.result, line.base) for line in lines] == [("failed", 19.0), ("undecided", None), ("undecided", None)]
    assert "the base model has no such figure" in lines[2].note and lines[0].owner == "the base model"


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("test_perplexity_improvement", ("test", "perplexity")),
        ("golden_choice_accuracy_norm_base", ("golden", "choice_accuracy_norm")),
        ("test_loss.difference", ("test", "loss")), ("test_memorised_tuned", ("test", "stop_rate")),
        ("general_contrast_change_low", ("general", "contrast")), ("retention_high", ("general", "loss")),
        ("general_accuracy_tuned", ("general", "choice_accuracy")), ("train_eval_loss", ("val", "loss")),
        ("train_steps", ("", "")), ("total.rows", ("", "")),
    ],
)  # fmt: skip
def test_each_figure_is_traced_to_the_rows_that_it_is_of(name, found):
    assert find_metric(name) == found


def test_a_comment_holds_no_retention_against_that_of_other_questions():
    likeness = Likeness(rows={"general": {"loss": "the general questions are others"}})
    pairs = pair_rows({}, read_scores(write_scores(["a"]), "scores.csv"))
    same = Facts("main", "a" * 40, "b" * 7, 0.95, {}, METRICS, [], pairs, "No rows.", {}, {}, [], "", {}, None)
    assert "0.9700 → 0.9800" in compose_comment(same)
    text = compose_comment(same._replace(likeness=likeness))
    assert "→" not in text and "Retention of general ability: 0.9800." in text
    assert "Not compared: `retention`: the general questions are others." in text
