"""The report's figures are those computed by hand, and its texts say them in the right place."""

import math

import pytest

from stages.lib.errors import Stop
from stages.lib.judging.metrics import Bleu, LabelAccuracy, RougeL
from stages.report import (
    MARKS,
    SAMPLES,
    TABLE,
    compare,
    evaluation,
    improvement,
    measure,
    side_by_side,
    table,
    with_table,
)

RIGHT = "CWE-79: one two three four"
METRICS = {
    f"{split}_{key}_{model}": number + place / 10
    for number, key in enumerate(TABLE, 1)
    for place, (split, model) in enumerate(
        [("test", "base"), ("test", "tuned"), ("golden", "base"), ("golden", "tuned")]
    )
} | {"test_perplexity_improvement": 0.25, "golden_perplexity_improvement": -0.1}


def row(loss=1.0, tokens=1, task="explain", split="test", **answered) -> dict:
    """A row as `stages.evaluate` writes it; with `answer=` one that was answered."""
    found = {"id": "row-1", "task": task, "split": split, "loss": loss, "tokens": tokens}
    found |= {"question": "Which one?", "response": RIGHT}
    return found | ({"stopped": True} if answered else {}) | answered


def test_perplexity_is_of_all_tokens_and_not_the_mean_of_rows():
    found = measure([row(loss=2.0, tokens=1), row(loss=4.0, tokens=11)])
    assert found["loss"] == pytest.approx(6 / 12)
    assert found["perplexity"] == pytest.approx(math.exp(6 / 12))
    assert found["perplexity"] != pytest.approx((math.exp(2 / 1) + math.exp(4 / 11)) / 2)


def test_rows_without_answers_have_loss_and_perplexity_alone():
    assert set(measure([row(), row(task="classify")])) == {"loss", "perplexity"}


def test_no_rows_stop():
    with pytest.raises(Stop, match="no rows to measure"):
        measure([])


def test_stop_rate_is_the_share_of_answered_rows_that_ended_by_themselves():
    rows = [row(answer="a"), row(answer="b", stopped=False), row(answer="c"), row(answer="d"), row()]
    assert measure(rows)["stop_rate"] == 3 / 4


def test_accuracy_is_over_the_classify_rows_that_were_answered():
    classify = [row(task="classify", answer=answer) for answer in ("CWE-79", "CWE-89", "no idea")]
    others = [row(answer=RIGHT), row(task="mitigate", answer=RIGHT), row(task="classify")]
    assert measure(classify + others)["accuracy"] == pytest.approx(1 / 3)
    assert "accuracy" not in measure(others)


def test_bleu_and_rouge_l_compare_the_answers_with_the_responses():
    found = measure([row(answer=RIGHT), row()])
    assert (found["bleu"], found["rouge_l"]) == (pytest.approx(100), pytest.approx(1))
    found = measure([row(answer="nothing of it"), row()])
    assert (found["bleu"], found["rouge_l"]) == (0, 0)


@pytest.mark.parametrize("metric", [Bleu, RougeL, LabelAccuracy])
def test_compare_takes_the_answer_as_prediction_and_gives_plain_floats(metric):
    rows = [row(answer="one two"), row(answer="CWE-79: one two three four five six")]
    direct = metric(keep_in_memory=True).compute(
        predictions=[r["answer"] for r in rows], references=[r["response"] for r in rows]
    )
    assert compare(metric, rows) == pytest.approx(direct)
    assert all(type(value) is float for value in compare(metric, rows).values())


def test_improvement_is_the_share_by_which_perplexity_fell():
    assert improvement(20.0, 15.0) == pytest.approx(0.25)
    assert improvement(20.0, 25.0) == pytest.approx(-0.25)


def test_evaluation_names_each_figure_by_split_and_model():
    rows = {
        "base": [row(loss=math.log(8)), row(loss=math.log(10), split="golden")],
        "tuned": [row(loss=math.log(2)), row(loss=math.log(12), split="golden")],
    }
    flat, _ = evaluation(rows)
    assert flat == pytest.approx(
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


def test_evaluation_gives_the_plots_a_row_for_each_split_task_and_model():
    rows = [row(loss=math.log(4)), row(loss=math.log(3), task="detect"), row(loss=math.log(5), split="golden")]
    _, tasks = evaluation({"base": rows, "tuned": rows})
    assert [(t["split"], t["name"], t["model"], round(t["perplexity"])) for t in tasks] == [
        ("golden", "explain base", "base", 5),
        ("golden", "explain tuned", "tuned", 5),
        ("test", "detect base", "base", 3),
        ("test", "detect tuned", "tuned", 3),
        ("test", "explain base", "base", 4),
        ("test", "explain tuned", "tuned", 4),
    ]


def test_the_table_puts_each_figure_in_its_row_and_column():
    lines = table(METRICS).splitlines()
    assert lines[0] == "| | test base | test tuned | golden base | golden tuned |"
    assert lines[2] == "| perplexity | 1.00 | 1.10 | 1.20 | 1.30 |"
    assert lines[3] == "| loss | 2.000 | 2.100 | 2.200 | 2.300 |"
    assert [line.split(" | ")[0] for line in lines[2:8]] == [f"| {key}" for key in TABLE]
    assert len({line.count("|") for line in lines[:8]}) == 1


def test_the_table_says_by_how_much_perplexity_fell_or_rose():
    assert table(METRICS).endswith("\n\nPerplexity, tuned against base: test -25.0 %, golden +10.0 %.\n")


def test_a_figure_that_was_not_measured_is_a_dash():
    metrics = {key: value for key, value in METRICS.items() if key != "golden_accuracy_tuned"}
    assert "| accuracy | 5.000 | 5.100 | 5.200 | - |" in table(metrics)


def test_only_what_is_between_the_marks_is_replaced():
    readme = f"# Title\n\n{MARKS[0]}| old |\n\nold text\n{MARKS[1]}\nafter\n"
    assert with_table(readme, "new\n") == f"# Title\n\n{MARKS[0]}new\n{MARKS[1]}\nafter\n"


def test_replacing_the_table_again_changes_nothing():
    once = with_table(f"# Title\n{MARKS[0]}{MARKS[1]}end\n", table(METRICS))
    assert table(METRICS) in once
    assert with_table(once, table(METRICS)) == once


@pytest.mark.parametrize("readme", ["", MARKS[0], MARKS[1], MARKS[1] + MARKS[0]])
def test_a_readme_without_both_marks_in_order_stops(readme):
    with pytest.raises(Stop, match="lacks the lines"):
        with_table(readme, "new\n")


def test_side_by_side_shows_reference_base_and_tuned_of_a_golden_question():
    base = [row(split="golden", answer="of the base")]
    page = side_by_side(base, [row(split="golden", answer="of the tuned\n# no heading")])
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
    headings = [line for line in side_by_side(rows, rows).splitlines() if line.startswith("## ")]
    assert headings == [f"## q{n} (explain)" for n in range(SAMPLES)]
