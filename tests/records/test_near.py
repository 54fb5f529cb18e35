"""Near-duplicates: what is joined, what is not, in whatever order and process, at what cost."""

import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunelock.records import near
from tunelock.records.near import WIDTH, choose_bands, compute_signatures, find_clusters, find_matches
from tunelock.records.ngrams import measure_similarity

ROOT = Path(__file__).parents[2]
RNG = random.Random(0)
VOCABULARY = [f"word{i}" for i in range(3000)]


def row(length: int = 60) -> str:
    """A text of random words."""
    return " ".join(RNG.choices(VOCABULARY, k=length))


def edited(text: str, edits: int) -> str:
    """The text with some words replaced, spread evenly."""
    words = text.split()
    for place in range(edits):
        words[(2 * place + 1) * len(words) // (2 * edits)] = f"other{place}"
    return " ".join(words)


def partition(texts: list[str], threshold: float = 0.7, exact: bool = True) -> list[int]:
    """The labels of a list of texts."""
    return find_clusters(compute_signatures(texts), threshold, texts.__getitem__ if exact else None).tolist()


def test_identical_and_nearly_identical_texts_are_joined_and_others_are_not():
    text = row()
    texts = [row(), text, row(), text, text.upper().replace(" ", ",\n"), edited(text, 3), row()]
    for exact in True, False:
        assert partition(texts, exact=exact) == [0, 1, 2, 1, 1, 1, 6]


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("", "", True),
        ("Yes.", "yes", True),
        ("yes", "no", False),
        ("!!!", "???", False),
        ("Thank you!", "thank  you", True),
        ("turn left now", "turn right now", False),
        ("", "yes", False),
        ("what is 3 + 4", "what is 3 * 4", False),
        ("今日は天気がいいですね。", "今日は天気がいいですね!", True),
        ("今日は天気がいいですね", "明日から雨になります", False),
        ("half \ud83d", "half \ud83d", True),
    ],
)
def test_short_texts(left, right, same):
    assert partition([left, right]) == [0, 0 if same else 1]


def test_as_many_edits_as_the_threshold_allows_are_found():
    texts = [row() for _ in range(300)]
    copies = [edited(text, 1 + number % 5) for number, text in enumerate(texts)]  # 5 edits of 60 words: 0.71
    labels = partition(texts + copies)
    assert labels[:300] == list(range(300))
    assert sum(label == i for i, label in enumerate(labels[300:])) >= 297


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.5, 0.7, 0.8]))
def test_the_clusters_do_not_depend_on_the_order_of_the_rows(seed, threshold):
    rng = random.Random(seed)
    words = VOCABULARY[:30]
    base = " ".join(rng.choices(words, k=25))
    texts = [edited(base, rng.randint(1, 8)) + " " + rng.choice(words) for _ in range(60)]
    labels = partition(texts, threshold)
    order = rng.sample(range(60), 60)
    shuffled = partition([texts[i] for i in order], threshold)
    groups = lambda found, names: {frozenset(names[i] for i in range(60) if found[i] == g) for g in set(found)}  # noqa: E731
    assert groups(labels, range(60)) == groups(shuffled, order)
    assert all(labels[i] == min(j for j in range(60) if labels[j] == labels[i]) for i in range(60))


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.9])
def test_every_member_of_a_cluster_has_a_neighbour_at_the_threshold(threshold):
    base = row(40)
    texts = [edited(base, number % 12 + 1) + f" tail{number % 7}" for number in range(150)] + [row(40)] * 2
    labels = partition(texts, threshold)
    assert 1 < len(set(labels)) < 150
    for label in set(labels):
        members = [texts[i] for i in range(len(texts)) if labels[i] == label]
        reached, left = members[:1], members[1:]
        while grown := [m for m in left if any(measure_similarity(m, r) >= threshold for r in reached)]:
            reached, left = reached + grown, [m for m in left if m not in grown]
        assert not left


@pytest.mark.parametrize("distinct", [1, 20_000])
def test_a_huge_bucket_takes_about_as_many_comparisons_as_it_has_rows(distinct, monkeypatch):
    calls = []
    real = near.compute_jaccard
    monkeypatch.setattr(near, "compute_jaccard", lambda left, right: calls.append(1) or real(left, right))
    base = row(80)
    texts = [f"{base} {number % distinct}" for number in range(20_000)]
    assert set(partition(texts)) == {0}
    assert len(calls) <= 2 * distinct


def test_two_families_in_one_bucket_are_both_found():
    head, one, two = row(60), row(20), row(20)
    texts = [f"{head} {tail} {number}" for number in range(300) for tail in (one, two)]
    assert measure_similarity(texts[0], texts[1]) < 0.8 < measure_similarity(texts[0], texts[2])
    assert partition(texts, 0.8) == [0, 1] * 300


def test_a_signature_depends_on_the_text_alone(monkeypatch):
    texts = ["", "one", *(row(length) for length in range(2, 60))]
    whole = compute_signatures(texts)
    assert whole.shape == (60, WIDTH)
    assert whole.dtype == np.uint16
    assert (np.concatenate([compute_signatures(texts[i : i + 7]) for i in range(0, 60, 7)]) == whole).all()
    monkeypatch.setattr(near, "BLOCK", 13)
    assert (compute_signatures(iter(texts)) == whole).all()
    assert compute_signatures([]).shape == (0, WIDTH)


def test_a_signature_is_the_same_in_every_process_and_in_forked_workers():
    code = (
        "import hashlib, multiprocessing; from tunelock.records.near import compute_signatures\n"
        "texts = [' '.join(map(str, range(i % 90))) for i in range(20_000)]; own = compute_signatures(texts)\n"
        "pool = multiprocessing.get_context('fork').Pool(2)\n"
        "forked = pool.map_async(compute_signatures, [texts] * 2).get(20)\n"
        "assert all((own == found).all() for found in forked); print(hashlib.sha256(own.tobytes()).hexdigest())"
    )
    outs = set()
    for seed in "1", "2":
        env = {"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT), "RAYON_NUM_THREADS": "4"}
        outs.add(
            subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout
        )
    assert len(outs) == 1


def test_estimates_are_close_to_the_similarity():
    base = row(200)
    texts = [base, *(edited(base, edits) for edits in range(1, 60))]
    found = compute_signatures(texts)
    zero, others = np.zeros(59, dtype=int), np.arange(1, 60)
    errors = near.estimate_similarities(found, zero, found, others) - [
        measure_similarity(base, text) for text in texts[1:]
    ]
    assert abs(errors).max() < near.MARGIN + 0.02
    assert abs(errors.mean()) < 0.05


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0])
def test_bands_find_a_pair_at_the_threshold(threshold):
    count, size = choose_bands(threshold)
    assert count * size <= near.NUM_PERM
    assert 1 - (1 - threshold**size) ** count >= near.RECALL


def test_matches_give_each_row_its_nearest_of_the_other_set():
    held = [row() for _ in range(50)] + ["short answer"] * 30
    train = [row(), edited(held[7], 2), held[3].upper(), row(), "Short answer!", edited(held[9], 30)]
    exact = lambda i, j: measure_similarity(train[i], held[j])  # noqa: E731
    for verify in exact, None:
        found = find_matches(compute_signatures(train), compute_signatures(held), 0.7, verify)
        assert found.tolist() == [[1, 7], [2, 3], [4, 50]]


def test_matches_prefer_the_most_similar_and_respect_the_threshold():
    base = row()
    held = [edited(base, edits) for edits in (6, 5, 4, 2, 3)]
    train = [base, edited(base, 20)]
    for threshold in 0.5, 0.7, 0.8:
        found = find_matches(
            compute_signatures(train),
            compute_signatures(held),
            threshold,
            lambda i, j: measure_similarity(train[i], held[j]),
        )
        assert found.tolist() == [[0, 3]]


def test_no_rows():
    none, one = compute_signatures([]), compute_signatures(["one"])
    assert find_clusters(none, 0.7).tolist() == []
    assert find_clusters(one, 0.7).tolist() == [0]
    assert [find_matches(a, b, 0.7).tolist() for a, b in [(none, one), (one, none), (none, none)]] == [[], [], []]


def test_the_signatures_may_lie_in_a_file(tmp_path):
    texts = [row() for _ in range(200)] * 2
    stored = np.lib.format.open_memmap(tmp_path / "signatures.npy", "w+", np.uint16, (400, WIDTH))
    stored[:] = compute_signatures(texts)
    assert find_clusters(stored, 0.7, texts.__getitem__).tolist() == list(range(200)) * 2
