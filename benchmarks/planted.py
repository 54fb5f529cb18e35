"""Rows with near-copies of known truth, made of sentences of a catalogue.

`paraphrase` copies a text at one of four strengths: 1 spelling (case, white space, punctuation), 2 a few words
replaced, 3 structure (sentences reordered, half of them kept), 4 wording (synonyms and word order).

`originals` recombines sentences into rows that are distinct by construction: no two rows share more than one
sentence, and in rows of several sentences none makes up more than two fifths of the words.
"""

import random
import re
from collections.abc import Iterable, Iterator
from itertools import combinations

SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
REPLACEMENTS = ("usually", "module", "carefully", "seven", "window", "report", "quickly", "rather", "server", "new")
AROUND = ("Please answer carefully. ", "Note: ", "In short, ", "Here is the question. ")
PAIRS = """product-system attacker-adversary data-information allows-permits use-employ contains-includes
incorrect-wrong user-client code-program ensure-guarantee cause-provoke remote-distant before-prior
sensitive-confidential multiple-several create-produce execute-run access-reach input-entry file-document
application-software vulnerability-flaw weakness-defect protect-shield prevent-avoid modify-alter result-outcome
large-big resource-asset check-test error-fault different-distinct possible-feasible require-need perform-do
unexpected-surprising memory-storage password-passphrase limit-restrict lead-bring provide-supply explain-describe
intended-meant known-familiar identify-find correct-right value-figure function-routine method-technique"""
SYNONYMS = {word: other for pair in PAIRS.split() for word, other in [pair.split("-"), pair.split("-")[::-1]]}


def paraphrase(text: str, strength: int, seed: int) -> str:
    """A near-copy of `text`, of strength 1 to 4 (see the module)."""
    change = {1: respelled, 2: reworded, 3: restructured, 4: rephrased}[strength]
    return change(text, random.Random(f"{seed} {strength}"))


def respelled(text: str, rng: random.Random) -> str:
    """Other case, white space and punctuation; the same words."""
    text = rng.choice([str.upper, str.lower, str.title, str])(text)
    text = rng.choice([" ", "  ", "\n", "\t"]).join(text.split(" "))
    text = rng.choice([lambda t: t.replace(",", ""), lambda t: t.replace(".", " !"), lambda t: f"«{t}»"])(text)
    return rng.choice(["", " ", "\n"]) + text + rng.choice(["", " ", "..."])


def reworded(text: str, rng: random.Random) -> str:
    """One word in twenty-five replaced, left out or added, at least one."""
    words = text.split(" ")
    for _ in range(max(1, round(len(words) / 25))):
        position = rng.randrange(len(words))
        words[position : position + 1] = rng.choice([[rng.choice(REPLACEMENTS)], [], [words[position], "also"]])
    return " ".join(words)


def extended(text: str, rng: random.Random) -> str:
    """A phrase before or after it."""
    phrase = rng.choice(AROUND)
    return phrase + text if rng.random() < 0.5 else f"{text} {phrase.strip()}"


def moved(text: str, rng: random.Random) -> str:
    """One sentence moved to another place."""
    sentences = SENTENCE_END.split(text)
    sentences.insert(rng.randrange(len(sentences)), sentences.pop(rng.randrange(len(sentences))))
    return " ".join(sentences)


def restructured(text: str, rng: random.Random) -> str:
    """All sentences in another order, or half of them (of the words, if there is one sentence)."""
    sentences = SENTENCE_END.split(text)
    if len(sentences) == 1:
        words = text.split(" ")
        half = len(words) // 2
        return " ".join(words[half:] + words[:half] if rng.random() < 0.5 else words[: half + 1])
    rng.shuffle(sentences)
    return " ".join(sentences if rng.random() < 0.5 else sentences[: (len(sentences) + 1) // 2])


def rephrased(text: str, rng: random.Random) -> str:
    """Synonyms wherever one is known, one word in ten swapped with its neighbour, sentences turned at a comma."""
    sentences = []
    for sentence in SENTENCE_END.split(text):
        words = [SYNONYMS.get(word.lower(), word) for word in sentence.split(" ")]
        for _ in range(len(words) // 10):
            position = rng.randrange(len(words) - 1)
            words[position : position + 2] = reversed(words[position : position + 2])
        head, comma, tail = " ".join(words).partition(", ")
        sentences.append(f"{tail} {head}" if comma else head)
    return " ".join(sentences)


COPYISTS = {"spelling": respelled, "words": reworded, "moved": moved, "extended": extended}


def sentences_of(texts: Iterable[str], similar: float = 0.5) -> list[str]:
    """The sentences of 6 to 40 words, leaving out those whose set of words is `similar` to that of an earlier one."""
    kept, by_word = [], {}
    for sentence in dict.fromkeys(part for text in texts for part in SENTENCE_END.split(text)):
        found = frozenset(re.findall(r"\w+", sentence.lower()))
        rarest = sorted(found, key=lambda word: len(by_word.get(word, ())))[: len(found) // 2 + 1]
        rivals = {number for word in rarest for number in by_word.get(word, ())}
        if not 6 <= len(sentence.split()) <= 40 or any(overlap(found, kept[n][1]) >= similar for n in rivals):
            continue
        for word in found:
            by_word.setdefault(word, []).append(len(kept))
        kept.append((sentence, found))
    return [sentence for sentence, _ in kept]


def overlap(left: frozenset, right: frozenset) -> float:
    """Jaccard similarity of two sets."""
    shared = len(left & right)
    return shared / (len(left) + len(right) - shared)


def originals(sentences: list[str], seed: int) -> Iterator[str]:
    """Endless distinct rows of 6 to 200 words: a tenth of the sentences alone, the rest in rows of three to nine."""
    rng = random.Random(seed)
    alone = len(sentences) // 10
    yield from sentences[:alone]
    pool, lengths, together = sentences[alone:], [len(s.split()) for s in sentences[alone:]], set()
    while True:
        chosen = rng.sample(range(len(pool)), rng.choice([3, 3, 4, 4, 5, 6, 7, 9]))
        pairs = set(combinations(sorted(chosen), 2))
        total = sum(lengths[i] for i in chosen)
        if pairs & together or max(lengths[i] for i in chosen) > 0.4 * total or total > 200:
            continue
        together |= pairs
        yield " ".join(pool[i] for i in chosen)


def planted(sentences: list[str], count: int, seed: int) -> Iterator[tuple[str, int]]:
    """Yield `count` shuffled rows as (text, number of the original); three originals in twenty have 1 to 4 copies."""
    rng, rows = random.Random(seed), []
    for number, text in enumerate(originals(sentences, seed)):
        copies = rng.randint(1, 4) if rng.random() < 0.15 else 0
        rows += [(text, number), *((rng.choice([*COPYISTS.values()])(text, rng), number) for _ in range(copies))]
        if len(rows) >= count:
            break
    rows = rows[:count]
    rng.shuffle(rows)
    yield from rows
