"""Whether the labels of rendered rows are the answers of their records: what is learnt is what was meant."""

import itertools
import sys
from collections import Counter
from collections.abc import Iterable, Sequence

from transformers import PreTrainedTokenizerBase

from tunelock.records.record import Message, Record, find_tools, is_learnt, is_text
from tunelock.rendering.controls import compile_control_pattern
from tunelock.rendering.conversation import IGNORE
from tunelock.rendering.rendering import RenderedRow, Rendering, select_messages
from tunelock.rendering.row_text import holds_calls


def find_mislabelled(
    tokenizer: PreTrainedTokenizerBase, records: list[Record], rows: list[RenderedRow], rendering: Rendering
) -> list[str]:
    """The ids of rows whose labels, decoded, are not the answers with their end tokens, no more and no less.

    White space does not count: templates trim it, and some tokenizers put some before a text. Of an answer that calls
    tools, whose syntax is the template's, the names and arguments must stand before the end token. Where the model is
    asked to think, or chooses between a call and an answer, what opens the answer may stand before it.
    """
    by_id = {record["id"]: record for record in records}
    found = []
    for row in rows:
        record = by_id[row["id"]]
        runs = list(map(tokenizer.decode, _list_learnt_runs(row["labels"])))
        messages = select_messages(tokenizer, record, rendering)
        learnt, plain = list(filter(is_learnt, messages)), rendering.thinking == "none" and not find_tools(messages)
        if is_text(record):
            right = [_drop_space(run) for run in runs] == [_drop_space(learnt[0]["content"] + tokenizer.eos_token)]
        else:
            answers = [_cut_end(tokenizer, run) for run in runs]
            right = _are_answers(answers, learnt, row["answers_not_learnt"], plain)
        if not right:
            found.append(row["id"])
    return found


def _list_learnt_runs(labels: list[int]) -> list[list[int]]:
    """The tokens of each stretch that is learnt."""
    return [list(run) for is_learnt_run, run in itertools.groupby(labels, IGNORE.__ne__) if is_learnt_run]


def _cut_end(tokenizer: PreTrainedTokenizerBase, run: str) -> str | None:
    """What stands before the control token that a stretch ends with; None where it ends with none."""
    ends = list(compile_control_pattern(tokenizer).finditer(run))
    return run[: ends[-1].start()] if ends and not run[ends[-1].end() :].strip() else None


def _are_answers(answers: list[str | None], learnt: list[Message], missing: int, plain: bool) -> bool:
    """Whether these texts are these answers in their order, of which so many are missing, but never the last."""
    if not answers or len(answers) + missing != len(learnt) or not _is_answer(answers[-1], learnt[-1], plain):
        return False
    waiting = list(learnt)
    for answer in answers:
        while waiting and not _is_answer(answer, waiting[0], plain):
            del waiting[0]
        if not waiting:
            return False
        del waiting[0]
    return True


def _is_answer(text: str | None, message: Message, plain: bool) -> bool:
    if text is None:
        return False
    if "tool_calls" in message:
        return holds_calls(text, message)
    text, said = _drop_space(text), _drop_space(message["content"])
    return text == said if plain else text.endswith(said) and _drop_space(message.get("reasoning", "")) in text


def _drop_space(text: str) -> str:
    return "".join(text.split())


def find_unused_tokens(
    tokenizer: PreTrainedTokenizerBase, ids: Iterable[int], rows: Iterable[RenderedRow]
) -> list[str]:
    """Those of some tokens that stand in no row, so that training could not teach what they mean."""
    unused = dict.fromkeys(ids)
    for row in rows:
        if not unused:
            break
        for token in unused.keys() & set(row["input_ids"]):
            del unused[token]
    return tokenizer.convert_ids_to_tokens(list(unused))


def print_plain_controls(tokenizer: PreTrainedTokenizerBase, name: str, rows: Sequence[RenderedRow]) -> None:
    """Say on stderr which control strings the answers of `name` have, for they are learnt as plain text."""
    found, pattern = Counter[str](), compile_control_pattern(tokenizer)
    for row in rows:
        if row["controls"]:
            labels = [label for label in row["labels"] if label != IGNORE]
            found.update(set(pattern.findall(tokenizer.decode(labels, skip_special_tokens=True))))
    if found:
        counts = ", ".join(f"{token} ({count} rows)" for token, count in found.most_common())
        print(
            f"{name}: answers have control strings, which are learnt as plain text: {counts}; one that the chat "
            "template does not write becomes a token where extra_special_tokens names it",
            file=sys.stderr,
        )
