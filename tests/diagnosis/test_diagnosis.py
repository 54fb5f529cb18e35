"""Diagnosis: each rule at the smallest curve that triggers it and at its near-miss; remedies that can be run."""

import json
import math
import random
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.command_line import run_tunelock
from tests.conftest import ROOT
from tunelock.diagnosis.diagnosis import DIAGNOSIS_PARAMS, count_verdicts, describe_verdicts, diagnose_run
from tunelock.diagnosis.remedies import REMEDIES, RunVerdict, compose_remedy
from tunelock.reading.reading import read_source
from tunelock.reading.shape import Source
from tunelock.run.files import format_json_line
from tunelock.run.params import load_yaml
from tunelock.schema.params_problems import find_problems

PARAMS = load_yaml(ROOT / "params.yaml")
SETTINGS = {key: PARAMS[key] for key in DIAGNOSIS_PARAMS}
# The default job: the train losses of its 80 steps, and its four validations.
HEALTHY = [
    3.28,
    2.39,
    4.17,
    4.04,
    2.60,
    0.30,
    3.48,
    3.38,
    2.04,
    3.11,
    3.02,
    2.49,
    3.56,
    3.68,
    2.94,
    3.31,
    2.88,
    2.56,
    2.32,
    1.98,
    2.38,
    3.13,
    2.79,
    1.95,
    3.32,
    3.12,
    3.20,
    3.20,
    2.35,
    3.37,
    3.32,
    2.16,
    3.04,
    2.78,
    3.34,
    3.44,
    2.83,
    3.11,
    2.00,
    2.75,
    2.83,
    2.97,
    3.15,
    2.37,
    2.19,
    1.56,
    3.47,
    2.76,
    2.88,
    3.00,
    2.98,
    2.92,
    3.20,
    2.34,
    2.46,
    2.78,
    2.10,
    2.97,
    2.90,
    2.73,
    2.93,
    2.48,
    2.99,
    2.19,
    2.38,
    2.52,
    2.64,
    3.00,
    2.93,
    2.77,
    2.64,
    1.49,
    2.57,
    2.17,
    2.36,
    2.84,
    2.82,
    2.52,
    2.48,
    2.83,
]
HEALTHY_EVALS = {25: 3.0435, 50: 2.8084, 75: 2.7733, 80: 2.7757}


def curve(losses, evals=None, epochs=1.0, norms=1.0):
    """The log of a run with these train losses, a step each, and validations at some of the steps."""
    rows = []
    for step, loss in enumerate(losses, 1):
        place = {"step": step, "epoch": epochs * step / len(losses)}
        rate = SETTINGS["learning_rate"] * min(1.0, step / (0.05 * len(losses)))
        rows.append({**place, "loss": loss, "grad_norm": norms, "learning_rate": rate})
        rows += [{**place, "eval_loss": evals[step]}] if step in (evals or {}) else []
    return rows


def falling(steps, start=3.4, end=2.4, noise=0.4, seed=0):
    """Train losses as they should be: a quick fall, then a slow one, and the noise of small batches."""
    draw = random.Random(seed)
    return [end + (start - end) * math.exp(-5 * i / steps) + draw.gauss(0, noise) for i in range(steps)]


def names(*args, **options):
    return [verdict.name for verdict in diagnose_run(*args, **options)]


def of(losses, evals=None, **options):
    return names(curve(losses, evals, **options), SETTINGS)


def test_the_default_run_is_healthy_at_every_step_of_it():
    log = curve(HEALTHY, HEALTHY_EVALS)
    assert [names(log[:end], SETTINGS) for end in range(len(log) + 1)] == [[]] * (len(log) + 1)


@pytest.mark.parametrize("steps", [10, 30, 100, 1000])
@pytest.mark.parametrize("noise", [0.0, 0.2, 0.8])
def test_noise_alone_is_no_fault_during_the_run_or_after(steps, noise):
    for seed in range(10):
        log = curve(falling(steps, noise=noise, seed=seed), {steps * i // 4: 3.2 - 0.15 * i for i in range(1, 5)})
        ends = range(1, len(log) + 1, max(1, steps // 20))
        assert {end: said for end in ends if (said := names(log[:end], SETTINGS))} == {}, seed


def test_a_hundred_thousand_steps_are_judged_and_warm_up_is_not():
    assert of(falling(100_000), {25_000 * i: 3.0 - 0.2 * i for i in range(1, 5)}) == []
    warming = [row | {"learning_rate": SETTINGS["learning_rate"] / 100} for row in curve([3.0] * 50)]
    assert names(warming, SETTINGS) == []
    assert diagnose_run([], SETTINGS) == []


def test_ten_steps_are_enough_to_see_a_run_that_breaks():
    assert of(falling(10, noise=0.1), {5: 3.0, 10: 2.6}) == []
    assert of([3.4, 3.4, 3.3, 5.0, 6.0, 7.0, 7.2, 7.4, 7.3, 7.4]) == ["diverging"]


def test_flat_is_a_loss_that_nothing_moved():
    level = falling(60, start=3.4, end=3.4, noise=0.1)
    assert of(level, {20: 3.40, 40: 3.39, 60: 3.38}) == ["flat"]
    assert of(level, {20: 3.40, 40: 3.30, 60: 3.20}) == []  # validation tells what the noise of the batches hides
    assert of(falling(60, noise=0.1), {20: 2.45, 40: 2.44, 60: 2.43}) == []  # it fell before the first validation
    assert of([3.4] * 120) == ["flat"] and of([3.4] * 60) == []  # without validations it takes longer
    assert of([3.4 - 0.005 * i for i in range(120)]) == []


def test_spiking_is_a_step_that_stands_out_once_warm_up_is_over():
    losses = falling(80)
    assert of([7.5 if i == 40 else loss for i, loss in enumerate(losses)]) == ["spiking"]
    assert of([4.2 if i == 40 else loss for i, loss in enumerate(losses)]) == []
    assert of([7.5 if i == 2 else loss for i, loss in enumerate(losses)]) == []


def test_oscillating_is_a_validation_loss_that_turns_again_and_again():
    losses, places = falling(80), range(10, 81, 10)
    assert of(losses, dict(zip(places, [3.0, 2.8, 3.1, 2.8, 3.1, 2.8, 3.0, 2.8]))) == ["oscillating"]
    assert of(losses, dict(zip(places, [3.0, 2.8, 2.81, 2.79, 2.8, 2.78, 2.79, 2.77]))) == []


def test_diverging_is_a_loss_that_ends_above_what_it_had_reached():
    fine = falling(50, noise=0.2)
    assert of(fine + [2.4 + 0.05 * i for i in range(50)]) == ["diverging"]
    assert of(fine + [2.4 + 0.002 * i for i in range(50)]) == []
    verdict = diagnose_run(curve([*fine[:5], math.nan]), SETTINGS)[0]
    assert (verdict.name, verdict.step) == ("diverging", 6)


def test_overfitting_is_a_validation_loss_that_turned_up_for_good():
    losses = falling(100, end=1.6)
    verdict = diagnose_run(curve(losses, {20: 3.0, 40: 2.6, 60: 2.7, 80: 2.9, 100: 3.1}, epochs=5.0), SETTINGS)[0]
    assert (verdict.name, verdict.step) == ("overfitting", 40)
    assert compose_remedy([verdict], SETTINGS) == ["dvc exp run -S num_train_epochs=2"]
    assert of(losses, {20: 3.0, 40: 2.6, 60: 2.61, 80: 2.62, 100: 2.62}) == []
    assert of(losses[:60], {20: 3.0, 40: 2.6, 60: 2.8}) == []  # one worse validation may be chance


def test_memorised_is_a_train_loss_far_below_validation():
    assert of(falling(100, end=0.3, noise=0.05), {50: 2.6, 100: 2.6}) == ["memorised"]
    assert of(falling(100, end=1.7, noise=0.05), {50: 2.6, 100: 2.5}) == []
    assert of(falling(100, end=0.02, noise=0.005), {50: 0.06, 100: 0.05}) == []  # labels, learnt well


def test_leaked_is_a_validation_loss_that_is_as_low_as_that_of_rows_learnt_by_heart():
    losses = falling(100, end=0.08, noise=0.01)
    assert of(losses, {50: 0.5, 100: 0.1}, epochs=6.0) == ["leaked"]
    assert of(losses, {10: 0.15, 100: 0.1}, epochs=6.0) == []  # what is easy is learnt in the first epoch
    assert of(losses, {50: 0.5, 100: 0.1}, epochs=1.0) == []  # in one epoch every row is new
    assert of(falling(100, end=1.0, noise=0.1), {50: 1.3, 100: 1.0}, epochs=6.0) == []


def test_low_at_start_is_a_loss_that_no_untrained_model_has():
    assert of(falling(50, start=0.2, end=0.15, noise=0.01), {25: 0.17, 50: 0.16}) == ["low_at_start"]
    assert of(falling(50, start=0.9, end=0.5, noise=0.02), {25: 0.6, 50: 0.55}) == []


THINGS = (
    "Escape the output",
    "Limit the memory",
    "Check the length of input",
    "Use a safe language",
    "Encrypt the file",
)


def rows(answer=None, stopped=True, loss=26.0, question="How is weakness {} to be mitigated in practice, please?"):
    """Twenty evaluated rows, answered well unless said otherwise."""
    found = []
    for i in range(20):
        reference = f"{THINGS[i % 5]} of module {i}, then log what was refused."
        said = f"{THINGS[i % 5]} and log what was refused." if answer is None else answer(i)
        found.append({"id": str(i), "task": "mitigate", "question": question.format(i), "reference": reference,
                      "loss": loss, "tokens": 12, "answer": said, "stopped": stopped, "new_tokens": 12})  # fmt: skip
    return found


def of_answers(found, evals=None):
    return names(curve(falling(40), evals), SETTINGS, found)


def test_good_answers_are_no_fault_and_neither_are_few():
    assert of_answers(rows(), {20: 2.4, 40: 2.2}) == []
    assert of_answers(rows(lambda i: "the " * 30)[:5]) == []


def test_gibberish_is_an_answer_that_goes_in_circles_or_uses_words_of_its_own():
    assert "gibberish" in of_answers(rows(lambda i: f"{THINGS[i % 5]} " * 9))
    assert "gibberish" in of_answers(rows(lambda i: f"{THINGS[i % 5]} qua{i} xol{i} brmph{i} zzt{i} wok{i} mip{i}"))
    assert of_answers(rows(lambda i: f"{THINGS[i % 5]}, perhaps twice")) == []


def test_never_stops_is_an_answer_cut_where_its_reference_would_have_had_room():
    assert of_answers(rows(stopped=False)) == ["never_stops"]
    assert of_answers([row | {"stopped": i % 4 > 0} for i, row in enumerate(rows())]) == []
    assert (
        of_answers([row | {"tokens": 500} for row in rows(stopped=False, loss=900.0)]) == []
    )  # max_new_tokens is short


def test_copies_are_answers_that_are_in_the_question():
    question = "What is weakness {} about, and what is to be done against it?"
    assert "copies" in of_answers(rows(question.format, question=question))
    assert "copies" not in of_answers(rows(question=question))
    chosen = [row | {"question": f"Which? {row['reference']}", "answer": row["reference"]} for row in rows()]
    assert of_answers(chosen) == []  # the references are taken from the question too


def test_unrelated_are_answers_that_would_fit_any_question():
    assert of_answers(rows(lambda i: "Escape the output and log what was refused.")) == ["unrelated"]
    assert of_answers(rows(lambda i: f"{THINGS[(i + 1) % 5]} and log what was refused.")) == ["unrelated"]


def test_no_gain_is_a_loss_that_the_base_had_already():
    log, tuned = curve(falling(40)), rows(loss=26.0)
    assert names(log, SETTINGS, tuned, rows(loss=26.2)) == ["no_gain"]
    assert names(log, SETTINGS, tuned, rows(loss=28.0)) == []


def test_mismatch_is_a_loss_that_validation_did_not_have():
    assert of_answers(rows(loss=40.0), {20: 2.4, 40: 2.2}) == ["mismatch"]
    assert of_answers(rows(loss=29.0), {20: 2.4, 40: 2.2}) == []
    golden = [row | {"split": "test" if row["id"] == "0" else "golden"} for row in rows(loss=40.0)]
    assert of_answers(golden, {20: 2.4, 40: 2.2}) == []  # one test row alone says nothing


def many(stopped: int, count: int = 100) -> list[dict]:
    """Rows of which so many end by themselves."""
    return [row | {"id": f"{n}", "stopped": n < stopped} for n, row in enumerate(rows() * (count // 20))]


def judge(tuned: list[dict], base: list[dict]) -> list[str]:
    return names(curve(falling(40)), SETTINGS, tuned, [row | {"loss": 30.0} for row in base])


@pytest.mark.parametrize(
    ("tuned", "base", "expected"),
    [(5, 14, False), (5, 90, True), (0, 14, True), (0, 0, True), (45, 100, True), (40, 60, False), (60, 100, False)],
)
def test_never_stops_is_compared_with_how_often_the_base_stops(tuned, base, expected):
    assert judge(many(tuned), many(base)) == ["never_stops"] * expected


def test_what_the_base_does_as_well_is_no_fault_of_the_run():
    circles = rows(lambda i: f"{THINGS[i % 5]} " * 9)
    assert judge(circles, circles) == [] and "gibberish" in judge(circles, rows())
    strange = rows(lambda i: f"{THINGS[i % 5]} qua{i} xol{i} brmph{i} zzt{i} wok{i} mip{i}")
    assert judge(strange, strange) == [] and "gibberish" in judge(strange, rows())
    any_question = rows(lambda i: "Escape the output and log what was refused.")
    assert judge(any_question, any_question) == [] and judge(any_question, rows()) == ["unrelated"]
    question = "What is weakness {} about, and what is to be done against it?"
    copies = rows(question.format, question=question)
    assert "copies" not in judge(copies, copies) and "copies" in judge(copies, rows(question=question))


def test_the_evidence_has_the_figure_of_the_base_beside_it():
    (verdict,) = diagnose_run(curve(falling(40)), SETTINGS, many(5), [row | {"loss": 30.0} for row in many(90)])
    assert verdict.evidence.startswith("5% of 100 answers end by themselves (of the base's 90%)")
    assert verdict.rows == ("5", "6", "7")


def test_quoted_are_answers_that_learnt_the_quotation_marks_of_their_references():
    quoted = [row | {"reference": f'"{row["reference"]}"'} for row in rows()[:8]] + rows()[8:]
    learnt = [row | {"answer": f'"{row["answer"]}"'} if n < 7 else row for n, row in enumerate(quoted)]
    assert judge(learnt, quoted) == ["quoted"]
    (verdict,) = diagnose_run(curve(falling(40)), SETTINGS, learnt, [row | {"loss": 30.0} for row in quoted])
    assert "35% of the answers" in verdict.evidence and "40% of the references" in verdict.evidence
    assert compose_remedy([verdict], SETTINGS) == ["tunelock preview --id 0 --id 1 --id 2"]
    assert judge(quoted, quoted) == [] and judge(rows(), rows()) == []
    within = [row | {"answer": 'say "yes" or "no"', "reference": 'say "yes" or "no"'} for row in rows()]
    assert "quoted" not in judge(within, rows())


def test_a_spike_names_the_rows_of_its_step_and_a_loss_that_stays_high_the_hardest_rows():
    losses = [7.5 if i == 40 else loss for i, loss in enumerate(falling(80))]
    (spike,) = diagnose_run(curve(losses), SETTINGS, batches={41: ["a-1", "a-2"], 7: ["a-9"]})
    assert spike.rows == ("a-1", "a-2")
    assert compose_remedy([spike], SETTINGS)[-1] == "tunelock preview --id a-1 --id a-2"
    hard = [row | {"loss": 60.0 + n} if n > 16 else row for n, row in enumerate(rows(loss=26.2))]
    (flat,) = [one for one in diagnose_run(curve([3.4] * 120), SETTINGS, hard, hard) if one.name == "flat"]
    assert flat.rows == ("19", "18", "17")


def test_the_rows_behind_a_verdict_can_be_opened(tmp_path, monkeypatch):
    (tmp_path / "data/raw").mkdir(parents=True)
    lines = [json.dumps({"instruction": f"Why {n}?", "response": f"Because of {n}."}) for n in range(10_500)]
    (tmp_path / "data/raw/own.jsonl").write_text("\n".join(lines))
    own = {"path": "data/raw/own.jsonl"}
    (tmp_path / "params.yaml").write_text(json.dumps(PARAMS | {"sources": {"own": own}}))
    monkeypatch.chdir(tmp_path)
    records = {r["line"]: r for r in read_source("own", Source(**own)) if "messages" in r}
    ids = (records[3]["id"], records[10_499]["id"])  # however far down
    (command,) = compose_remedy([RunVerdict("quoted", None, "seen", ids)], SETTINGS)
    done = run_tunelock(*shlex.split(command)[1:])
    assert done.exit_code == 0, done.output
    assert "Because of 2." in done.output and "Because of 10498." in done.output and "Because of 5." not in done.output


ALL = [RunVerdict(name, 3, "seen", epochs=0.3125) for name in REMEDIES]
SETS = st.lists(st.sampled_from(ALL), min_size=1, unique=True)
PULLS = {
    "learning_rate": 1,
    "num_train_epochs": 1,
    "lora_r": 1,
    "max_grad_norm": 1,
    "lora_dropout": -1,
    "warmup_steps": -1,
}


def changes_of(commands: list[str]) -> dict[str, object]:
    """What the experiments among these commands change; fails where a param is changed twice."""
    found = {}
    for command in commands:
        words = shlex.split(command)
        for word in words[4::2] if words[0] == "dvc" else ():
            key, _, value = word.partition("=")
            assert key not in found
            found[key] = None if value == "null" else json.loads(value)
    return found


@given(SETS)
def test_one_remedy_follows_from_all_verdicts_and_never_pulls_both_ways(verdicts):
    commands = compose_remedy(verdicts, SETTINGS)
    assert sum(command.startswith("dvc") for command in commands) <= 1
    changes = changes_of(commands)
    pulls = {PULLS[key] * (1 if value > SETTINGS[key] else -1) for key, value in changes.items() if key in PULLS}
    assert len(pulls) <= 1, commands
    assert not (pulls == {1} and "early_stopping_patience" in changes)
    assert find_problems(PARAMS | changes) == []
    assert compose_remedy(verdicts[::-1], SETTINGS)[:1] == commands[:1]  # whatever the order of the verdicts


def test_the_gravest_verdict_has_the_first_word():
    verdicts = [one for one in ALL if one.name in ("gibberish", "never_stops", "no_gain", "flat")]
    assert compose_remedy(verdicts, SETTINGS)[0] == "dvc exp run -S learning_rate=0.0001"
    assert compose_remedy(verdicts[1:], SETTINGS)[0].startswith("dvc exp run -S num_train_epochs=2")


@pytest.mark.parametrize("verdict", ALL, ids=[one.name for one in ALL])
@pytest.mark.parametrize(
    "changed",
    [{}, {"learning_rate": 0.6, "lora_r": 1, "max_grad_norm": 0.01}, {"near_duplicate_threshold": None},
     {"warmup_steps": 100.0, "chat_template": "templates/x.jinja"}, {"num_train_epochs": 3, "method": "full"}],
)  # fmt: skip
def test_every_remedy_is_a_command_whose_change_passes_the_schema(verdict, changed):
    params = PARAMS | changed
    assert find_problems(params) == []
    commands = compose_remedy([verdict], params)
    assert commands or verdict.name == "mismatch"
    for command in commands:
        words = shlex.split(command)
        assert words[:4] == ["dvc", "exp", "run", "-S"] or words == ["tunelock", "preview", "cwe"]
    for key, value in changes_of(commands).items():
        assert params[key] != value
        assert find_problems(params | {key: value}) == []


def test_the_counted_verdicts_are_flat_and_stable():
    verdicts = diagnose_run(curve([3.4] * 120), SETTINGS)
    remedy = compose_remedy(verdicts, SETTINGS)
    found = count_verdicts(verdicts, remedy)
    assert found["verdicts"] == 1 and set(found["flat"]) == {"step", "evidence", "rows"}
    assert found["remedy"] == ["dvc exp run -S learning_rate=0.01"]
    assert format_json_line(found) == format_json_line(
        count_verdicts(diagnose_run(curve([3.4] * 120), SETTINGS), remedy)
    )
    assert count_verdicts([], []) == {"verdicts": 0}
    assert describe_verdicts(verdicts, remedy).splitlines()[1] == "    dvc exp run -S learning_rate=0.01"
