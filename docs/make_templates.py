"""Write docs/chat-templates.md: what each chat template that ships with TRL can say here.

python -m docs.make_templates
"""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import trl
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from tests.walls import ROOT
from tunelock.records.record import Message, add_tools, make_messages
from tunelock.rendering.rendering import RenderedRow, Rendering, render_records
from tunelock.run.errors import Stop

PAGE = ROOT / "docs/chat-templates.md"
TEMPLATES = sorted((Path(trl.__file__).parent / "chat_templates").glob("*.jinja"))
_CONTROL = re.compile(r"<\|\w+\|?>|<\w+\|>|<｜[^｜]+｜>|\[gMASK\]|<sop>|<\w+_of_\w+>")
_BOUNDS = {"bos_token": "<s>", "eos_token": "</s>"}
HEAD = """# Chat templates

What the chat templates that ship with TRL can say here; `make docs` tries each and writes this page. A number says how
many answers of a conversation are learnt. The others are read as context: the template writes earlier turns otherwise
than the model would be asked for them and answer. The last three columns have two turns with reasoning, by `thinking`
([methods](methods.md)).

| template | one turn | two turns | system | tool call, answer | `none` | `keep` | `empty` |
|---|---|---|---|---|---|---|---|
"""


class Case(NamedTuple):
    """A conversation, and how its reasoning is rendered."""

    messages: list[Message]
    thinking: str = "none"

    def make_record(self) -> dict[str, Any]:
        """The conversation as a record."""
        return {"id": "r-0000000000000001", "messages": self.messages, "file": "data/raw/a.jsonl", "line": 1}

    def count_answers(self) -> int:
        """How many answers it has."""
        return sum(message["role"] == "assistant" for message in self.messages)


def _list_cases() -> dict[str, Case]:
    """The columns of the table."""
    one, two = make_messages("Does it rain?", "", "It is dry."), make_messages("And now?", "", "Still dry.")
    function = {"name": "get_weather", "description": "Tell the weather.", "parameters": {"type": "object"}}
    call = {"name": "get_weather", "arguments": '{"city": "Paris"}', "id": "call00001"}
    calling: list[Message] = [
        one[0],
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": '{"rain": "no"}', "name": "get_weather", "tool_call_id": "call00001"},
        one[1],
    ]
    thoughtful = [*one, *two]
    for place in (1, 3):
        thoughtful[place] = {**thoughtful[place], "reasoning": "Look at the sky."}
    return {
        "one": Case(one),
        "two": Case([*one, *two]),
        "system": Case([{"role": "system", "content": "Be brief."}, *one]),
        "tools": Case(add_tools(calling, json.dumps([{"type": "function", "function": function}]))),
        "none": Case(thoughtful),
        "keep": Case(thoughtful, "keep"),
        "empty": Case(thoughtful, "empty"),
    }


CASES = _list_cases()


def build_tokenizer(template: str) -> PreTrainedTokenizerBase:
    """A tokenizer of single bytes with a chat template and the control tokens that stand in it."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bare = Tokenizer(models.BPE({letter: number for number, letter in enumerate(alphabet)}, []))
    bare.pre_tokenizer, bare.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    made = PreTrainedTokenizerFast(tokenizer_object=bare, clean_up_tokenization_spaces=False)
    controls = sorted(set(_CONTROL.findall(template)) - set(_BOUNDS.values()))
    made.add_special_tokens({**_BOUNDS, "extra_special_tokens": controls})
    made.chat_template = template
    return made


class Survey(NamedTuple):
    """A template, a tokenizer with it, and of each case the row or the refusal."""

    name: str
    tokenizer: PreTrainedTokenizerBase
    found: dict[str, RenderedRow | Stop]


def survey_templates() -> Iterator[Survey]:
    """Each template of TRL."""
    for file in TEMPLATES:
        tokenizer = build_tokenizer(file.read_text(encoding="utf-8"))
        yield Survey(file.stem, tokenizer, {name: _try_case(tokenizer, case) for name, case in CASES.items()})


def _try_case(tokenizer: PreTrainedTokenizerBase, case: Case) -> RenderedRow | Stop:
    try:
        return render_records(tokenizer, [case.make_record()], Rendering(4096, thinking=case.thinking)).rows[0]
    except Stop as refusal:
        return refusal


def make_page(surveys: Iterable[Survey]) -> str:
    """The page as Markdown: a line a template, and below them each sentence of a refusal."""
    lines: list[str] = []
    refusals: dict[str, int] = {}
    for name, _, found in surveys:
        cells = []
        for case, row in found.items():
            if isinstance(row, Stop):
                cells.append(f"no ({refusals.setdefault(str(row), len(refusals) + 1)})")
            else:
                cells.append(str(CASES[case].count_answers() - row["answers_not_learnt"]))
        lines.append(f"| {name} | {' | '.join(cells)} |\n")
    notes = [f"{number}. {sentence}\n" for sentence, number in refusals.items()]
    return f"{HEAD}{''.join(lines)}\nWhy not:\n\n{''.join(notes)}"


def write_page() -> None:
    """Make the page from the templates as they are."""
    PAGE.write_text(make_page(survey_templates()), encoding="utf-8")


if __name__ == "__main__":
    write_page()
