"""Known from a held-out row: by question, by answer, by likeness, by words; and the gate that stops at a leak."""

import random
from pathlib import Path

import numpy as np
import pytest

from tunelock.records.ngrams import hash_ngrams, measure_similarity
from tunelock.records.record import make_messages, make_record
from tunelock.records.splits import SPLITS
from tunelock.records.templates import list_literals
from tunelock.run.errors import Stop
from tunelock.run.files import format_json_line
from tunelock.splitting.boilerplate import FEW_GROUPS
from tunelock.splitting.features import GROUP, read_features
from tunelock.splitting.leak_gate import check_splits
from tunelock.splitting.leaks import LeakParams, find_overlaps

KINDS = ["exact", "near", "ngram"]
RULES = LeakParams(KINDS, 0.6, 13, 0.001)
NO_NGRAMS = np.zeros(0, np.uint64)
RNG = random.Random(0)


def words(count: int) -> str:
    """Words that no other text of these tests has."""
    return " ".join(f"{RNG.choice('bdfgklmnprst')}a{RNG.getrandbits(40):x}" for _ in range(count))


def row(question: str | None = None, answer: str | None = None, group: str | None = None) -> dict:
    messages = make_messages(words(9) if question is None else question, "", words(9) if answer is None else answer)
    return make_record(messages, "mine", "a.jsonl", 1, "chat", group, None)


def text(content: str) -> dict:
    return make_record([{"role": "text", "content": content}], "mine", "a.txt", 1, "text", words(1), None)


def overlaps(folder: Path, train: list[dict], held: list[dict], rules: LeakParams = RULES, sources=None):
    """What is found of the rows of `train`, numbered from 0, in those of `held`, numbered behind them."""
    file = folder / "rows.jsonl"
    file.write_bytes(b"".join(map(format_json_line, train + held)))
    known = read_features(file, folder, list_literals(sources or {}), rules.leak_ngram_words)
    places = np.arange(len(train)), np.arange(len(train), len(train) + len(held))
    return find_overlaps(known, *places, rules, known.hashes[:, GROUP])


def leaks(folder: Path, train: list[dict], held: list[dict], kinds=KINDS, threshold: float = 0.6, **how) -> dict:
    """The places of the rows of `train` that are known from `held`, by kind, with that of the held-out row."""
    sources = how.pop("sources", None)
    rules = RULES._replace(decontaminate=kinds, leak_threshold=threshold, **how)
    found = overlaps(folder, train, held, rules, sources).pairs
    return {kind: sorted({(i, j - len(train)) for i, j in pairs.tolist()}) for kind, pairs in found.items()}


QUESTION, SAYING, LABEL, LONG = words(9), words(8), words(7), words(20)
HEAD, TAIL = words(13), words(30)
NEARLY = " ".join([*TAIL.split()[:-3], words(3)])
LEAKING = {
    "question": ("exact", row(QUESTION), row(QUESTION)),
    "question in capitals": ("exact", row(QUESTION), row(QUESTION.upper().replace(" ", "\n"))),
    "answer of eight words": ("exact", row(answer=SAYING), row(answer=SAYING)),
    "answer in capitals": ("exact", row(answer=SAYING), row(answer=f" {SAYING.upper()} ")),
    "answer nearly": ("near", row(words(60), TAIL), row(words(60), NEARLY)),
    "the whole nearly": ("near", row(TAIL + words(2), "yes"), row(NEARLY + words(1), "no")),
    "text nearly": ("near", text(TAIL), text(NEARLY)),
    "the question as text": ("near", text(TAIL), row(TAIL, "yes")),
    "thirteen words": ("ngram", row(f"{words(40)} {HEAD} {words(40)}"), row(f"{words(40)} {HEAD.upper()} {words(40)}")),
    "thirteen words of a text": ("ngram", text(f"{words(40)} {HEAD}"), row(words(50), f"{HEAD} {words(40)}")),
}


@pytest.mark.parametrize(("kind", "one", "other"), LEAKING.values(), ids=LEAKING)
def test_a_row_of_train_that_is_known_from_a_held_out_one_is_found(tmp_path, kind, one, other):
    held, train = [row(), other, row()], [row(), row(), one]
    assert leaks(tmp_path, train, held, [kind]) == {kind: [(2, 1)]}
    assert leaks(tmp_path, held, train, [kind]) == {kind: [(1, 2)]}
    assert leaks(tmp_path, train, held, sorted({*KINDS} - {kind})).get(kind) is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (row(answer=LABEL), row(answer=LABEL)),
        (row(answer="yes"), row(answer="yes")),
        (row(words(60), LABEL + " a"), row(words(60), LABEL)),
        (row(QUESTION, words(30)), row(words(30), QUESTION)),
        (text(QUESTION), text(SAYING)),
        (row(f"{LONG} {words(20)}", "yes"), row(f"{LONG[::-1]} {words(20)}", "yes")),
        (row(f"{words(40)} {' '.join(HEAD.split()[:12])} {words(40)}"),
         row(f"{words(40)} {' '.join(HEAD.split()[:12])} {words(40)}")),
    ],
    ids=["label of seven words", "label", "labels nearly", "question as answer", "texts have no question", "unlike",
         "twelve words"],
)  # fmt: skip
def test_what_is_no_leak_is_not_found(tmp_path, one, other):
    assert leaks(tmp_path, [one, row()], [row(), other]) == {"exact": [], "near": [], "ngram": []}


def test_the_threshold_of_likeness_is_the_jaccard_index_of_word_pairs(tmp_path):
    alike = measure_similarity(TAIL, NEARLY)
    assert leaks(tmp_path, [text(TAIL)], [text(NEARLY)], ["near"], alike)["near"] == [(0, 0)]
    assert leaks(tmp_path, [text(TAIL)], [text(NEARLY)], ["near"], alike + 0.01)["near"] == []


@pytest.mark.parametrize(("rows", "found"), [(FEW_GROUPS - 1, FEW_GROUPS - 1), (FEW_GROUPS, 0)])
def test_a_phrase_that_many_groups_know_is_boilerplate(tmp_path, rows, found):
    train = [row(f"{words(40)} {HEAD}") for _ in range(rows)]
    assert len(leaks(tmp_path, train, [row(f"{HEAD} {words(40)}")])["ngram"]) == found


def test_a_phrase_in_many_rows_of_one_group_is_no_boilerplate(tmp_path):
    train = [row(f"{words(40)} {HEAD}", group="one") for _ in range(30)]
    assert len(leaks(tmp_path, train, [row(f"{HEAD} {words(40)}")])["ngram"]) == 30


def test_the_share_of_the_groups_from_which_a_phrase_is_boilerplate_is_a_param(tmp_path):
    train = [row(f"{words(40)} {HEAD}") for _ in range(19)] + [row() for _ in range(20)]
    held = [row(f"{HEAD} {words(40)}")]
    assert leaks(tmp_path, train, held)["ngram"] == []
    assert len(leaks(tmp_path, train, held, leak_boilerplate_share=0.5)["ngram"]) == 19
    assert leaks(tmp_path, train, held, leak_boilerplate_share=0.45)["ngram"] == []


def test_what_a_share_of_so_many_groups_knows_is_boilerplate_however_many_there_are(tmp_path, monkeypatch):
    train = [row(f"{words(40)} {HEAD}") for _ in range(12)] + [row() for _ in range(40)]
    held = [row(f"{HEAD} {words(40)}")]
    assert len(leaks(tmp_path, train, held, leak_boilerplate_share=0.5)["ngram"]) == 12
    monkeypatch.setattr("tunelock.splitting.boilerplate.SAMPLE_ROWS", 20)
    assert leaks(tmp_path, train, held, leak_boilerplate_share=0.5)["ngram"] == []


def test_the_length_of_a_phrase_is_a_param(tmp_path):
    short = " ".join(HEAD.split()[:8])
    train, held = [row(f"{words(40)} {short} {words(40)}")], [row(f"{words(40)} {short} {words(40)}")]
    assert leaks(tmp_path, train, held, leak_ngram_words=8)["ngram"] == [(0, 0)]
    assert leaks(tmp_path, train, held, leak_ngram_words=9)["ngram"] == []


def test_a_phrase_of_frequent_pieces_is_boilerplate_though_it_is_rare_itself(tmp_path):
    """Each row has a first and a second half of its own choice, and a number that no other has."""
    heads, tails = [words(8) for _ in range(12)], [words(8) for _ in range(12)]
    rows = [row(f"{words(30)} {head} {10 + 7 * n} {tail} {words(30)}")
            for n, (head, tail) in enumerate((a, b) for a in heads for b in tails)]  # fmt: skip
    one = row(f"{words(30)} {heads[0]} 10 {tails[0]} {words(30)}")
    assert leaks(tmp_path, rows, [one])["ngram"] == []
    assert leaks(tmp_path, rows[:2], [one])["ngram"] == [(0, 0)]


def test_a_leak_names_its_words_and_the_held_out_row(tmp_path):
    train, held = [row(), row(f"{words(40)} {HEAD.upper()}")], [row(), row(), row(f"{HEAD}, {words(40)}")]
    found = overlaps(tmp_path, train, held)
    assert found.pairs["ngram"].tolist() == [[1, 4]]
    assert found.phrases == {1: HEAD}


def test_the_words_of_the_users_own_templates_are_no_leak(tmp_path):
    """Whatever rows there are: two of them do not tell what is a template."""
    told = f"{words(20)} {{passage}} {words(20)}"
    one, other = (row(told.replace("{passage}", words(9)), f"{HEAD}: yes") for _ in "ab")
    sources = {"mine": {"path": "x", "columns": {"instruction": told, "response": f"{HEAD}: {{answer}}"}}}
    assert leaks(tmp_path, [one], [other])["ngram"] == [(0, 0)]
    assert leaks(tmp_path, [one], [other], sources=sources) == {"exact": [], "near": [], "ngram": []}
    copy = row(one["messages"][0]["content"] + " too", f"{HEAD}: no")
    assert leaks(tmp_path, [one], [copy], ["near"], sources=sources) == {"near": [(0, 0)]}


# ---- the measure: exam questions that share stems, vital signs and nothing else ------------------

PLACES = ["emergency department", "office", "clinic", "hospital"]
DRAWN = ["Which of the following is the most appropriate next step in the management of this patient?",
         "Which of the following is the most likely diagnosis in this patient at this time?",
         "Which of the following findings on further examination would most strongly support this diagnosis?",
         "Which of the following is the most likely underlying mechanism of the findings in this patient?"]  # fmt: skip


def exam(rng: random.Random) -> dict:
    """A question whose story and options are its own."""
    who, place, days = rng.choice(["man", "woman", "boy", "girl"]), rng.choice(PLACES), rng.randint(2, 9)
    asked = (
        f"A {rng.randint(3, 90)}-year-old {who} comes to the {place} because of {words(2)} for {days} days. "
        f"{words(15)}. "
        f"There is no history of serious illness and the patient takes no medications. {words(9)}. "
        f"The temperature is {rng.randint(360, 400) / 10} C ({rng.randint(960, 1040) / 10} F), pulse is "
        f"{rng.randint(50, 130)}/min, respirations are {rng.randint(10, 30)}/min, and blood pressure is "
        f"{rng.randint(90, 180)}/{rng.randint(50, 110)} mm Hg. Physical examination shows {words(8)}. "
        f"{rng.choice(DRAWN)}"
    )
    return row(f"{asked}\n\n" + "\n".join(f"({letter}) {words(3)}" for letter in "ABCDE"), words(3))


@pytest.mark.parametrize("count", [200, 1000])
def test_boilerplate_drops_few_rows_and_hides_no_planted_leak(tmp_path, count):
    rng = random.Random(0)
    rows = [exam(rng) for _ in range(count)]
    held = [*rows[: count // 5], *(exam(rng) for _ in range(20))]
    planted = []
    for original in held[-20:]:  # a few sentences of a held-out row, amid another row's words
        said = original["messages"][0]["content"].split(". ")
        planted.append(row(f"{words(30)}. {said[1]}. {words(30)}", words(9)))
    train = rows[count // 5 :] + planted
    guilty = {i for i, _ in leaks(tmp_path, train, held, ["ngram"])["ngram"]}
    false = [i for i in guilty if i < len(train) - len(planted)]
    assert len(false) < 0.01 * len(train)
    assert len(guilty) - len(false) == len(planted)


@pytest.mark.parametrize("sizes", [(0, 0), (0, 2), (2, 0)])
def test_where_one_side_is_empty_nothing_leaks(tmp_path, sizes):
    train, held = ([row(QUESTION, SAYING) for _ in range(size)] for size in sizes)
    assert leaks(tmp_path, train, held) == {"exact": [], "near": [], "ngram": []}


def test_nothing_is_looked_for_where_no_kind_is_asked(tmp_path):
    assert leaks(tmp_path, [row(QUESTION)], [row(QUESTION)], []) == {}


# ---- the gate ------------------------------------------------------------------------------------


@pytest.fixture
def gate(tmp_path):
    """Run the gate on these written splits."""

    def gate(kinds=KINDS, common=NO_NGRAMS, **splits: list[dict]):
        for name in SPLITS:
            rows = splits.get(name, [row(group=f"group of {name}")])
            (tmp_path / f"{name}.jsonl").write_bytes(b"".join(map(format_json_line, rows)))
        rules = RULES._replace(decontaminate=kinds)
        return check_splits(tmp_path, tmp_path / "temporary", rules, common, {})

    return gate


def test_clean_splits_pass_the_gate_and_each_row_keeps_its_split(gate):
    known, split = gate(train=[row(), row(group="g"), row(group="g")], test=[row(), row()])
    assert split.tolist() == [0, 0, 0, 1, 2, 2, 3]
    assert len(known.tasks.codes) == 7


@pytest.mark.parametrize("name", SPLITS[1:])
@pytest.mark.parametrize(("kind", "one", "other"), LEAKING.values(), ids=LEAKING)
def test_a_leak_that_is_planted_into_the_written_files_stops(gate, name, kind, one, other):
    one, other = {**one, "group": "one"}, {**other, "group": "other"}
    with pytest.raises(Stop, match=rf"leak: 1 rows of train .* \({kind}\), such as {one['id']}"):
        gate(kinds=[kind], **{"train": [row(), one], name: [row(), other]})


@pytest.mark.parametrize(("one", "other"), [("train", "val"), ("val", "test"), ("test", "golden")])
def test_a_group_in_two_splits_stops(gate, one, other):
    rows = {one: [row(), row(group="shared")], other: [row(group="shared"), row()]}
    with pytest.raises(Stop, match=r"the group of mine-[0-9a-f]{16} is in two splits"):
        gate(kinds=[], **rows)


@pytest.mark.parametrize("spellings", [("Acme Inc", "ACME Inc"), ("Straße", "STRASSE"), ("12.5", "12.50")])
def test_a_group_in_two_splits_stops_whatever_its_spelling(gate, spellings):
    with pytest.raises(Stop, match=r"the group of mine-[0-9a-f]{16} is in two splits"):
        gate(kinds=[], train=[row(), row(group=spellings[0])], test=[row(group=spellings[1]), row()])


@pytest.mark.parametrize(("one", "other"), [("train", "golden"), ("val", "test")])
def test_a_row_in_two_splits_stops(gate, one, other):
    same = row(group="one")
    with pytest.raises(Stop, match=f"the row of {same['id']} is in two splits"):
        gate(kinds=[], **{one: [same], other: [{**same, "group": "other"}]})


@pytest.mark.parametrize("name", SPLITS)
def test_an_empty_split_stops_with_the_remedy(gate, name):
    remedy = {"train": "lower val_ratio or test_ratio", "golden": "set golden_groups, golden_where or golden_ratio"}
    with pytest.raises(Stop, match=f"the {name} split is empty; {remedy.get(name, f'raise {name}_ratio')}"):
        gate(**{name: []})


def test_boilerplate_passes_the_gate(gate):
    rows = {"train": [row(f"{words(40)} {HEAD}")], "test": [row(f"{HEAD} {words(40)}")]}
    with pytest.raises(Stop, match="ngram"):
        gate(**rows)
    gate(**rows, common=hash_ngrams(HEAD))
