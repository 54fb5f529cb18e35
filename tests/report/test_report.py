"""The report says what the metrics say, whatever the answers say, and opens without a word to the network."""

import contextlib
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.browser import Browser
from tests.command_line import run_tunelock
from tests.conftest import ROOT
from tests.made_results import general_rows, made_results, made_rows
from tunelock.metrics.registry import METRICS
from tunelock.records.scored_row import RowPair
from tunelock.report import input_views, views
from tunelock.report.evidence import NEEDED, read_evidence, read_pairs
from tunelock.report.extremes import find_extremes, find_forgotten, score_general_tasks
from tunelock.report.page import build_policy, replace_minus, show_chance, show_difference, show_number, show_share
from tunelock.report.parts import GateCheck, GatePart
from tunelock.report.readme_results import MARKS
from tunelock.report.report_page import SECTIONS, build_report
from tunelock.report.surroundings import describe_surroundings, read_commit, read_versions
from tunelock.report.text import clip_text, reveal_unseen
from tunelock.run.errors import Stop
from tunelock.run.files import read_json
from tunelock.run.hardware import list_gpu_names, read_field

HOSTILE = "</script></style><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
UNSEEN = "bell\x07 null\x00 escape\x1b[31m left\u202eevil half\ud800 end"


@pytest.fixture
def results(tmp_path, monkeypatch) -> Path:
    """Made results, in them the working directory."""
    monkeypatch.chdir(made_results(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> str:
    """The report of made results."""
    with contextlib.chdir(made_results(tmp_path_factory.mktemp("made"))):
        assert run_tunelock("report").exit_code == 0
        return Path("report.html").read_text(encoding="utf-8")


def written() -> str:
    """The report of the working directory."""
    done = run_tunelock("report")
    assert (done.exit_code, done.stdout.strip()) == (0, Path("report.html").resolve().as_uri())
    return Path("report.html").read_text(encoding="utf-8")


class Texts(HTMLParser):
    """The text of each section by its id, and all tags."""

    def __init__(self, page: str):
        super().__init__()
        self.sections, self.tags, self.at = {}, [], None
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "section":
            self.at = dict(attrs)["id"]

    def handle_data(self, data):
        self.sections[self.at] = self.sections.get(self.at, "") + " " + data


def test_the_page_says_the_numbers_of_the_metrics_in_their_sections(page):
    found = Texts(page).sections
    assert "−0.732" in found["claim"] and "−0.812 to −0.652" in found["claim"] and "undecided" in found["claim"]
    assert "29.27" in found["results"] and "14.08" in found["results"]
    assert "44.5" in found["tasks"] and "38.27 to 52.06" in found["tasks"]
    assert "overfitting" in found["training"] and "early_stopping_patience=2" in found["training"]
    assert "96.2 %" in found["forgetting"] and "94.1 % to 98.1 %" in found["forgetting"]
    assert "training text by heart" in found["fresh-eyes"] and "a run of words" in found["fresh-eyes"]
    assert "7,525" in found["data"] and "near duplicate" in found["data"]
    assert "bcc81830d10c" in found["hashes"] and "0123456789abcdef" in found["hashes"]
    assert "lora_r" in found["params"] and "matplotlib" in found["environment"]
    assert str(read_json(ROOT / "metrics/timings.json")["train_seconds"]) in found["environment"]
    assert "review" not in found


def test_links_within_the_page_lead_somewhere(page):
    tags = Texts(page).tags
    ids = {attributes["id"] for _, attributes in tags if "id" in attributes}
    links = [attributes["href"] for tag, attributes in tags if tag == "a"]
    assert links and all(link.startswith("#") and link[1:] in ids for link in links)


def test_nothing_in_the_page_can_be_loaded_or_run(page):
    tags = Texts(page).tags
    (csp,) = [a["content"] for tag, a in tags if tag == "meta" and "http-equiv" in a]
    assert "default-src 'none'" in csp and "script-src 'none'" in csp
    assert not {"script", "link", "img", "iframe", "object", "embed", "form", "base"} & {tag for tag, _ in tags}
    assert not any(key in attributes for _, attributes in tags for key in ("src", "action", "onload", "onclick"))


def hostile(folder: Path) -> None:
    """Put hostile text into everything that comes from data."""
    for name in ("base", "tuned"):
        file = folder / f"models/evaluation/{name}.jsonl"
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        for row in rows:
            row |= {"question": HOSTILE + UNSEEN, "reference": HOSTILE, "answer": HOSTILE + UNSEEN, "task": HOSTILE}
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for split in ("test", "golden"):
        file = folder / f"metrics/plots/tasks_{split}.json"
        rows = json.loads(file.read_text())
        file.write_text(json.dumps([row | {"task": row["task"] + HOSTILE} for row in rows]))


def test_hostile_text_is_only_text(results):
    hostile(results)
    page = written()
    tags = Texts(page).tags
    assert not {"script", "img"} & {tag for tag, _ in tags}
    assert "&lt;script&gt;" in page
    assert not any(sign in page for sign in "\x00\x07\x1b\u202e")
    assert "␇" in page and "⟨U+202E⟩" in page and "⟨U+D800⟩" in page


def test_the_page_opens_in_a_browser_without_an_error_or_a_request(results, tmp_path):
    hostile(results)
    written()
    browser = Browser(tmp_path / "profile")
    try:
        browser.open(results / "report.html")
        assert browser.errors == []
        assert browser.requests == [(results / "report.html").as_uri()]
        assert browser.do("document.title") == "tunelock: gain"
        assert browser.do("document.compatMode") == "CSS1Compat"
        assert browser.do("[...document.querySelectorAll('section')].map(s => s.id)") == [
            key for key in SECTIONS if key != "review"
        ]
        assert browser.do("document.querySelectorAll('figure svg').length") == 5
        assert browser.do("document.querySelectorAll('#rows details').length") == 20
        assert browser.do("document.querySelectorAll('script, img').length") == 0
        for width in (1280, 400):
            browser.size(width)
            assert browser.do("document.documentElement.scrollWidth") <= width  # nothing sticks out
        light, dark = browser.look(dark=False, whole=False), browser.look(dark=True, whole=False)
        assert light != dark
    finally:
        browser.close()


def test_the_page_stays_small_for_many_and_long_rows(results):
    rows = made_rows(count=300, answered=300)
    for name, answers in rows.items():
        lines = (json.dumps(row | {"answer": row["answer"] * 300, "question": "<&>" * 9000}) + "\n" for row in answers)
        (results / f"models/evaluation/{name}.jsonl").write_text("".join(lines))
    assert len(written()) < 2_000_000


@pytest.mark.parametrize("file", list(NEEDED))
def test_a_missing_piece_stops_and_names_the_command(results, file):
    (results / file).unlink()
    done = run_tunelock("report")
    assert done.exit_code == 1
    assert re.match(rf"tunelock report: {file} is missing; run `dvc repro ?{NEEDED[file]}`", done.stderr)
    assert not (results / "report.html").exists()


def test_several_missing_pieces_are_counted_and_their_stages_named(results):
    for file in ("metrics/claims.json", "metrics/plots/calibration.json", "metrics/retention.json"):
        (results / file).unlink()
    with pytest.raises(Stop, match=r"claims.json and 2 more .* are missing; run `dvc repro metrics`"):
        read_evidence()


def test_every_stage_that_a_stop_names_makes_that_file():
    from tunelock.run.params import load_yaml

    dag = load_yaml(Path(__file__).parents[2] / "dvc.yaml")["stages"]
    assert set(NEEDED.values()) - {""} <= set(dag)


def test_rows_of_two_models_that_do_not_match_stop(results):
    file = results / "models/evaluation/tuned.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    for changed in (lines[1:], lines[:-1], [*lines, lines[0]]):
        file.write_text("".join(changed))
        with pytest.raises(Stop, match=r"tuned\.jsonl"):
            list(read_pairs())


def row(name: str, before: float, after: float, tokens: int = 2) -> RowPair:
    """A row whose loss a token goes from one value to another."""
    same = {"id": name, "split": "test", "task": "t", "question": "q", "reference": "r", "tokens": tokens}
    return RowPair(same | {"loss": before * tokens}, same | {"loss": after * tokens, "answer": "of the tuned"})


def test_best_and_worst_are_by_loss_a_token_and_no_row_is_both():
    rows = [row("same", 1, 1), row("better", 3, 1, tokens=1), row("worse", 1, 2), row("best", 5, 1, tokens=50)]
    best, worst = find_extremes(lambda: rows, 10)
    assert [r.id for r in best] == ["best", "better"]
    assert [r.id for r in worst] == ["worse", "same"]
    assert (best[0].change, best[0].base, best[0].tuned) == (-4, None, "of the tuned")
    assert [r.id for r in find_extremes(lambda: rows, 1)[0]] == ["best"]
    assert find_extremes(list, 10) == ([], [])


def general_pairs() -> list[RowPair]:
    return [RowPair(*both) for both in zip(general_rows("base"), general_rows("tuned"))]


def test_general_rows_are_summed_by_task():
    facts, sums = score_general_tasks(general_pairs())
    assert (facts["task"], facts["rows"], facts["accuracy_base"]) == ("facts", 6, None)
    assert (sums["accuracy_base"], sums["accuracy_tuned"]) == (1, 0)
    assert facts["kl"] == pytest.approx(sum(0.1 + n / 100 for n in range(0, 12, 2)) / 24)
    assert [row.id for row in find_forgotten(general_pairs(), 2)] == ["general-11", "general-10"]


def test_the_funnel_adds_up():
    data = {"total": {"rows": 100, "kept": 70, "dropped": {"too_long": 10, "echo": 15}, "set_aside": {"conflict": 5}}}
    split = {"golden": {"rows": 5}, "train": {"rows": 40}, "extra": {"rows": 1}, "left_out": {"leak": 24}}
    steps = input_views.build_funnel(data, split)
    assert [step.label for step in steps] == [
        "raw rows", "echo", "too_long", "set aside: conflict", "clean rows", "leak", "train", "golden", "extra",
    ]  # fmt: skip
    levels = [step.rows for step in steps if step.kind == "level"]
    assert levels[0] - 30 == levels[1] and levels[1] - 24 == sum(levels[2:])
    assert steps[1].share == pytest.approx(0.15)


def test_a_strip_holds_zero_and_the_interval_in_their_order():
    for low, middle, high in [(-3, -2, -1), (1, 2, 3), (-1, 0.5, 2), (0, 0, 0)]:
        at = views.place_strip(middle, low, high)
        assert 0 <= min(at) <= max(at) <= 100
        assert at.low <= at.difference <= at.high
        assert (at.zero > at.high) == (high < 0) and (at.zero < at.low) == (low > 0)


def test_the_headline_is_the_first_sentence():
    said = "No gain: 2.645 nats is no less. It rose by 0.1 (95 % interval). Golden agrees."
    assert views.split_headline(said) == (
        "No gain: 2.645 nats is no less.",
        "It rose by 0.1 (95 % interval). Golden agrees.",
    )
    assert views.split_headline("One only.") == ("One only.", "")
    assert views.split_headline("It fell (-0.7); golden agrees.") == ("It fell (-0.7).", "Golden agrees.")


def test_comparisons_stand_by_split_in_the_order_of_the_metrics_and_may_lack_an_interval():
    entry = {"base": 1, "tuned": 2, "difference": 1, "verdict": "undecided"}
    claims = {"claim": "gain", "golden_loss": entry, "test_new": entry, "test_accuracy": entry, "test_loss": entry}
    claims["test_loss"] = entry | {"low": 0.5, "high": 2, "verdict": "worse"}
    rows = views.list_comparisons(claims | {"test_control": {"runs": 3}}, "test")
    assert [row.metric for row in rows] == ["loss", "accuracy", "new"]
    assert rows[0].strip and rows[1].strip is None and rows[1].p_holm is None
    assert [row.metric for row in views.list_comparisons(claims, "golden")] == ["loss"]


def test_results_have_every_metric_with_the_verdict_on_the_tuned_model():
    evaluate = {f"test_{key}_{model}": 1.0 for key in ("perplexity", "new", "memorised") for model in ("base", "tuned")}
    rows = views.list_results(evaluate | {"test_perplexity_improvement": 0.5}, {"test_loss": {"verdict": "better"}})
    assert [row.key for row in rows] == ["perplexity", "new"]
    assert rows[0].cells == [(1.0, "undecided"), (1.0, "better"), (None, "undecided"), (None, "undecided")]


def gated(outcome: str, *checks: GateCheck) -> str:
    """The report of the working directory with this gate."""
    return build_report(read_evidence(), describe_surroundings(), GatePart("main", outcome, list(checks), ""), None, {})


def test_what_failed_the_gate_and_the_contrast_stand_on_the_first_screen(results, tmp_path):
    found = read_json("metrics/retention.json") | {"general_contrast_change": -0.4061}
    Path("metrics/retention.json").write_text(json.dumps(found))
    failed = GateCheck("general_contrast_change", ">= -0.2", "-0.4061", "failed", "95 % -0.5 to -0.3")
    Path("report.html").write_text(gated("failed", failed, GateCheck("retention", ">= 0.95", "0.962", "passed", "")))
    browser = Browser(tmp_path / "profile")
    try:
        browser.open(results / "report.html")
        browser.size(1280)
        gate = browser.do("document.querySelector('.gate').innerText")
        assert "The gate failed:" in gate and "general contrast change is -0.4061; the rule: >= -0.2" in gate
        assert "retention" not in gate  # only what failed
        shown = "[...document.querySelectorAll('.gate, .tile')].filter(e => e.getBoundingClientRect().bottom < 900)"
        assert browser.do(f"{shown}.length") == 6
        assert "−0.406" in browser.do(f"{shown}.map(e => e.innerText).join()")
    finally:
        browser.close()


def test_a_gate_that_passed_or_was_not_checked_says_so(results):
    assert "The gate passed." in gated("passed", GateCheck("retention", ">= 0.95", "0.962", "passed", ""))
    assert "The gate was not checked." in written()  # no git here
    assert "git" in Texts(Path("report.html").read_text()).sections[None]


def test_no_table_is_cut_off_however_many_metrics_and_tasks_there_are(results, tmp_path):
    for split in ("test", "golden"):
        figures = {"low": 66.31, "high": 117.35, **dict.fromkeys(METRICS, 84.47)}
        rows = [
            {"task": f"{task}-a-task-with-a-long-name", "model": model, **figures}
            for task in range(9)
            for model in ("base", "tuned")
        ]
        (results / f"metrics/plots/tasks_{split}.json").write_text(json.dumps(rows))
    written()
    browser = Browser(tmp_path / "profile")
    try:
        browser.open(results / "report.html")
        for width in (1280, 1000, 800, 600, 400):
            browser.size(width)
            cut = "[...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth + 1)"
            assert browser.do(f"{cut}.map(e => e.closest('section').id)") == [], width
            assert browser.do("document.documentElement.scrollWidth") <= width
    finally:
        browser.close()


def test_a_retention_without_interval_is_said_to_have_none(results):
    found = json.loads(Path("metrics/retention.json").read_text())
    Path("metrics/retention.json").write_text(
        json.dumps({key: value for key, value in found.items() if key in ("retention", "general_rows", "general_kl")
                    or "perplexity" in key})
    )  # fmt: skip
    assert "too few groups for an interval" in written()


def test_numbers_are_written_as_a_reader_expects():
    assert (show_number(1234), show_number(12345.678), show_number(0.00037695), show_number(None)) == (
        "1,234",
        "1.235e+04",
        "0.0003769",
        "–",
    )
    assert (show_number(2.5, 3), show_difference(-0.7321), show_difference(0.5), show_share(-0.5188)) == (
        "2.500",
        "−0.732",
        "+0.500",
        "−51.9 %",
    )
    assert (show_difference(-0.0002), show_difference(0.0, 1), show_chance(0.00001), show_chance(0.04)) == (
        "0.000",
        "0.0",
        "< 0.0001",
        "0.0400",
    )
    assert replace_minus("3e-05") == "3e−05"


def test_what_cannot_be_seen_is_shown_and_what_can_is_left():
    assert reveal_unseen("a\tb\nc é 漢 👩‍🔬") == "a\tb\nc é 漢 👩‍🔬"
    assert reveal_unseen("\x00\x1f\x7f\u200b\u2066\udfff\r") == "␀␟␡⟨U+200B⟩⟨U+2066⟩⟨U+DFFF⟩␍"
    assert (clip_text("abcdef", 3), clip_text("abc", 3)) == ("abc…", "abc")


def test_the_policy_allows_one_script_by_its_hash():
    # printf 'let a = 1' | openssl dgst -sha256 -binary | base64
    done = subprocess.run(
        ["openssl", "dgst", "-sha256", "-binary"], input=b"let a = 1", capture_output=True, check=True
    )
    import base64

    assert f"script-src 'sha256-{base64.b64encode(done.stdout).decode()}'" in build_policy("let a = 1")


def test_the_commit_and_what_differs_from_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert read_commit() is None
    run = ["git", "-c", "user.name=t", "-c", "user.email=t@example.invalid"]
    subprocess.run([*run, "init", "-q", "-b", "trunk"], check=True)
    assert read_commit() is None
    subprocess.run([*run, "commit", "-q", "--allow-empty", "-m", "first <b>"], check=True)
    found = read_commit()
    assert (found.branch, found.subject, found.changed, len(found.sha)) == ("trunk", "first <b>", [], 40)
    (tmp_path / "new file").touch()
    assert read_commit().changed == ['"new file"']


def test_a_stage_stands_with_its_time_and_with_where_it_ran():
    machines = {
        "machines": {"1": {"cpu": "EPYC", "name": "box"}, "2": {"cpu": "Xeon"}},
        "stages": {"train": {"machine": "1", "threads": 1, "instruction_set": "AVX2"}, "split": {"machine": "2"}},
    }
    found = input_views.list_stage_times({"split_seconds": 1.0, "train_seconds": 2.0, "base_seconds": 0.5}, machines)
    assert [(row.stage, row.where) for row in found] == [
        ("train", "box, EPYC, AVX2, 1 thread"), ("split", "Xeon"), ("base", "")
    ]  # fmt: skip


def test_versions_and_hardware(tmp_path, monkeypatch):
    (tmp_path / "pyproject.toml").write_text('[project]\ndependencies = ["numpy==1", "no-such-thing[x]>=1"]\n')
    monkeypatch.chdir(tmp_path)
    import numpy

    assert read_versions() == {
        "Python": sys.version.split()[0], "numpy": numpy.__version__, "no-such-thing": "not installed"
    }  # fmt: skip
    (tmp_path / "0000:01").mkdir()
    (tmp_path / "0000:01/information").write_text("Model: \t NVIDIA X\nIRQ: 3\n")
    assert list_gpu_names(tmp_path) == ["NVIDIA X"] and list_gpu_names(tmp_path / "none") == []
    assert read_field(tmp_path / "none", "x") is None


def test_the_table_is_printed_given_to_a_script_and_put_into_the_readme(results):
    readme = results / "README.md"
    readme.write_text(f"# Title\n\n{MARKS[0]}was here\n{MARKS[1]}after\n")
    printed = run_tunelock("report", "--table").stdout
    assert printed.startswith("| | test base | test tuned |") and "was here" in readme.read_text()
    assert run_tunelock("report", "--readme").exit_code == 0
    written = readme.read_text()
    assert written.startswith(f"# Title\n\n{MARKS[0]}| | test base |") and written.endswith(f"{MARKS[1]}after\n")
    assert "was here" not in written and "| base | tuned |" in written
    found = json.loads(run_tunelock("report", "--table", "--json").stdout)
    figures = read_json("metrics/evaluate.json")
    assert found["rows"]["perplexity"]["golden_tuned"] == figures["golden_perplexity_tuned"]
    assert found["claim_sentence"] in " ".join(printed.split())
    assert not (results / "report.html").exists()


def test_a_word_that_it_does_not_know_is_a_fault_of_usage(results):
    assert run_tunelock("report", "page").exit_code == 2
    assert run_tunelock("report", "--json").exit_code == 2
