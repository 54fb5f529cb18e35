"""Multiple choice by log-likelihood: which of the options that a question lists does the model expect as its answer?"""

import re
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from tunelock.records.record import Message, replace_answer
from tunelock.rendering.conversation import IGNORE, render_messages


class Choice(NamedTuple):
    """The options that a question lists, and the place of the reference among them."""

    options: list[str]
    right: int


def list_options(messages: list[Message], pattern: str) -> list[str]:
    """The options in the last question of a conversation: what `pattern` finds in each of its lines, once each.

    Of a pattern with a group it is the group's text, else all that matches. Nothing but spaces is no option: without
    tokens its loss would be 0, and it would win.
    """
    asked = [message["content"] for message in messages if message["role"] == "user"]
    found = (re.search(pattern, line) for line in asked[-1].splitlines()) if asked else ()
    texts = ((match[match.re.groups and 1] or "").strip() for match in found if match)
    return list(dict.fromkeys(filter(None, texts)))


def find_choice(messages: list[Message], pattern: str | None) -> Choice | None:
    """The options of a conversation's last question with its answer among them.

    None where there are fewer than two, where the answer is none of them, or without a pattern.
    """
    if pattern is None:
        return None
    options, reference = list_options(messages, pattern), messages[-1]["content"].strip()
    return Choice(options, options.index(reference)) if len(options) > 1 and reference in options else None


def render_option(tokenizer: PreTrainedTokenizerBase, messages: list[Message], option: str, thinking: str) -> dict:
    """The conversation answered by an option, as input_ids and labels: the option's tokens, without the end token.

    So its loss is minus the log-likelihood that lm-evaluation-harness gives a continuation of the prompt
    (https://github.com/EleutherAI/lm-evaluation-harness, `loglikelihood`).
    """
    rendered = render_messages(tokenizer, replace_answer(messages, option), thinking)
    end = max(place for place, label in enumerate(rendered.labels) if label != IGNORE)
    ids, first = rendered.input_ids[:end], rendered.prompt_length
    return {"input_ids": ids, "labels": [IGNORE] * first + ids[first:]}
