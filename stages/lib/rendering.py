"""From a record to tokens and labels: the one chat rendering of pilot, train, evaluate, chat and package."""

import functools
import itertools
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from stages.lib.errors import Stop
from stages.lib.records import turns

IGNORE = -100  # torch.nn.CrossEntropyLoss(ignore_index) and every Hugging Face collator
STAND_IN = "\ue000"  # a private-use character: no template and no vocabulary gives it a meaning


class Rendered(NamedTuple):
    """One conversation as tokens.

    `labels` has the length of `input_ids` and is `IGNORE` outside the answer and its end token;
    `input_ids[:prompt_length]` is the prompt that generation starts from; `controls` counts control strings
    that stood in the texts and were encoded as plain text.
    """

    input_ids: list[int]
    labels: list[int]
    prompt_length: int
    controls: int


def load_tokenizer(folder: Path | str) -> PreTrainedTokenizerBase:
    """The tokenizer of a model folder on disk."""
    return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def conversation(record: dict, system_prompt: str | None = None) -> list[dict]:
    """The chat messages of a record; `system_prompt` goes first where the record has no system message of its own."""
    messages = record["messages"]
    if not system_prompt or messages[0]["role"] in ("system", "text"):
        return messages
    return [{"role": "system", "content": system_prompt}, *messages]


def render(tokenizer: PreTrainedTokenizerBase, messages: list[dict]) -> Rendered:
    """Render a conversation that ends with the assistant's answer, or a raw text.

    All answers of the assistant are supervised, each with its end token; of a raw text, everything is.

    Raises:
        Stop: the tokenizer has no chat template, or the template leaves a message out, or does not put an answer, as
            it is, behind the generation prompt and a control token behind the answer.
    """
    if messages[0]["role"] == "text":
        return render_text(tokenizer, messages[0]["content"])
    text = template(tokenizer, messages)
    for message in messages:
        if message["content"].strip() not in text:
            raise Stop(
                f"the chat template leaves out the message of the role '{message['role']}'; use another template."
            )
    shadow, controls = shadow_of(tokenizer, messages, text)
    input_ids, starts, ends = encode(tokenizer, text, shadow)
    labels, first = [IGNORE] * len(input_ids), 0
    for begin, end in answer_spans(tokenizer, messages, text, shadow):
        first = sum(position <= begin for position in ends)
        last = sum(position < end for position in starts)
        if starts[first] != begin:
            raise Stop("a token straddles the end of the prompt and the answer; this template needs a separator there.")
        labels[first:last] = input_ids[first:last]
    return Rendered(input_ids, labels, first, controls)


def answer_spans(
    tokenizer: PreTrainedTokenizerBase, messages: list[dict], text: str, shadow: str
) -> list[tuple[int, int]]:
    """Where in `text` each answer starts and its end token ends."""
    spans = []
    for turn, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        prompt, answer = template(tokenizer, messages[:turn], generation=True), message["content"]
        if not text.startswith(prompt + answer):
            raise Stop(f"the chat template does not render answer {turn} right behind its generation prompt; mend it.")
        end = control_pattern(tokenizer).match(shadow, len(prompt + answer))
        if not end:
            raise Stop(
                "the chat template puts no control token behind the answer, so the model would never learn to stop."
            )
        spans.append((len(prompt), end.end()))
    return spans


def render_text(tokenizer: PreTrainedTokenizerBase, text: str) -> Rendered:
    """A raw text and the tokenizer's end-of-sequence token, all of it supervised; no template takes part."""
    if tokenizer.eos_token_id is None:
        raise Stop("the base model's tokenizer has no end-of-sequence token, so texts would have no end; set one.")
    pattern = control_pattern(tokenizer)
    shadow = pattern.sub(lambda found: STAND_IN * len(found[0]), text)
    input_ids = [*encode(tokenizer, text, shadow)[0], tokenizer.eos_token_id]
    return Rendered(input_ids, list(input_ids), 0, len(pattern.findall(text)))


def render_prompt(tokenizer: PreTrainedTokenizerBase, messages: list[dict]) -> list[int]:
    """The tokens of a conversation that waits for the assistant's answer."""
    text = template(tokenizer, messages, generation=True)
    shadow, _ = shadow_of(tokenizer, messages, text, generation=True)
    return encode(tokenizer, text, shadow)[0]


def end_token_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """The control token that ends the assistant's turn in this template, where generation stops."""
    rendered = render(tokenizer, turns("a", "", "b"))
    return [label for label in rendered.labels if label != IGNORE][-1]


def fit(
    tokenizer: PreTrainedTokenizerBase, records: Iterable[dict], system_prompt: str | None, max_length: int
) -> tuple[list[dict], list[dict]]:
    """Render records into rows with id, input_ids and labels; those above `max_length` tokens come second.

    Nothing is truncated: an answer without its end would teach the model not to stop.
    """
    fitting, too_long = [], []
    for record in records:
        rendered = render(tokenizer, conversation(record, system_prompt))
        row = {"id": record["id"], **rendered._asdict()}
        (fitting if len(rendered.input_ids) <= max_length else too_long).append(row)
    return fitting, too_long


def template(tokenizer: PreTrainedTokenizerBase, messages: list[dict], generation: bool = False) -> str:
    """The chat template's text, before tokenising."""
    if not tokenizer.chat_template:
        raise Stop("the base model's tokenizer has no chat template; use an instruct model.")
    return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=generation)


@functools.lru_cache(maxsize=4)
def control_pattern(tokenizer: PreTrainedTokenizerBase) -> re.Pattern:
    """Matches the strings that the tokenizer turns into control tokens."""
    special = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    special |= set(tokenizer.all_special_tokens)
    return re.compile("|".join(re.escape(token) for token in sorted(special, key=len, reverse=True)))


def shadow_of(
    tokenizer: PreTrainedTokenizerBase, messages: list[dict], text: str, generation: bool = False
) -> tuple[str, int]:
    """`text` with the control strings of the messages blotted out, and how many there were.

    What still looks like a control string in the shadow is the template's own.
    """
    pattern = control_pattern(tokenizer)
    count = sum(len(pattern.findall(message["content"])) for message in messages)
    if not count:
        return text, 0
    blotted = [
        {**message, "content": pattern.sub(lambda found: STAND_IN * len(found[0]), message["content"])}
        for message in messages
    ]
    return template(tokenizer, blotted, generation), count


def encode(tokenizer: PreTrainedTokenizerBase, text: str, shadow: str) -> tuple[list[int], list[int], list[int]]:
    """Tokenise `text`; only what is a control string in `shadow` becomes a control token.

    Returns:
        The token ids, and for each the character positions in `text` where it starts and ends.
    """
    if shadow == text:
        pieces = [(0, len(text), False)]
    else:
        cuts = [
            0,
            *(place for found in control_pattern(tokenizer).finditer(shadow) for place in found.span()),
            len(text),
        ]
        pieces = [(start, stop, number % 2 == 0) for number, (start, stop) in enumerate(itertools.pairwise(cuts))]
    ids, starts, ends = [], [], []
    for start, stop, plain in pieces:
        tokenizer.backend_tokenizer.encode_special_tokens = plain
        piece = tokenizer.backend_tokenizer.encode(text[start:stop], add_special_tokens=False)
        ids += piece.ids
        starts += [start + a for a, _ in piece.offsets]
        ends += [start + b for _, b in piece.offsets]
    tokenizer.backend_tokenizer.encode_special_tokens = False
    return ids, starts, ends
