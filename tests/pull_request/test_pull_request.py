"""The comment and the gate on a real bare repository with branches, run as CI runs them."""

import contextlib
import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.command_line import run_tunelock
from tests.conftest import ROOT, Project
from tunelock.pull_request.comment import LONGEST, compose_comment
from tunelock.pull_request.facts import Facts
from tunelock.pull_request.gate import check_lock
from tunelock.pull_request.lock import list_stale, refuse_tracked_cache
from tunelock.pull_request.pairing import compare_commits, pair_rows, read_scores
from tunelock.pull_request.report_gate import view_gate
from tunelock.pull_request.thresholds import EXIT, NOT_CHECKED, GateLine, check_rules, judge_gate
from tunelock.pull_request.two_commits import compare_rows
from tunelock.run.errors import Stop
from tunelock.run.params import load_yaml
from tunelock.run.revisions import find_commit
from tunelock.schema.params_problems import find_problems

HOSTILE = "a|b `c` <script>x</script> @everyone #1 [d](http://e.org) \\| \u202egnp"
DVC_YAML = """
stages:
  judge:
    cmd: python judge.py
    deps: [judge.py]
    params: [loss, noise, retention, texts]
    outs:
      - metrics/rows.json: {cache: false}
      - metrics/scores.csv: {cache: false}
      - metrics/plots: {cache: false}
    metrics:
      - metrics/evaluate.json: {cache: false}
      - metrics/claims.json: {cache: false}
      - metrics/retention.json: {cache: false}
      - metrics/data.json: {cache: false}
params: [params.yaml]
"""
JUDGE = """
import csv, json, math, random
from pathlib import Path
from ruamel.yaml import YAML

params = YAML(typ="safe").load(Path("params.yaml").read_text())
rows, totals = [], {}
draw, noise = random.Random(0), random.Random(params["noise"])
for split, count in (("test", 60), ("golden", 30)):
    for number in range(count):
        tokens = draw.randint(10, 60)
        base = tokens * draw.uniform(3.0, 3.6)
        jitter = noise.uniform(-0.1, 0.1) if params["noise"] else 0
        tuned = tokens * (draw.uniform(2.4, 2.8) + params["loss"] + jitter)
        sums = totals.setdefault(split, [0, 0, 0])
        totals[split] = [sums[0] + tokens, sums[1] + base, sums[2] + tuned]
        own = "other" if split == "test" and params["texts"] == "b" else split
        rows.append({"id": f"{own}-{number}", "split": split, "task": "explain", "group": f"{split}-{number // 3}",
                     "tokens": tokens, "loss_base": f"{base:.6g}", "loss_tuned": f"{tuned:.6g}", "contrast_base": 0.1,
                     "contrast_tuned": f"{0.5 - params['loss']:.6g}", "rouge_l_base": "", "rouge_l_tuned": "",
                     "token_f1_base": "", "token_f1_tuned": "", "right_base": number % 2, "right_tuned": 1})
Path("metrics/plots").mkdir(parents=True, exist_ok=True)
with open("metrics/scores.csv", "w", newline="") as file:
    out = csv.DictWriter(file, list(rows[0]), lineterminator="\\n")
    out.writeheader()
    out.writerows(rows)
metrics = {}
for split, (tokens, base, tuned) in totals.items():
    for model, total in (("base", base), ("tuned", tuned)):
        metrics |= {f"{split}_loss_{model}": round(total / tokens, 6),
                    f"{split}_perplexity_{model}": round(math.exp(total / tokens), 6)}
difference = metrics["test_loss_tuned"] - metrics["test_loss_base"]
claim = {"claim": "gain", "claim_sentence": "x", "test_loss": {"difference": difference, "low": -0.8, "high": -0.6}}
kept = params["retention"]
retention = {"retention": kept, "retention_low": kept - 0.01, "retention_high": kept + 0.01}
data = {"total": {"rows": 100, "kept": 90, "dropped": {"near_duplicate": 10}}}
sets = {split: dict.fromkeys(("loss", "perplexity", "chrf"), f"{split} {params['texts']}") for split in totals}
sets["golden"] = {"loss": "golden"}
metrics["test_chrf_tuned"] = 20 + params["loss"]
for name, value in {"rows": sets, "evaluate": metrics, "claims": claim, "retention": retention, "data": data}.items():
    Path(f"metrics/{name}.json").write_text(json.dumps(value))
for split in totals:
    Path(f"metrics/plots/tasks_{split}.json").write_text(json.dumps(
        [{"task": "explain $x^", "model": "tuned", "perplexity": metrics[f"{split}_perplexity_tuned"]}]))
Path("metrics/plots/train_loss.json").write_text(json.dumps([{"step": n, "loss": 3 / n} for n in range(1, 9)]))
Path("metrics/plots/eval_loss.json").write_text(json.dumps([{"step": n, "loss": 3 / n} for n in (4, 8)]))
"""
PARAMS = """
loss: {loss}
noise: {noise}
retention: {retention}
texts: {texts}
lora_r: 16
confidence_level: 0.95
bootstrap_samples: 500
gate: {{test_perplexity_tuned: "<= main", retention: ">= 0.95"}}
"""
BRANCHES = {  # loss, seed of the noise, texts of test
    "main": (0.0, 0, "a"), "better": (-0.2, 0, "a"), "worse": (0.2, 0, "a"), "noise": (0.01, 3, "a"),
    "other": (-0.2, 0, "b"),
}  # fmt: skip


@pytest.fixture(scope="module")
def remote(tmp_path_factory) -> Path:
    """A bare repository with main and a branch for each kind of change, each made by `dvc repro`."""
    folder = tmp_path_factory.mktemp("pull_request")
    (folder / "made").mkdir()
    made = Project(folder / "made")
    made.run("git", "init", "-q", "-b", "main")
    made.run("dvc", "init", "-q")
    (made.folder / "dvc.yaml").write_text(DVC_YAML)
    (made.folder / "judge.py").write_text(JUDGE)
    made.run("git", "add", "-A")
    made.run("git", "-c", "user.name=a", "-c", "user.email=a@example.invalid", "commit", "-qm", "no metrics yet")
    made.run("git", "branch", "start")
    for name, (loss, noise, texts) in BRANCHES.items():
        if name != "main":
            made.run("git", "switch", "-qc", name, "main")
        (made.folder / "params.yaml").write_text(PARAMS.format(loss=loss, noise=noise, retention=0.97, texts=texts))
        made.run("dvc", "repro", "-q")
        made.run("git", "add", "-A")
        made.run("git", "-c", "user.name=a", "-c", "user.email=a@example.invalid", "commit", "-qm", name)
    made.run("git", "clone", "-q", "--bare", ".", str(folder / "remote.git"))
    return folder / "remote.git"


def cloned(remote: Path, folder: Path, branch: str, *options: str) -> Project:
    """A fresh clone of the remote on a branch, as a reviewer or CI has it: main is there as origin/main alone."""
    subprocess.run(["git", "clone", "-q", "-b", branch, *options, remote.as_uri(), folder / branch], check=True)
    project = Project(folder / branch)
    project.env |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return project


@pytest.fixture(scope="module")
def clones(remote, tmp_path_factory) -> dict[str, Project]:
    """A clone of each branch, with the comment in it; not to be changed."""
    folder = tmp_path_factory.mktemp("clones")
    clones = {branch: cloned(remote, folder, branch) for branch in BRANCHES if branch != "main"}
    for branch, project in clones.items():
        (run if branch == "better" else here)(project, "comment")
    return clones


@pytest.fixture
def better(remote, tmp_path) -> Project:
    """A clone of the branch `better`, to be changed."""
    return cloned(remote, tmp_path, "better")


def run(project: Project, *command: str, exits: int = 0) -> str:
    """Output and errors of `tunelock pr` in a process of its own, as CI has it."""
    done = project.run("python", "-m", "tunelock", "pr", *command, check=False)
    assert done.returncode == exits, done.stdout + done.stderr
    return done.stdout + done.stderr


def here(project: Project, *command: str, exits: int = 0) -> str:
    """The same in this process, which has imported everything."""
    with contextlib.chdir(project.folder):
        done = run_tunelock("pr", *command)
    assert done.exit_code == exits, done.output
    return done.stdout + done.stderr


def test_other_test_rows_are_compared_nowhere_and_decide_nothing(clones):
    said, text = here(clones["other"], "gate", exits=2), text_of(clones["other"])
    perplexity, retention, lock, *_ = said.splitlines()
    why = "the test rows are not those of the other commit: 60 are new, 60 are gone"
    assert perplexity.startswith("undecided test_perplexity_tuned") and why in perplexity
    assert retention.startswith("passed") and lock.startswith("passed")
    assert "### Not compared with `main` row by row; gate not decided: `test_perplexity_tuned`" in text
    (left_out,) = [line for line in text.splitlines() if line.startswith("Not compared: ")]
    assert left_out.endswith(f"{why}.") and "`test_chrf_tuned`" in left_out and "`test_perplexity_base`" in left_out
    assert not re.search(r"^\| `test_", text.partition("#### Params")[2], re.MULTILINE)
    assert "test.png" not in text and f"No chart of test: {why}." in text and "golden.png" in text
    assert "**golden: better.**" in text  # those rows are the same


def test_the_first_result_of_a_project_is_held_against_the_base_model_on_the_same_rows(clones):
    said = here(clones["worse"], "gate", "origin/start")
    figures = json.loads((clones["worse"].folder / "metrics/evaluate.json").read_text())
    perplexity = said.splitlines()[0]
    assert perplexity.startswith("passed    test_perplexity_tuned")
    assert f"(the base model: {figures['test_perplexity_base']:.6g})" in perplexity
    assert "The other commit has no metrics: this is the first result." in said


def text_of(project: Project) -> str:
    return (project.folder / "comment" / "comment.md").read_text()


def edit(project: Project, name: str, **values: object) -> None:
    """Set keys of a JSON file."""
    path = project.folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    ("branch", "exits", "headline", "verdict"),
    [
        ("better", 0, "Better than `main` on the test split", "better"),
        ("worse", 1, "Worse than `main` on the test split", "worse"),
        ("noise", 1, "No difference from `main` that the test split can show", "undecided"),
    ],
)
def test_the_verdict_comes_first_and_the_gate_exits_with_it(clones, branch, exits, headline, verdict):
    text, gate = text_of(clones[branch]), (run if branch == "worse" else here)(clones[branch], "gate", exits=exits)
    assert [line for line in text.splitlines() if line.startswith("### ")] == [
        f"### {headline}; gate {'failed: `test_perplexity_tuned`' if exits else 'passed'}"
    ]
    assert text.index(headline) < text.index("**test:") < text.index("#### Gate") < text.index("#### Params")
    assert f"**test: {verdict}.**" in text
    perplexity, retention, lock = gate.splitlines()[:3]
    assert perplexity.startswith("failed" if exits else "passed") and perplexity.endswith(f": {verdict}")
    assert retention.startswith("passed    retention 0.97 >= 0.95 (main: 0.97); 95 % interval 0.9600 to 0.9800")
    assert lock.startswith("passed    dvc.lock")


def test_the_report_shows_what_the_gate_says(clones, tmp_path, monkeypatch):
    monkeypatch.chdir(clones["worse"].folder)
    gate = view_gate("main")
    assert gate.outcome == "failed" and gate.reason == ""
    (failed,) = [check for check in gate.checks if check.result == "failed"]
    assert failed.metric == "test_perplexity_tuned" and failed.rule == "<= main"
    assert failed.remark.startswith(f"main has {read_main_perplexity():.6g}; ")
    monkeypatch.chdir(tmp_path)
    nowhere = view_gate("main")
    assert (nowhere.outcome, nowhere.checks) == ("not checked", []) and "git" in nowhere.reason


def read_main_perplexity() -> float:
    """The metric of main, in the clone that one stands in."""
    shown = subprocess.run(["git", "show", "origin/main:metrics/evaluate.json"], capture_output=True, check=True)
    return json.loads(shown.stdout)["test_perplexity_tuned"]


def test_the_comment_shows_what_changed_and_nothing_else(clones):
    text = text_of(clones["better"])
    assert "| `loss` | `0.0` | `-0.2` |" in text and "60 rows in 20 groups" in text and "30 rows in 10 groups" in text
    assert "Against the base model: **gain**" in text and "0.9700 → 0.9700, 95 % interval 0.9600 to 0.9800" in text
    assert "not a row more or less" in text
    for unchanged in ("lora_r", "`noise`", "_base`", "near_duplicate", "`retention_low`"):
        assert unchanged not in text


def test_the_numbers_of_the_comment_are_those_of_the_metrics(clones):
    project = clones["worse"]
    before = json.loads(project.run("git", "show", "origin/main:metrics/evaluate.json").stdout)
    after = json.loads((project.folder / "metrics/evaluate.json").read_text())
    for split in ("test", "golden"):
        old, new = (metrics[f"{split}_perplexity_tuned"] for metrics in (before, after))
        change = f"{old:.2f} → {new:.2f} ({100 * (new / old - 1):+.1f} %"
        assert f"**{split}: worse.** Perplexity of the tuned model {change}" in text_of(project)


def test_the_charts_are_images_that_the_comment_shows(clones):
    shown = re.findall(r"!\[[^]]+\]\(([^)]+)\)", text_of(clones["worse"]))
    assert shown == ["loss.png", "test.png", "golden.png"]
    for name in shown:
        assert (clones["worse"].folder / "comment" / name).read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_what_is_compared_with_main_ignores_where_the_comment_is_written(clones):
    assert clones["better"].run("git", "status", "--porcelain", "--untracked-files=no").stdout == ""
    assert "with uncommitted changes" not in text_of(clones["better"])


def test_hostile_text_and_rows_of_one_side_alone(better):
    better.set(lora_r=HOSTILE, gate={"test_perplexity_tuned": "<= main"})
    edit(better, "metrics/data.json", **{HOSTILE: 3})
    edit(better, "metrics/claims.json", claim=HOSTILE)
    scores = better.folder / "metrics/scores.csv"
    lines = scores.read_text().splitlines()
    lines[1:4] = [lines[1].replace("test-0,", "test-new,", 1)]  # three rows of main go, one comes
    scores.write_text("\n".join(lines) + "\n")
    here(better, "comment", "--charts-at", "https://ci.example/7#artifacts")
    text = text_of(better)
    assert "57 rows in 19 groups" in text
    assert "Left out: 1 rows that only this commit has, 3 that it lacks." in text
    assert "![" not in text and "(https://ci.example/7#artifacts)" in text
    assert "with uncommitted changes" in text and "The rules of the gate are not those of the other commit." in text
    assert text.count("&#96;c&#96;") >= 2  # it is shown, in the params and in the data
    outside = re.sub(r"`[^`\n]*`|<code>[\w &#;…]*</code>", "", text)
    for part in ("@everyone", "<script", "](http://", "#1 "):
        assert part not in outside
    assert "\u202e" not in text and "<script" not in text
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({line.count("|") for line in block.splitlines()}) == 1, block


def facts(**changes: object) -> Facts:
    """A comment's facts where nothing changed."""
    same = Facts("main", "a" * 40, "b" * 7, 0.95, {}, {}, [], None, "No rows.", {}, {}, [], "", {}, None)
    return same._replace(**changes)


def test_a_comment_is_never_longer_than_github_takes():
    metrics = {"metrics/evaluate.json": {f"m{number}": {"old": 1, "new": 2} for number in range(3000)}}
    text = compose_comment(facts(metrics=metrics))
    assert "2960 more: run `dvc metrics diff" in text
    long = {"params.yaml": {f"{'|' * 400}{number}": {"old": "`" * 400, "new": "|" * 400} for number in range(900)}}
    text = compose_comment(facts(params=long, metrics=metrics))
    assert 50_000 < len(text) < LONGEST and "#### Params" in text
    metrics = {"metrics/evaluate.json": {f"{'|' * 400}{number}": {"old": 1, "new": 2} for number in range(900)}}
    text = compose_comment(facts(params=long, metrics=metrics))
    assert 50_000 < len(text) < LONGEST and "More is left out, for it is too long; run `dvc metrics diff" in text


def test_a_difference_behind_the_sixth_digit_is_none():
    pairs = {"metrics/evaluate.json": {"a": {"old": 14.083694, "new": 14.0836941}, "b": {"old": 1.0, "new": 1.001}}}
    assert "`b`" in compose_comment(facts(metrics=pairs)) and "`a`" not in compose_comment(facts(metrics=pairs))
    assert check_rules({"a": "<= main"}, pairs, {})[0].result == "passed"


METRICS = {
    "metrics/evaluate.json": {"test_loss": {"old": 2.0, "new": 2.02}, "gone": {"old": 1.0, "new": None}},
    "metrics/claims.json": {"test_loss.difference": {"old": -0.7, "new": -0.6}, "words": {"old": "a", "new": "b"}},
    "metrics/retention.json": {"new_one": {"old": None, "new": 0.9}, "bad": {"old": 1.0, "new": float("nan")}},
}


@pytest.mark.parametrize(
    ("metric", "rule", "result"),
    [
        ("test_loss", "<= main", "failed"),
        ("test_loss", "<= main * 1.01", "passed"),
        ("test_loss", "<=main*1.009", "failed"),
        ("test_loss", "< 2.03", "passed"),
        ("evaluate.test_loss", "> 2.02", "failed"),
        ("evaluate.test_loss", ">= 2.02", "passed"),
        ("claims.test_loss.difference", "<= -5e-1", "passed"),
        ("test_loss.difference", "== main", "failed"),
        ("new_one", ">= 0.5", "passed"),
        ("new_one", ">= main", "undecided"),
        ("no_such", ">= 0.5", "undecided"),
        ("gone", "<= main", "undecided"),
        ("words", "<= main", "undecided"),
        ("bad", "<= main", "undecided"),
    ],
)
def test_a_rule_is_checked_as_it_is_written(metric, rule, result):
    assert check_rules({metric: rule}, METRICS, {})[0].result == result
    assert find_problems(load_yaml(ROOT / "params.yaml") | {"gate": {metric: rule}}) == []


def test_a_rule_or_a_name_that_is_none_is_told():
    with pytest.raises(Stop, match=r"gate\.test_loss: 'about 2' is no rule"):
        check_rules({"test_loss": "about 2"}, METRICS, {})
    with pytest.raises(Stop, match=r"is in two files; write one of claims\.x, evaluate\.x"):
        check_rules({"x": "> 1"}, {f"metrics/{name}.json": {"x": {"new": 1}} for name in ("claims", "evaluate")}, {})
    wrong = {"gate": {"Bad name": "<= main", "retention": "about 1", "x": "<= main + 1"}}
    assert len(find_problems(load_yaml(ROOT / "params.yaml") | wrong)) == 3


def test_a_failure_is_decided_whatever_else_is_not():
    lines = {result: GateLine("a", "> 1", None, None, result) for result in ("passed", "failed", "undecided")}
    assert judge_gate([lines["passed"], lines["undecided"], lines["failed"]]) == "failed"
    assert judge_gate([lines["passed"], lines["undecided"]]) == "undecided"
    assert judge_gate([lines["passed"]]) == "passed"


HEADER = "id,split,task,group,tokens,loss_base,loss_tuned,contrast_base,contrast_tuned,rouge_l_base,rouge_l_tuned,"
HEADER += "token_f1_base,token_f1_tuned,right_base,right_tuned"


def scores(losses: list[float], tokens: int = 10, right: str = "") -> dict:
    """Rows of a scores.csv, each a group of its own."""
    rows = [f"{n},test,t,g{n},{tokens},9,{loss},,,,,,,,{right}" for n, loss in enumerate(losses)]
    return read_scores("\n".join([HEADER, *rows]), "scores.csv")


def test_the_same_rows_are_unchanged_and_few_groups_prove_nothing():
    same = compare_commits(pair_rows(scores([5.0] * 9), scores([5.0] * 9)), 0.95, 200)
    assert [(one.metric, one.verdict, one.rows) for one in same] == [("loss", "unchanged", 9)]
    few = compare_commits(pair_rows(scores([5.0] * 3), scores([4.0] * 3)), 0.95, 200)
    assert [one.verdict for one in few] == ["too few groups"]


def test_losses_on_other_tokens_are_not_compared_but_answers_are():
    pairs = pair_rows(scores([5.0] * 9, tokens=10, right="0"), scores([5.0] * 9, tokens=11, right="1"))
    assert pairs.other_tokens == 9
    assert [(one.metric, one.verdict) for one in compare_commits(pairs, 0.95, 200)] == [("accuracy", "better")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,split\n1,test", "scores.csv: has no column 'contrast_tuned'"),
        (HEADER + "\n1,test,t", "scores.csv:2: row '1' is cut short"),
        (HEADER + "\n1,a b,t,g,1,1,1,,,,,,,,", "has no split"),
        (HEADER + "\n1,test,t,g,1,1,1,,,,,,,," * 2, "scores.csv:3: row '1' is cut short, stands twice"),
    ],
)
def test_scores_that_are_none_are_told(text, message):
    with pytest.raises(Stop, match=re.escape(message)):
        read_scores(text, "scores.csv")


def test_a_score_that_is_no_number_is_told():
    with pytest.raises(Stop, match="column loss_tuned holds what is no number"):
        compare_commits(pair_rows(scores([5.0] * 9), scores([float("nan")] * 9)), 0.95, 200)


def test_a_revision_that_is_not_there_is_told(clones):
    assert "no revision 'gone'; name a branch, tag or commit" in run(clones["better"], "comment", "gone", exits=1)
    assert "no revision '--help'" in here(clones["better"], "gate", "--", "--help", exits=3)


def test_what_cannot_be_checked_has_an_exit_code_that_no_outcome_has(clones):
    assert sorted(EXIT.values()) == [0, 1, 2] and NOT_CHECKED == 3
    assert run(clones["better"], "gate", "gone", exits=3).startswith("tunelock pr gate: git has no revision 'gone'")
    assert "No such option" in here(clones["better"], "gate", "--jsn", exits=3)
    (line,) = [line for line in (ROOT / "docs/numbers.md").read_text().splitlines() if "pr gate main  " in line]
    assert "0 passed, 1 failed, 2 undecided, 3 not checked" in line


def test_a_script_reads_the_gate_as_json_and_its_exit_code(clones):
    found = json.loads(here(clones["worse"], "gate", "--json", exits=1))
    assert found["outcome"] == "failed"
    assert {check["result"] for check in found["checks"]} >= {"failed"}
    assert here(clones["better"], "gate", "no-such-branch", "--json", exits=3).startswith("tunelock pr gate: ")


def test_a_shallow_clone_is_told_how_to_get_the_rest(remote, tmp_path):
    project = cloned(remote, tmp_path, "better", "--depth=1")
    assert "run `git fetch --unshallow origin`" in here(project, "gate", exits=3)
    project.run("git", "fetch", "-q", "--depth=1", "origin", "main:main")
    assert "passed    test_perplexity_tuned" in here(project, "gate")


def test_a_base_without_scores_is_told_and_so_is_a_commit_without(better, monkeypatch):
    monkeypatch.chdir(better.folder)
    better.run("git", "rm", "-q", "--cached", "metrics/scores.csv")
    better.run("git", "-c", "user.name=x", "-c", "user.email=x@example.invalid", "commit", "-qm", "older")
    found = compare_rows(find_commit("HEAD"), 0.95, 200)
    text = compose_comment(
        facts(comparisons=found.comparisons, pairs=found.pairs, unpaired_because=found.unpaired_because)
    )
    assert "### Not compared with `main` row by row; gate" in text and "no `metrics/scores.csv`" in text
    (better.folder / "metrics/scores.csv").unlink()
    with pytest.raises(Stop, match=r"metrics/scores.csv is missing; run `dvc repro`"):
        compare_rows(find_commit("HEAD"), 0.95, 200)


def test_hand_edited_metrics_and_a_stale_lock_are_found(better, monkeypatch):
    monkeypatch.chdir(better.folder)
    assert list_stale() == []
    edit(better, "metrics/evaluate.json", test_perplexity_tuned=1.0)
    (better.folder / "judge.py").write_text(JUDGE + "#")
    (better.folder / "metrics/retention.json").unlink()
    better.set(loss=-0.3)
    assert list_stale() == [
        "judge: judge.py modified",
        "judge: metrics/evaluate.json modified",
        "judge: metrics/retention.json deleted",
        "judge: params.yaml:loss modified",
    ]
    line = check_lock()
    assert line.result == "failed" and "`metrics/evaluate.json modified`" in line.note and "and 1 more" in line.note


def test_data_that_only_dvc_holds_may_be_missing(better, monkeypatch):
    monkeypatch.chdir(better.folder)
    path = better.folder / "dvc.yaml"
    path.write_text(path.read_text().replace("deps: [judge.py]", "deps: [judge.py, data.txt]"))
    (better.folder / "data.txt").write_text("data")
    better.run("dvc", "repro", "-q")
    (better.folder / "data.txt").unlink()
    (better.folder / ".gitignore").write_text("/data.txt\n")
    assert list_stale() == []
    (better.folder / ".gitignore").write_text("")
    assert list_stale() == ["judge: data.txt deleted"]


@pytest.mark.parametrize("name", [".dvc/tmp/repro.dat", ".dvc/TMP/x", ".dvc/cache/files/md5/00/1"])
def test_a_clone_that_tracks_what_dvc_unpickles_is_refused(better, name, monkeypatch):
    (better.folder / name).parent.mkdir(parents=True, exist_ok=True)
    (better.folder / name).write_bytes(b"cos\nsystem\n(S'touch owned'\ntR.")
    better.run("git", "add", "-f", name)
    monkeypatch.chdir(better.folder)
    with pytest.raises(Stop, match=re.escape(f"git tracks {name}")):
        refuse_tracked_cache()
    with pytest.raises(Stop, match=re.escape(f"git tracks {name}")):
        list_stale()


WORKFLOW = load_yaml(ROOT / ".github/workflows/pull-request.yaml")
STEPS = [step for job in WORKFLOW["jobs"].values() for step in job["steps"]]


def test_the_workflow_runs_the_gate_and_the_comment_with_commands_that_exist():
    script = "\n".join(step["run"] for step in WORKFLOW["jobs"]["check"]["steps"] if "run" in step)
    assert re.findall(r"tunelock (.*?) \"\$BASE", script) == ["pr comment", "pr gate"]
    targets = (ROOT / "Makefile").read_text().replace("$(VENV)", ".venv")
    for target in re.findall(r"make (\S+)", script):
        assert f"\n{target}:" in targets, target


def test_the_workflow_has_the_least_rights_and_pinned_actions():
    assert WORKFLOW["permissions"] == {} and WORKFLOW["on"] == "pull_request"
    check_job, post = WORKFLOW["jobs"]["check"], WORKFLOW["jobs"]["post"]
    assert check_job["permissions"] == {"contents": "read"} and post["permissions"] == {"pull-requests": "write"}
    assert check_job["steps"][0]["with"]["fetch-depth"] == 0
    assert check_job["steps"][0]["with"]["persist-credentials"] is False
    assert all(re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", step["uses"]) for step in STEPS if "uses" in step)
    assert "secrets." not in json.dumps(WORKFLOW)
    assert "checkout" not in json.dumps(post)  # where a token may write, no code of the pull request is at hand
    assert "github.event.pull_request.head.repo.full_name == github.repository" in post["if"]
    for step in STEPS:  # nothing that a stranger wrote is pasted into a shell
        assert "${{" not in step.get("run", "")


@pytest.mark.parametrize("ids", ["", "11\n12\n"])
def test_the_comment_is_updated_rather_than_repeated(tmp_path, ids):
    gh = tmp_path / "gh"
    gh.write_text(f'#!/bin/sh\necho "$@" >> "{tmp_path}/calls"\ncase "$*" in *--paginate*) printf "{ids}";; esac\n')
    gh.chmod(0o755)
    (step,) = [step for step in STEPS if "GH_TOKEN" in step.get("env", {})]
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin", "GH_REPO": "o/r", "NUMBER": "7", "OURS": step["env"]["OURS"]}
    subprocess.run(["bash", "-e", "-o", "pipefail", "-c", step["run"]], env=env, check=True, cwd=tmp_path)
    calls = (tmp_path / "calls").read_text().splitlines()
    posted = "api --method PATCH repos/o/r/issues/comments/12 --field body=@comment.md --silent"
    assert calls[1:] == [posted if ids else "pr comment 7 --body-file comment.md"]


def test_the_workflow_finds_the_comment_by_its_first_line():
    (step,) = [step for step in STEPS if "GH_TOKEN" in step.get("env", {})]
    begins = re.search(r'startswith\("([^"]+)"\)', step["env"]["OURS"])[1]
    assert compose_comment(facts()).startswith(begins)


def test_task_rows_of_an_older_form_are_passed_over_in_the_chart():
    from tunelock.pull_request.commit_charts import Commits, draw_commit_tasks

    old, new = (
        [{"name": "explain tuned", "perplexity": 2.0}],
        [{"task": "explain", "model": "tuned", "perplexity": 3.0}],
    )
    axes = draw_commit_tasks(Commits(old, new), Commits("main", "here"), "test").axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["explain"]
    assert [patch.get_width() for patch in axes.patches] == [3.0]
