"""The review page keeps secret whose answer is whose, and what comes back is counted for the right model or refused."""

import json
from collections import Counter
from pathlib import Path

import pytest
from scipy.stats import binomtest

from tests.browser import Browser
from tests.command_line import run_tunelock
from tests.made_results import TASKS, made_results
from tunelock.records.scored_row import RowPair
from tunelock.report.evidence import ANSWER_FILES, read_pairs
from tunelock.review.blinding import blind_rows, digest_answers, find_tuned_side, sample_answered
from tunelock.review.review_page import build_review, count_review
from tunelock.review.ticks import CHECKS, FORMAT, MAX_BYTES, MAX_NOTE, count_ticks, read_review, read_ticks
from tunelock.run.errors import Stop
from tunelock.run.files import read_json
from tunelock.run.hashing import sha256_file


@pytest.fixture
def results(tmp_path, monkeypatch) -> Path:
    """Made results, in them the working directory."""
    monkeypatch.chdir(made_results(tmp_path))
    return tmp_path


def answered() -> list[RowPair]:
    return [pair for pair in read_pairs() if pair.is_answered]


def file_of(rows: dict, **changes: object) -> Path:
    """A review.json."""
    path = Path("review.json")
    path.write_text(json.dumps({"format": FORMAT, "answers": digest_answers(ANSWER_FILES), "rows": rows} | changes))
    return path


def ticks(preference: str | None = "a", a: list = (), b: list = (), notes: str = "") -> dict:
    return {"preference": preference, "a": list(a), "b": list(b), "notes": notes}


def test_sides_are_even_follow_from_row_and_answers_and_never_change():
    sides = [find_tuned_side("digest", f"row-{n}") for n in range(2000)]
    assert 900 < sides.count("a") < 1100
    assert sides == [find_tuned_side("digest", f"row-{n}") for n in range(2000)]
    other = [find_tuned_side("another", f"row-{n}") for n in range(2000)]
    assert 900 < sum(x == y for x, y in zip(sides, other)) < 1100


def test_answers_stand_on_their_sides(results):
    rows = blind_rows(answered(), "digest")
    whose = {before["id"]: (before, after) for before, after in answered()}
    for row in rows:
        before, after = whose[row["id"]]
        side = find_tuned_side("digest", row["id"])
        assert row[side] == after["answer"] and row["b" if side == "a" else "a"] == before["answer"]
    assert len({tuple(row) for row in rows}) == 1  # the order of the fields tells nothing either
    assert set(rows[0]) == {"id", "split", "task", "question", "reference", "a", "b"}


def test_the_sample_is_even_over_tasks_golden_first_and_the_same_each_time(results):
    rows = sample_answered(read_pairs(), 20, "digest")
    assert Counter(before["task"] for before, _ in rows) == dict.fromkeys(TASKS, 4)
    for task in TASKS:
        splits = [before["split"] for before, _ in rows if before["task"] == task]
        assert splits == ["golden"] * 3 + ["test"]  # 15 golden rows are answered, three a task
    assert rows == sample_answered(read_pairs(), 20, "digest") != sample_answered(read_pairs(), 20, "another")
    assert len(sample_answered(read_pairs(), 1000, "digest")) == len(answered()) == 30


def test_the_page_says_nowhere_whose_answer_is_whose(results):
    page = build_review(30)
    style = page[page.index("<style>") : page.index("</style>")]  # shared with the report, which names both
    rest = page.replace(style, "").replace("base-uri", "").lower()
    assert [word for word in ("base", "tuned", "adapter", *map(sha256_file, ANSWER_FILES)) if word in rest] == []


def test_swapping_the_models_gives_a_page_of_the_same_shape(results):
    """All that differs between a page and that of swapped files are answers and what follows from the digest."""
    rows = answered()
    swapped = [RowPair(b | {"answer": a["answer"]}, a | {"answer": b["answer"]}) for b, a in rows]
    one, other = blind_rows(rows, "digest"), blind_rows(swapped, "digest")
    assert [{**r, "a": 0, "b": 0} for r in one] == [{**r, "a": 0, "b": 0} for r in other]
    assert [(r["a"], r["b"]) for r in one] == [(r["b"], r["a"]) for r in other]


def test_no_answers_stop(results):
    for file in ANSWER_FILES:
        rows = [json.loads(line) for line in Path(file).read_text().splitlines()]
        Path(file).write_text("".join(json.dumps({k: v for k, v in r.items() if k != "answer"}) + "\n" for r in rows))
    with pytest.raises(Stop, match="max_predict_samples"):
        build_review(30)


def test_missing_answers_stop_with_the_command(results):
    Path(ANSWER_FILES[1]).unlink()
    with pytest.raises(Stop, match=r"tuned\.jsonl is missing; run `dvc repro"):
        build_review(30)


def test_wins_and_ticks_are_counted_for_the_model_that_had_the_side(results):
    pair, ids = digest_answers(ANSWER_FILES), [before["id"] for before, _ in answered()]
    rows = {}
    for number, row_id in enumerate(ids[:12]):
        side = find_tuned_side(pair, row_id)
        other = "b" if side == "a" else "a"
        winner = side if number < 8 else other if number < 10 else "tie"
        rows[row_id] = ticks(winner, **{side: ["facts", "tone"], other: ["tone"] if number < 3 else []})
    rows[ids[20]] = ticks(None, a=["facts"])  # ticked, not judged
    found = count_review(file_of(rows))
    assert {key: found[f"review_{key}"] for key in ("rows", "wins_tuned", "wins_base", "ties")} == {
        "rows": 12, "wins_tuned": 8, "wins_base": 2, "ties": 2
    }  # fmt: skip
    assert found["review_p"] == pytest.approx(binomtest(8, 10).pvalue, rel=1e-5)
    assert (found["review_facts_tuned"], found["review_facts_base"]) == (1, 0)
    assert (found["review_tone_tuned"], found["review_tone_base"]) == (1, 0.25)
    assert found["review_length_tuned"] == 0
    assert {f"review_{c}_{m}" for c in CHECKS for m in ("base", "tuned")} < set(found)


def test_ties_alone_prove_nothing_and_no_preference_is_no_review():
    assert count_ticks({"x": ticks("tie")}, "digest")["review_p"] == 1
    with pytest.raises(Stop, match="no row has a preference"):
        count_ticks({}, "digest")


def test_count_writes_the_metrics_and_the_report_takes_them_for_these_answers_alone(results):
    row_id = answered()[0][0]["id"]
    assert "Of 1 rows" in run_tunelock("review", "count", file_of({row_id: ticks()})).stdout
    assert read_review(ANSWER_FILES) == read_json("metrics/review.json")
    assert run_tunelock("report").exit_code == 0
    page = Path("report.html").read_text(encoding="utf-8")
    assert 'id="review"' in page and "of 1 rows the tuned answer was preferred in" in page and CHECKS["facts"] in page
    with open(ANSWER_FILES[0], "a") as file:
        file.write("\n")
    assert read_review(ANSWER_FILES) is None


ID = "cwe-test-00000000"
BAD = {
    "another pair": ({}, {"answers": "0" * 64}, "check out the commit"),
    "answers of no text": ({}, {"answers": ["x"]}, "check out the commit"),
    "another format": ({}, {"format": "tunelock-review-0"}, "download it from there"),
    "a field more": ({}, {"more": 1}, "download it from there"),
    "rows as a list": ([], {}, "not an object"),
    "an unknown id": ({"cwe-none": ticks()}, {}, "no row with answers has this id"),
    "a row that was not answered": ({"cwe-test-00000027": ticks()}, {}, "no row with answers has this id"),
    "an unknown preference": ({ID: ticks("c")}, {}, "the preference is 'c'"),
    "a preference of another type": ({ID: ticks(["a"])}, {}, "the preference is"),
    "an unknown check": ({ID: ticks(a=["nice"])}, {}, "a holds something else"),
    "a check of another type": ({ID: ticks(b=[{}])}, {}, "b holds something else"),
    "a check twice": ({ID: ticks(b=["tone", "tone"])}, {}, "b has a check twice"),
    "checks as a text": ({ID: ticks() | {"a": "tone"}}, {}, "a holds something else"),
    "notes too long": ({ID: ticks(notes="x" * (MAX_NOTE + 1))}, {}, "notes are not a text"),
    "no notes": ({ID: {"preference": "a", "a": [], "b": []}}, {}, "expected the fields"),
    "a row of another type": ({ID: "a"}, {}, "expected the fields"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_file_that_the_page_did_not_write_is_refused(results, case):
    rows, changes, said = BAD[case]
    with pytest.raises(Stop, match=said):
        count_review(file_of(rows, **changes))
    assert not Path("metrics/review.json").exists()


@pytest.mark.parametrize("text", [
    b"", b"nonsense", b"\xff\xfe", b"[" * 100_000, b'{"format": NaN}', b'{"rows": {}, "rows": {}}', b"1" * 9000,
    b" " * (MAX_BYTES + 1),
])  # fmt: skip
def test_what_is_no_json_of_ours_is_refused(tmp_path, text):
    (tmp_path / "review.json").write_bytes(text)
    said = r"review\.json is larger" if len(text) > MAX_BYTES else r"review\.json is not JSON"
    with pytest.raises(Stop, match=said):
        read_ticks(tmp_path / "review.json", "digest", [])
    with pytest.raises(Stop, match="cannot be read"):
        read_ticks(tmp_path / "none.json", "digest", [])


NOTE = """(() => {
    const text = document.querySelector("article:not([hidden]) textarea");
    text.focus();
    text.value = "n </script>";
    text.dispatchEvent(new Event("input", { bubbles: true }));
})()"""


def test_a_reviewer_ticks_chooses_leaves_comes_back_and_downloads(results, tmp_path):
    """In a browser, by mouse and keys; what is downloaded is counted."""
    assert run_tunelock("review", "--rows", 6).stdout.strip() == (results / "review.html").as_uri()
    browser = Browser(tmp_path / "profile")
    try:
        page = results / "review.html"
        browser.open(page)
        assert browser.do("[...document.querySelectorAll('article')].filter(a => !a.hidden).length") == 1
        browser.do("document.querySelector('article:not([hidden]) input[name=a][value=facts]').click()")
        browser.press("1", "Digit1")  # instructions for A
        browser.press('"', "Digit2", shift=True)  # tone for B, on a keyboard where Shift and 2 make a quote
        browser.press("0", "Digit0", shift=True)  # all for B
        browser.press("b", "KeyB")
        browser.do(NOTE)
        browser.press("t", "KeyT")  # typed into the notes: no choice
        browser.do("document.activeElement.blur()")
        browser.press("ArrowRight", "ArrowRight")
        browser.press("t", "KeyT")
        browser.press("n", "KeyN")
        browser.press("a", "KeyA")
        browser.do("document.querySelector('article:not([hidden]) input[name=b][value=length]').click()")
        assert browser.do("document.getElementById('done').textContent") == "3 of 6 judged"
        assert browser.do("document.getElementById('progress').value") == 3

        browser.open(page)  # comes back: what was ticked is there, and the first open row is shown
        assert browser.do("document.getElementById('done').textContent") == "3 of 6 judged"
        assert browser.do("document.querySelector('article:not([hidden]) h2').textContent").startswith("4 of 6")
        browser.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path), eventsEnabled=True)
        browser.do("document.getElementById('save').click()")
        while not any(e["state"] == "completed" for e in browser.events["Browser.downloadProgress"]):
            browser.next_message()
        assert browser.errors == []
        assert [url for url in browser.requests if not url.startswith("blob:")] == [page.as_uri()]
        for width in (1280, 400):
            browser.size(width)
            assert browser.do("document.documentElement.scrollWidth") <= width
    finally:
        browser.close()
    found = read_json(tmp_path / "review.json")
    ids = [before["id"] for before, _ in sample_answered(read_pairs(), 6, digest_answers(ANSWER_FILES))]
    assert list(found["rows"]) == ids[:3]
    first = found["rows"][ids[0]]
    assert (first["preference"], first["a"], first["b"]) == ("b", ["instructions", "facts"], list(CHECKS))
    assert first["notes"].startswith("n </script>")
    assert [found["rows"][row_id]["preference"] for row_id in ids[:3]] == ["b", "tie", "a"]
    assert found["rows"][ids[2]]["b"] == ["length"]
    assert count_review(tmp_path / "review.json")["review_rows"] == 3


def test_count_gives_a_script_the_metrics_and_refuses_what_is_no_review(results):
    file = file_of({answered()[0][0]["id"]: ticks("tie")})
    done = run_tunelock("review", "count", file, "--json")
    assert (done.exit_code, json.loads(done.stdout)) == (0, read_json("metrics/review.json"))
    file.write_text("{}")
    done = run_tunelock("review", "count", file)
    assert (done.exit_code, done.stdout) == (1, "") and "is not a file of the review page's button" in done.stderr
    assert run_tunelock("review", "--rows", 0).exit_code == 2
