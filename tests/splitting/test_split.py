"""Splitting: whole groups, by hash or evenly by task; what is known from held-out rows is nowhere in train."""

import json
import random
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.planted import paraphrase
from stages import clean as clean_stage
from stages import split as module
from tests.cleaning.test_clean import PARAMS as CLEAN
from tunelock.reading.reading import Source, read_source
from tunelock.records.near import compute_signatures, find_clusters
from tunelock.records.record import fold_text, hash_texts, make_messages, make_record, question_of, whole_text_of
from tunelock.records.splits import SPLITS, TEST, TRAIN, VAL
from tunelock.run.files import format_json_line, read_jsonl
from tunelock.run.params import load_yaml
from tunelock.splitting.assignment import (
    find_lonely_tasks,
    hash_to_fractions,
    join_groups,
    order_fairly,
    split_by_hash,
    split_by_task,
)
from tunelock.splitting.boilerplate import FEW_GROUPS

ROOT = Path(__file__).parents[2]
PARAMS = {
    "sources": {"mine": {"path": "data/raw/mine.jsonl"}},
    "split_seed": 0,
    "split_method": "hash",
    "val_ratio": 0.1,
    "test_ratio": 0.2,
    "golden_groups": ["g0", "g1"],
    "golden_where": None,
    "golden_ratio": 0.0,
    "golden_sha256": None,
    "decontaminate": ["exact", "near", "ngram"],
    "leak_threshold": 0.6,
    "leak_ngram_words": 13,
    "leak_boilerplate_share": 0.001,
    "max_rows_per_task": None,
    "task_weights": None,
    "task_loss_weights": None,
    "label_patterns": None,
    "choice_patterns": None,
    "format_checks": None,
    "replay_share": 0.0,
    "max_train_samples": None,
    "max_val_samples": None,
    "max_test_samples": None,
    "max_golden_samples": None,
}
GROUPS = np.arange(4000, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)  # as hashes are spread
HOW = {"seed": 0, "val_ratio": 0.1, "test_ratio": 0.2}


def words(seed: object, count: int = 12) -> str:
    """Words that no text with another seed has."""
    rng = random.Random(str(seed))
    return " ".join(f"{rng.choice('bdfgklmnprst')}a{rng.getrandbits(40):x}" for _ in range(count))


def row(group: str | None, number: int = 0, task: str = "chat", source: str = "mine", **said: str) -> dict:
    """A row that says what no other row says, unless `question` or `answer` is given."""
    key = f"{group} {number} {task} {source}"
    question, answer = said.get("question", words(f"{key} ?")), said.get("answer", words(key))
    return make_record(
        make_messages(question, "", answer), source, "data/raw/mine.jsonl", number + 1, task, group, None
    )


def near_copy(record: dict, group: str) -> dict:
    """One more word in the question, and another group."""
    asked, said = (message["content"] for message in record["messages"])
    return row(group, question=asked + " too", answer=said)


def rows_of(groups: int, rows: int = 3, tasks: tuple[str, ...] = ("chat",), source: str = "mine") -> list[dict]:
    return [row(f"g{g}", n, tasks[n % len(tasks)], source) for g in range(groups) for n in range(rows)]


# ---- where rows go: arrays in, arrays out --------------------------------------------------------


def test_the_shares_are_near_the_ratios():
    shares = np.bincount(split_by_hash(GROUPS, **HOW), minlength=3) / len(GROUPS)
    assert np.allclose(shares, [0.7, 0.1, 0.2], atol=0.02)


def test_by_hash_a_group_goes_where_it_goes_whatever_other_rows_there_are():
    rows = np.repeat(GROUPS[:300], 3)
    split = split_by_hash(rows, **HOW)
    assert (split == np.repeat(split_by_hash(GROUPS[:300], **HOW), 3)).all()
    assert (split_by_hash(GROUPS, **HOW)[:300] == split[::3]).all()
    assert (split_by_hash(rows[::-1], **HOW) == split[::-1]).all()


def test_another_seed_gives_other_splits():
    one, other = split_by_hash(GROUPS, **HOW), split_by_hash(GROUPS, **HOW | {"seed": 1})
    same = (one == TEST) & (other == TEST)
    assert 0.02 < same.mean() < 0.06  # 0.2 x 0.2 if they have nothing to do with each other


def test_fractions_are_spread_evenly_over_the_unit_interval_and_do_not_follow_their_keys():
    places = hash_to_fractions(np.arange(4000), 0)
    assert (np.histogram(places, 10, (0, 1))[0] > 300).all()
    assert abs(np.corrcoef(places[1:], places[:-1])[0, 1]) < 0.06


def numbers(*values: int) -> np.ndarray:
    return np.array(values, np.uint64)


@pytest.mark.parametrize(
    ("groups", "clusters", "most", "expected"),
    [
        ((7, 7, 9), (0, 1, 2), 9, (7, 7, 9)),
        ((9, 7), (0, 0), 9, (7, 7)),
        ((1, 2, 2, 3), (0, 0, 1, 1), 9, (1, 1, 1, 1)),
        ((1, 2, 2, 3), (0, 0, 1, 1), 4, (1, 1, 1, 1)),
        ((1, 2, 2, 3), (0, 0, 1, 1), 3, (1, 2, 2, 3)),
        ((1, 2, 2, 3, 5, 6), (0, 0, 1, 1, 4, 4), 3, (1, 2, 2, 3, 5, 5)),
        ((2, 2, 2), (0, 0, 0), 1, (2, 2, 2)),
        ((2**63 + 1, 2**63 + 2), (0, 0), 9, (2**63 + 1, 2**63 + 1)),
    ],
    ids=["nothing shared", "one cluster", "a chain", "a chain of the limit", "above the limit", "that chain alone",
         "a large group", "64 bits"],
)  # fmt: skip
def test_groups_of_one_cluster_are_joined_and_too_long_chains_fall_apart(groups, clusters, most, expected):
    assert join_groups(numbers(*groups), np.array(clusters), most).tolist() == list(expected)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 12)), min_size=1, max_size=25), st.randoms())
def test_joined_groups_do_not_depend_on_the_order_of_the_rows(pairs, rng):
    def found(pairs: list) -> set:
        groups, clusters = zip(*pairs)
        return set(zip(pairs, join_groups(numbers(*groups), np.array(clusters), 9).tolist()))

    assert found(pairs) == found(rng.sample(pairs, len(pairs)))


def some_rows(seed: int = 0, count: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Groups of one to five rows and four tasks, one of them rare."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 6, count)
    return np.repeat(GROUPS[:count], sizes), rng.choice(4, sizes.sum(), p=[0.5, 0.3, 0.15, 0.05])


@pytest.mark.parametrize("ratios", [(0.1, 0.2), (0.05, 0.1), (0.1, 0.4), (0.3, 0.3)])
def test_stratified_keeps_groups_whole_and_the_shares_of_the_tasks_even(ratios):
    groups, tasks = some_rows()
    split = split_by_task(groups, tasks, 0, *ratios)
    for group in np.unique(groups):
        assert len(set(split[groups == group].tolist())) == 1
    for code, ratio in ((VAL, ratios[0]), (TEST, ratios[1])):
        for task in range(4):
            assert abs((split[tasks == task] == code).mean() - ratio) < 0.05


def test_stratified_does_not_depend_on_the_order_of_the_rows_but_on_the_seed():
    groups, tasks = some_rows()
    order = np.random.default_rng(1).permutation(len(groups))
    split = split_by_task(groups, tasks, **HOW)
    assert (split_by_task(groups[order], tasks[order], **HOW) == split[order]).all()
    assert (split_by_task(groups, tasks, **HOW | {"seed": 1}) != split).any()


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_stratified_takes_what_it_can_of_few_groups(count):
    split = split_by_task(GROUPS[:count], np.zeros(count, int), **HOW)
    assert set(split.tolist()) <= {TRAIN, VAL, TEST}
    assert (split == TRAIN).any()


def test_a_task_is_lonely_if_one_group_alone_has_it():
    groups, tasks = numbers(1, 1, 2, 3, 2**63 + 1, 2**63 + 2), np.array([0, 1, 0, 2, 3, 3])
    assert find_lonely_tasks(groups, tasks).tolist() == [1, 2]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=4),
    st.lists(st.sampled_from([0.5, 1.0, 2.0, 3.0]), min_size=4, max_size=4),
    st.integers(0, 99),
)
def test_any_beginning_holds_the_strata_in_proportion(sizes, weights, seed):
    strata = np.repeat(np.arange(len(sizes)), sizes)
    ids, weights = GROUPS[: len(strata)], np.array(weights[: len(sizes)])
    order = order_fairly(ids, strata, weights, seed)
    assert sorted(order.tolist()) == list(range(len(strata)))
    taken, left = np.zeros(len(sizes)), np.array(sizes)
    for row in order:
        taken[strata[row]] += 1
        if (taken >= left).any():  # from here on a stratum is used up
            break
        share = weights / weights.sum()
        assert (abs(taken - taken.sum() * share) <= (1 + len(sizes) * share) / 2 + 1e-9).all()


def test_a_row_that_arrives_displaces_at_most_one_of_a_beginning():
    strata, weights = np.arange(60) % 3, np.ones(3)
    before = set(order_fairly(GROUPS[:60], strata, weights, 0)[:20].tolist())
    for new in range(100, 130):
        ids = np.append(GROUPS[:60], GROUPS[new])
        after = set(order_fairly(ids, np.append(strata, new % 3), weights, 0)[:20].tolist())
        assert len(before - after) <= 1


# ---- the stage -----------------------------------------------------------------------------------


class Result(dict):
    """The rows of each split and of left_out, and the figures."""

    def __init__(self):
        super().__init__({name: list(read_jsonl(f"data/split/{name}.jsonl")) for name in (*SPLITS, "left_out")})
        self.figures = json.loads(Path("metrics/split.json").read_text())
        self.home = {row["id"]: name for name, rows in self.items() for row in rows}
        self.reasons = {row["id"]: row["reason"] for row in self["left_out"]}

    def tasks(self, name: str) -> Counter:
        return Counter(row["task"] for row in self[name])


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run the stage on these clean records."""
    monkeypatch.chdir(tmp_path)
    entry = {"cmd": "x", "deps": ["data/clean"], "params": [*PARAMS]}
    Path("dvc.yaml").write_text(json.dumps({"stages": {"split": entry}}))
    Path("data/clean").mkdir(parents=True)

    def run(records: list[dict], **params) -> Result:
        Path("params.yaml").write_text(json.dumps(PARAMS | params))
        Path("data/clean/records.jsonl").write_bytes(b"".join(map(format_json_line, records)))
        module.main()
        return Result()

    return run


def stops(run, *args, **params) -> str:
    """What the stage says when it stops; it leaves no output."""
    with pytest.raises(SystemExit) as stop:
        run(*args, **params)
    assert [path.name for path in Path("data").iterdir()] == ["clean"]
    return str(stop.value)


MANY = rows_of(60, 3, ("explain", "mitigate", "detect"))


def test_every_row_is_written_once_and_no_group_is_in_two_splits(run):
    found = run(MANY)
    assert sorted(found.home) == sorted(row["id"] for row in MANY)
    assert found["left_out"] == []
    assert len({(row["group"], name) for name in SPLITS for row in found[name]}) == 60
    assert {row["group"] for row in found["golden"]} == {"g0", "g1"}
    assert [row for name in SPLITS for row in found[name] if row not in MANY] == []
    for name in SPLITS:
        assert found.figures[name]["rows"] == len(found[name]) == 3 * found.figures[name]["groups"]
        assert found.figures[name]["tasks"] == found.tasks(name)


@pytest.mark.parametrize("method", ["hash", "stratified"])
def test_the_order_of_the_rows_does_not_matter(run, method):
    shuffled = random.Random(0).sample(MANY, len(MANY))
    assert run(MANY, split_method=method) == run(shuffled, split_method=method)


@pytest.mark.parametrize("new", [row("g7", 99), row("new")], ids=["row", "group"])
def test_a_row_that_arrives_moves_no_other(run, new):
    before, after = run(MANY), run([new, *MANY])
    assert after.home.pop(new["id"]) in SPLITS
    assert after.home == before.home


def test_a_near_copy_that_arrives_moves_at_most_the_groups_that_it_joins(run):
    before = run(MANY).home
    copy = near_copy(MANY[27], "new")
    after = run([*MANY, copy]).home
    moved = {row["group"] for row in MANY if before[row["id"]] != after[row["id"]]}
    assert moved <= {"g9"}
    assert after[copy["id"]] == after[MANY[27]["id"]]


def test_near_copies_of_two_groups_come_into_one_split(run):
    rows = rows_of(100, 2)
    copies = [near_copy(rows[2 * n], f"copy {n}") for n in range(2, 100)]
    found = run(rows + copies)
    assert found["left_out"] == []
    assert all(found.home[copies[n - 2]["id"]] == found.home[rows[2 * n]["id"]] for n in range(2, 100))


def test_a_group_is_never_joined_beyond_what_a_held_out_split_can_hold(run):
    names = sorted((f"link {n}" for n in range(1000)), key=hash_texts)
    first = next(n for n, name in enumerate(names) if split_by_hash(numbers(hash_texts(name)), 0, 0.01, 0.3) == VAL)
    chain = [row(name, question=words("head", 60) + words(name, 2)) for name in names[first : first + 4]]
    found = run([*rows_of(300, 1), *chain], val_ratio=0.01, test_ratio=0.3)
    assert found.home[chain[0]["id"]] == "val"
    assert set(found.reasons.values()) == {"near_overlap"}


def test_stratified_tasks_have_even_shares(run):
    rows = [row(f"g{n}", task="rare" if n % 8 == 0 else "common") for n in range(400)]
    found = run(rows, split_method="stratified", golden_groups=["g1"])
    for name, ratio in (("val", 0.1), ("test", 0.2)):
        assert abs(found.tasks(name)["rare"] - 50 * ratio) <= 2
        assert abs(found.tasks(name)["common"] - 350 * ratio) <= 4


@pytest.mark.parametrize("method", ["hash", "stratified"])
def test_a_task_of_one_group_goes_to_train_and_is_warned_of(run, capsys, method):
    for number in range(6):
        found = run([*MANY, row(f"alone {number}", task="lonely")], split_method=method)
        assert found.tasks("train")["lonely"] == 1
        assert "the task(s) lonely; it goes to train" in capsys.readouterr().err


def test_each_task_of_one_group_is_named(run, capsys):
    names = [f"lonely {number}" for number in range(8)]
    run([*MANY, *(row(f"alone {name}", task=name) for name in names)])
    told = capsys.readouterr().err
    assert all(name in told for name in names)


def test_a_group_larger_than_its_split_stops(run):
    held = next(row["group"] for row in run(MANY)["val"])
    told = stops_after(run, [*MANY, *(row(held, n, "explain") for n in range(100, 140))])
    assert f"split: group '{held}' has 43 rows, more than the share 0.1 of 214 rows that val is to have" in told


def stops_after(run, *args, **params) -> str:
    """What the stage says when it stops after a run that went well; the old output stays as it was."""
    before = {path.name: path.read_bytes() for path in Path("data/split").iterdir()}
    with pytest.raises(SystemExit) as stop:
        run(*args, **params)
    assert {path.name: path.read_bytes() for path in Path("data/split").iterdir()} == before
    assert not Path("data/split.partial").exists()
    return str(stop.value)


# ---- the golden set ------------------------------------------------------------------------------


def test_golden_by_rule_takes_what_has_the_value(run):
    rows = [*MANY, *rows_of(5, 2, source="exam")]
    rows = [{**row, "group": "exam " + row["group"]} if row["source"] == "exam" else row for row in rows]
    sources = PARAMS["sources"] | {"exam": {"path": "data/raw/exam.jsonl"}}
    found = run(rows, sources=sources, golden_groups=None, golden_where={"source": "exam"})
    assert sorted(row["id"] for row in found["golden"]) == sorted(row["id"] for row in rows[180:])
    found = run([*MANY, row("hard one", task="hard")], golden_groups=None, golden_where={"task": "hard"})
    assert [row["group"] for row in found["golden"]] == ["hard one"]


def test_a_golden_group_is_found_whatever_the_case_in_which_it_is_written(run):
    found = run([*MANY, row("Acme Inc"), row("ACME INC", 1)], golden_groups=["acme inc"])
    assert sorted(row["group"] for row in found["golden"]) == ["ACME INC", "Acme Inc"]


def test_what_shares_a_group_with_a_golden_row_is_left_out(run):
    rows = [*MANY, *(row(f"g{n}", 9, "hard") for n in range(20, 24))]
    found = run(rows, golden_groups=None, golden_where={"task": "hard"})
    assert found.tasks("golden") == {"hard": 4}
    assert Counter(found.reasons.values()) == {"group_overlap": 12}
    assert {row["group"] for row in found["left_out"]} == {"g20", "g21", "g22", "g23"}


def test_golden_by_ratio_takes_a_share_of_the_groups_that_is_stable(run):
    rows = rows_of(400, 1)
    found = run(rows, golden_groups=None, golden_ratio=0.1)
    assert 25 <= len(found["golden"]) <= 55
    assert run([row("new"), *rows], golden_groups=None, golden_ratio=0.1)["golden"][:1] == found["golden"][:1]
    smaller = run(rows, golden_groups=None, golden_ratio=0.05)
    assert {row["id"] for row in smaller["golden"]} < {row["id"] for row in found["golden"]}


@pytest.mark.parametrize("seed", [1, 8, 17])
def test_golden_by_ratio_is_not_empty_by_chance_where_groups_are_few(run, seed):
    """No hash of these 20 groups is below a tenth; one group is taken all the same, and two where it is stratified."""
    rows, sizes = rows_of(20, 3), {"split_seed": seed, "golden_groups": None, "golden_ratio": 0.1, "val_ratio": 0.3}
    by_hash = run(rows, decontaminate=[], test_ratio=0.3, split_method="hash", **sizes)
    assert by_hash["golden"]
    even = run(rows, decontaminate=[], test_ratio=0.3, split_method="stratified", **sizes)
    assert len({row["group"] for row in even["golden"]}) == 2


def test_another_choice_of_golden_groups_moves_no_other_group(run):
    copies = [near_copy(MANY[n], f"copy {n}") for n in range(27, 87, 3)]
    before = run(MANY + copies)
    after = run(MANY + copies, golden_groups=["g0", "g1", "g9"])
    assert before.home[copies[0]["id"]] == before.home[MANY[27]["id"]]
    assert {key for key in before.home if before.home[key] != after.home[key]} == {row["id"] for row in MANY[27:30]}


def test_the_golden_set_takes_no_near_copy_along(run):
    copy = near_copy(MANY[0], "copy")
    found = run([*MANY, copy])
    assert {row["group"] for row in found["golden"]} == {"g0", "g1"}
    assert found.home[copy["id"]] != "train"


def test_the_golden_set_can_be_pinned(run):
    told = stops(run, MANY, golden_sha256="0" * 64)
    right = told.partition("its sha256 is ")[2][:64]
    assert "split: the golden set has changed" in told
    found = run(MANY, golden_sha256=right)
    assert run([*MANY, row("new")], golden_sha256=right)["golden"] == found["golden"]
    assert right not in stops_after(run, [*MANY, row("g0", 77)], golden_sha256=right).partition("pins")[0]


@pytest.mark.parametrize(
    ("params", "told"),
    [
        (
            {"golden_groups": None, "golden_where": {"task": "nothing"}},
            "the golden split is empty; set golden_groups, golden_where",
        ),
        ({"golden_groups": ["g1", "nobody"]}, "golden_groups: no clean row has the group 'nobody'"),
        ({"val_ratio": 1e-9}, "the val split is empty; raise val_ratio"),
        ({"test_ratio": 1e-9}, "the test split is empty; raise test_ratio"),
        ({"golden_ratio": 0.999999}, "the train split is empty; lower"),
    ],
)
@pytest.mark.parametrize("method", ["hash", "stratified"])
def test_an_empty_split_stops_with_the_remedy_and_leaves_nothing(run, method, params, told):
    if method == "stratified" and told.startswith(("the val", "the test")):
        params = {"golden_groups": [f"g{n}" for n in range(59)]}  # nothing is left to divide
        told = "split is empty; "
    assert told in stops(run, MANY, split_method=method, **params)


# ---- leaks and mixture ---------------------------------------------------------------------------


def test_a_train_split_that_is_wholly_known_from_held_out_rows_says_so_and_names_a_pair(run):
    answer = words("the same for all", 20)
    said = stops(run, [row(f"g{number}", answer=answer) for number in range(60)], decontaminate=["exact"])
    assert "the train split is empty: its" in said and "exact_overlap" in said
    assert re.search(r"such as row \d+ of \S+ from row \d+", said) and "`group`" in said


@pytest.mark.parametrize("name", ["val", "test", "golden"])
def test_what_is_known_from_a_held_out_row_is_left_out_of_train_and_names_it(run, name):
    known = run(MANY)
    held, moved = known[name][0], known["train"][0]
    said = {"question": whole_text_of(held).partition("\n\n")[0]}
    rows = [row(moved["group"], 0, moved["task"], **said) if r is not None and r["id"] == moved["id"] else r
            for r in MANY]  # fmt: skip
    found = run(rows)
    [left_out] = found["left_out"]
    assert (left_out["group"], left_out["reason"], left_out["because"]) == (moved["group"], "exact_overlap", held["id"])
    assert found.figures["left_out"] == {"exact_overlap": 1}
    assert run(rows, decontaminate=["near"])["left_out"] == []


def test_in_a_crowd_of_likes_what_limits_bring_to_light_is_left_out_too(run):
    """Of many rows that are a little alike not all pairs are compared; fewer held-out rows make other neighbours."""
    rng = random.Random(1)
    vocabulary, head = [f"w{n}" for n in range(1000)], " ".join(f"f{n}" for n in range(30))
    rows = [row(None, n, question=f"{head} {' '.join(rng.choices(vocabulary, k=10))}", answer=f"{n % 3}")
            for n in range(1500)]  # fmt: skip
    limits = {f"max_{name}_samples": 30 for name in SPLITS[1:]}
    found = run(rows, decontaminate=["near"], golden_groups=None, golden_ratio=0.05, **limits)
    assert found.figures["left_out"]["near_overlap"] > 0


SOURCES = {"mine": {"path": "data/raw/a"}, "general": {"path": "data/raw/b", "role": "replay"}}


@pytest.mark.parametrize(
    ("limit", "main", "replay"), [(None, 136, 34), (100, 80, 20), (1000, 136, 34)], ids=["all", "some", "above"]
)
def test_replay_rows_are_never_held_out_and_have_the_asked_share(run, limit, main, replay):
    general = [row(f"r{n}", n, source="general") for n in range(200)]
    found = run(MANY + general, sources=SOURCES, replay_share=0.2, max_train_samples=limit, val_ratio=0.05,
                test_ratio=0.2)  # fmt: skip
    assert {row["source"] for name in SPLITS[1:] for row in found[name]} == {"mine"}
    sources = Counter(row["source"] for row in found["train"])
    assert sources["general"] / sources.total() == pytest.approx(0.2, abs=0.005)
    if limit == 100:
        assert sources.total() == 100
    else:
        assert sources["mine"] + sum(len(found[name]) for name in SPLITS[1:]) == len(MANY)
    half = Counter(row["source"] for row in found["train"][: len(found["train"]) // 2])
    assert half["general"] / half.total() == pytest.approx(0.2, abs=0.03)
    assert found.figures["left_out"]["replay_share"] == 200 - sources["general"]


def test_what_is_in_no_split_is_shown_by_reason_with_its_params_and_a_row(run, capsys):
    run(rows_of(60), max_rows_per_task=20, max_test_samples=5)
    told = capsys.readouterr().err
    assert re.search(r"in no split: \d+ of 180 rows", told)
    assert "max_rows_per_task: 20" in told and "max_test_samples: 5" in told
    assert "data/raw/mine.jsonl:" in told


def test_splits_that_could_show_nothing_are_warned_of(run, capsys):
    run(rows_of(20, rows=1), val_ratio=0.2, test_ratio=0.2, golden_ratio=0.0)
    told = capsys.readouterr().err
    assert re.search(r"warning: val has \d+ rows of \d+ groups: which checkpoint is the best is nearly chance", told)
    assert re.search(r"warning: test has .*: only a change of the loss of \d\.\d standard deviations", told)
    assert "raise test_ratio (0.2)" in told and "name more golden groups" in told
    run(rows_of(400, rows=1), val_ratio=0.2, test_ratio=0.2, golden_ratio=0.2)
    assert "warning" not in capsys.readouterr().err


def test_a_replay_row_that_shares_a_group_with_a_held_out_row_is_left_out(run):
    general = [row(f"g{n}", n, source="general") for n in range(60)]
    found = run(MANY + general, sources=SOURCES, replay_share=0.3, golden_ratio=0.1)
    held = {row["group"] for name in SPLITS[1:] for row in found[name]}
    assert held
    assert {row["id"] for row in general if row["group"] in held} == {
        key for key, reason in found.reasons.items() if reason == "group_overlap"
    }


def test_no_golden_group_makes_a_replay_row_golden(run):
    found = run([*MANY, row("of replay", source="general")], sources=SOURCES, replay_share=0.1,
                golden_groups=["g0", "of replay"])  # fmt: skip
    assert {row["group"] for row in found["golden"]} == {"g0"}
    assert [row["group"] for row in found["train"] if row["source"] == "general"] == ["of replay"]


def test_a_cap_of_the_tasks_takes_what_is_too_common_and_no_replay(run):
    rows = [row(f"g{n}", task="rare" if n % 10 == 0 else "common") for n in range(200)]
    general = [row(f"r{n}", task="common", source="general") for n in range(50)]
    found = run(rows + general, sources=SOURCES, replay_share=0.2, max_rows_per_task=30)
    assert Counter((row["source"], row["task"]) for row in found["train"]) == {
        ("mine", "common"): 30, ("mine", "rare"): (rare := found.tasks("train")["rare"]),
        ("general", "common"): round((30 + rare) / 4),
    }  # fmt: skip
    assert rare <= 20
    assert found.figures["left_out"]["max_rows_per_task"] > 50
    assert len(found["val"]) + len(found["test"]) > 30


def test_limits_take_the_tasks_evenly_or_by_their_weights_and_larger_ones_only_add(run):
    rows = [row(f"g{n}", task=("few", "many", "many", "many")[n % 4]) for n in range(240)]
    even = run(rows, max_train_samples=30, max_val_samples=6, max_test_samples=10)
    assert even.tasks("train") == {"few": 15, "many": 15}
    assert (len(even["val"]), len(even["test"])) == (6, 10)
    weighed = run(rows, max_train_samples=30, task_weights={"many": 5.0})
    assert weighed.tasks("train") == {"few": 5, "many": 25}
    larger = run(rows, max_train_samples=60)
    assert [row["id"] for row in larger["train"][:30]] == [row["id"] for row in even["train"]]
    assert set(even.reasons.values()) == {"max_train_samples", "max_val_samples", "max_test_samples"}


@pytest.mark.parametrize(
    "param", ["task_weights", "task_loss_weights", "label_patterns", "choice_patterns", "format_checks"]
)
def test_a_task_that_no_row_has_is_told_with_the_one_that_was_meant(run, capsys, param):
    values = {"mitgate": 2.0, "explain": 1.0} if "weights" in param else {"mitgate": "x", "explain": "x"}
    run(MANY, **{param: values})
    warnings = [line for line in capsys.readouterr().err.splitlines() if "which no row has" in line]
    words = f"{param} names the task 'mitgate', which no row has; did you mean 'mitigate'?"
    assert warnings == [f"warning: {words} Tasks: detect, explain, mitigate."]


def test_the_weights_of_sources_multiply_those_of_tasks(run):
    rows = [row(f"{source} {n}", task=task, source=source)
            for n in range(100) for source in ("mine", "other") for task in ("a", "b")]  # fmt: skip
    sources = {"mine": {"path": "x", "weight": 3.0}, "other": {"path": "y"}}
    found = run(rows, sources=sources, task_weights={"b": 2.0}, max_train_samples=120, golden_groups=["mine 0"])
    pairs = Counter((row["source"], row["task"]) for row in found["train"])
    assert pairs == {("mine", "a"): 30, ("mine", "b"): 60, ("other", "a"): 10, ("other", "b"): 20}


def test_a_row_without_a_task_is_one_of_its_own(run):
    rows = [row(f"g{n}", task="" if n % 2 else "chat") for n in range(120)]
    assert run(rows, max_train_samples=20).tasks("train") == {"": 10, "chat": 10}


# ---- the measure: planted near-copies of real rows -----------------------------------------------

FLOORS = {1: 50, 2: 50, 3: 50, 4: 39}  # of PLANTED, by strength (see benchmarks/planted.py)
PLANTED = 50  # of each strength


@pytest.fixture
def pipeline(tmp_path, monkeypatch):
    """Run clean and split on these records; returns the split of each id, `dropped` for what clean left out."""
    monkeypatch.chdir(tmp_path)
    params = CLEAN | PARAMS | {"golden_groups": None, "golden_ratio": 0.1, "max_response_chars": 5000}
    params |= {"min_response_chars": 1, "languages": None, "alignment_rules": [], "conflicting_answers": "keep"}
    params |= {"sources": {"cwe": {"path": "x"}}, "leak_threshold": load_yaml(ROOT / "params.yaml")["leak_threshold"]}
    Path("params.yaml").write_text(json.dumps(params))
    Path("dvc.yaml").write_text(json.dumps({"stages": {
        "clean": {"cmd": "x", "params": [*CLEAN]}, "split": {"cmd": "x", "params": [*PARAMS]},
    }}))  # fmt: skip
    Path("data/records").mkdir(parents=True)

    def pipeline(records: list[dict]) -> dict[str, str]:
        Path("data/records/records.jsonl").write_bytes(b"".join(map(format_json_line, records)))
        Path("data/records/set_aside.jsonl").write_bytes(b"")
        Path("data/records/counts.json").write_text(json.dumps({"cwe": {"rows": len(records)}}))
        clean_stage.main()
        module.main()
        return {row["id"]: "dropped" for row in records} | Result().home

    return pipeline


def copy_of(record: dict, strength: int, number: int) -> dict:
    """A near-copy of a record, question and answer, in a group of its own."""
    said = [paraphrase(message["content"], strength, number) for message in record["messages"]]
    return make_record(
        make_messages(said[0], "", said[1]), "cwe", "planted", number, record["task"], f"copy {number}", None
    )


def plant_copies(originals: Iterator[dict], numbers: Iterator[int], rows: list[dict]) -> list[tuple[int, dict, dict]]:
    """PLANTED copies of each strength with their originals. Half of "Which of these is it? The report says ..." may be
    the question that many rows ask: such a copy has nothing of its original, and is not planted."""
    asked, pairs = [fold_text(question_of(row)) for row in rows], []
    for strength in FLOORS:
        while len(pairs) < strength * PLANTED:
            original = next(originals)
            copy = copy_of(original, strength, next(numbers))
            if sum(fold_text(question_of(copy)) in question for question in asked) <= FEW_GROUPS:
                pairs.append((strength, original, copy))
    return pairs


def test_planted_near_copies_of_held_out_rows_do_not_come_into_train(pipeline, capsys):
    """Originals are held-out rows, no two of which are alike; each copy's group would come into train if nothing were
    done about it."""
    source = load_yaml(ROOT / "params.yaml")["sources"]["cwe"]
    rows = [row for row in read_source("cwe", Source(**source)) if "status" not in row]
    rows = random.Random(0).sample(rows, 2000)
    home = pipeline(rows)
    held = [row for row in rows if home[row["id"]] in SPLITS[1:]]
    texts = [whole_text_of(row) for row in held]
    firsts = find_clusters(compute_signatures(texts), 0.8, texts.__getitem__)
    originals = iter([row for number, row in enumerate(held) if firsts[number] == number])
    numbers = iter([n for n in range(9999) if split_by_hash(np.array([hash_texts(f"copy {n}")]), **HOW)[0] == TRAIN])
    pairs = plant_copies(originals, numbers, rows)
    home = pipeline(rows + [copy for *_, copy in pairs])
    safe = dict.fromkeys(FLOORS, 0)
    for strength, *pair in pairs:
        homes = {home[record["id"]] for record in pair}
        safe[strength] += not ("train" in homes and homes & set(SPLITS[1:]))
    with capsys.disabled():
        print(f"\nof {PLANTED} near-copies of each strength kept apart: {safe}")
    assert all(safe[strength] >= floor for strength, floor in FLOORS.items())
