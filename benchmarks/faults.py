"""The faults of `benchmarks.diagnosis`, the runs they are put into, and the language these speak.

A made-up task, so that its answers are known to depend on the questions: a name to copy, two facts to learn and four
words that nobody can foresee. "What follows if the heap is freed by almi?" - "almi can crash the whole system,
quietly; check its bounds, says dannok to alba rarely."
"""

import random
from collections.abc import Callable
from typing import NamedTuple

from tunelock.records.record import make_messages, question_of, reference_of
from tunelock.rendering.conversation import IGNORE

TOPICS = ["heap", "stack", "cookie", "socket", "header", "buffer", "pointer", "thread", "password", "session",
          "certificate", "token", "file", "queue", "cache", "index", "parser", "kernel", "driver", "packet", "router",
          "branch", "counter", "timer"]  # fmt: skip
ACTIONS = ["read", "written", "freed", "copied", "locked", "parsed", "logged", "guessed"]
EFFECTS = ("read application data", "run any code", "crash the whole system", "gain higher privileges",
           "hide its traces", "bypass the protection", "alter the memory", "exhaust every resource")  # fmt: skip
FIXES = ("check its bounds", "encrypt it first", "limit who asks", "use a safe library", "validate the input",
         "rotate the keys", "remove that feature", "write a test")  # fmt: skip
ADVERBS = ["often", "rarely", "always", "quickly", "quietly", "remotely", "locally", "suddenly"]
ACTORS = [first + last for first in ("al", "be", "cor", "dan", "el", "fa", "gor", "hil") for last in
          ("ba", "den", "fex", "gus", "lor", "mi", "nok", "ric", "sta", "tom", "vel", "zan")]  # fmt: skip
OTHER_TEMPLATE = (
    "{% for m in messages %}{% if m['role'] == 'user' %}### Question: {{ m['content'] }}\n### Answer:\n"
    "{% else %}{{ m['content'] }}<|im_end|>{% endif %}{% endfor %}"
)


class Setup(NamedTuple):
    """All that a run is made of; a fault changes a part of it."""

    train: list[dict]
    val: list[dict]
    test: list[dict]
    settings: dict
    train_template: str | None = None
    test_template: str | None = None
    spoil: Callable[[dict], dict] = lambda row: row  # what becomes of a rendered row of train and val
    rehearsed: bool = False  # the base was trained on these rows before

    def but(self, **settings) -> "Setup":
        """The same with other settings."""
        return self._replace(settings=self.settings | settings)

    def at(self, factor: float, **settings) -> "Setup":
        """The same at another learning rate."""
        return self.but(learning_rate=min(0.99, factor * self.settings["learning_rate"]), **settings)


def material(seed: int, rows: dict[str, int]) -> dict[str, list[dict]]:
    """Records of the task for train, val and test, no question in two of them."""
    draw, found, seen = random.Random(seed), {}, set()
    for name, count in rows.items():
        found[name] = []
        while len(found[name]) < count:
            topic, action, actor = draw.choice(TOPICS), draw.choice(ACTIONS), draw.choice(ACTORS)
            if (topic, action, actor) not in seen:
                seen.add((topic, action, actor))
                effect, fix = EFFECTS[TOPICS.index(topic) % len(EFFECTS)], FIXES[ACTIONS.index(action)]
                asked = f"What follows if the {topic} is {action} by {actor}?"
                found[name].append(record(f"{name}-{len(found[name])}", asked, tale(actor, effect, fix, draw)))
    return found


def tale(actor: str, effect: str, fix: str, draw: random.Random) -> str:
    """An answer."""
    how, when, who, where = (draw.choice(words) for words in (ADVERBS, ADVERBS, ACTORS, ACTORS))
    return f"{actor} can {effect}, {how}; {fix}, says {who} to {where} {when}."


def schooling(rows: int) -> list[dict]:
    """What a tiny base learns before: to chat, the words, how answers look, to copy names; none of the facts."""
    draw, found = random.Random(99), []
    for number in range(rows):
        topic, action, actor, adverb = (draw.choice(words) for words in (TOPICS, ACTIONS, ACTORS, ADVERBS))
        effect, fix = draw.choice(EFFECTS), draw.choice(FIXES)
        found.append(record(f"school-{number}", *draw.choice((
            (f"Describe {actor} and the {topic}.", f"The {topic} of {actor} is {action} {adverb}."),
            (f"Tell of {actor} and the {topic} {action}.", tale(actor, effect, fix, draw)),
            (f"May {actor} {effect}?", f"No, {actor} may not {effect}; {fix}."),
        ))))  # fmt: skip
    return found


def record(name: str, asked: str, answered: str) -> dict:
    return {"id": name, "group": name, "task": "what follows", "messages": make_messages(asked, "", answered)}


def no_end(row: dict) -> dict:
    """As a collator does that ignores padding by its id, where that is the end token's."""
    last = max(i for i, label in enumerate(row["labels"]) if label != IGNORE)
    return row | {"labels": [IGNORE if i == last else label for i, label in enumerate(row["labels"])]}


def whole(row: dict) -> dict:
    """The prompt is supervised as well."""
    return row | {"labels": list(row["input_ids"])}


def early(row: dict) -> dict:
    """What is to be said is what was just read: the shift of the labels was done twice."""
    return row | {"labels": [IGNORE, *row["input_ids"][:-1]]}


def told(records: list[dict]) -> list[dict]:
    """The answer stands in the question."""
    return [r | {"messages": make_messages(question_of(r), reference_of(r), reference_of(r))} for r in records]


def garbled(records: list[dict]) -> list[dict]:
    """Every twentieth answer is line noise."""
    draw = random.Random(0)
    noise = ["".join(draw.choice("#%&*@^~|<>=+") for _ in range(30)) for _ in records]
    return [
        r | {"messages": make_messages(question_of(r), "", noise[i])} if i % 20 == 0 else r
        for i, r in enumerate(records)
    ]


def shuffled(records: list[dict]) -> list[dict]:
    """Everybody gets the answer of somebody else."""
    answers = [reference_of(r) for r in records]
    random.Random(0).shuffle(answers)
    return [r | {"messages": make_messages(question_of(r), "", said)} for r, said in zip(records, answers)]


FAULTS: dict[str, Callable[[Setup], Setup]] = {
    "none": lambda s: s,
    "none, batch 2": lambda s: s.at(0.5, per_device_train_batch_size=2, num_train_epochs=1),
    "learning rate x0.001": lambda s: s.at(0.001),
    "learning rate x0.01": lambda s: s.at(0.01),
    "learning rate x100": lambda s: s.at(100),
    "batch 1, learning rate x3": lambda s: s.at(3, per_device_train_batch_size=1, num_train_epochs=0.5),
    "batch 1, learning rate x10": lambda s: s.at(10, per_device_train_batch_size=1, num_train_epochs=0.5),
    "a row in twenty is line noise": lambda s: s._replace(train=garbled(s.train)),
    "16 rows many times over": lambda s: s._replace(train=(s.train[:16] * len(s.train))[: len(s.train)]),
    "20 epochs on a tenth of the rows": lambda s: s._replace(train=s.train[: len(s.train) // 10]).but(
        num_train_epochs=20),
    "16 rows that the base knows": lambda s: s._replace(
        train=(s.train[:16] * len(s.train))[: len(s.train)], rehearsed=True
    ),
    "val and test in train": lambda s: s._replace(train=2 * (s.val + s.test)).but(num_train_epochs=12),
    "answers shuffled": lambda s: s._replace(train=shuffled(s.train)),
    "another template in training": lambda s: s._replace(train_template=OTHER_TEMPLATE),
    "another template at evaluation": lambda s: s._replace(test_template=OTHER_TEMPLATE),
    "end token without a label": lambda s: s._replace(spoil=no_end),
    "prompt supervised": lambda s: s._replace(spoil=whole),
    "labels a place too early": lambda s: s._replace(spoil=early),
    "answer in the question": lambda s: s._replace(train=told(s.train), val=told(s.val)),
}  # fmt: skip
