"""From a record to tokens and labels: the one chat rendering of pilot, train, evaluate, chat and package."""

import bisect
import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, NotRequired, TypedDict, cast

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from tunelock.records.record import Message, count_turns, is_learnt, keep_last_turns, keep_learnt_part, make_messages
from tunelock.rendering.encoding import (
    apply_template,
    blot_controls,
    compile_control_pattern,
    encode_text,
    hide_controls,
)
from tunelock.run.errors import Stop

IGNORE = -100  # torch.nn.CrossEntropyLoss(ignore_index) and every Hugging Face collator

RENDERING_PARAMS = ("system_prompt", "max_length", "max_turns")


@dataclass(frozen=True, slots=True)
class Rendering:
    """How records become tokens, by the params of the same names.

    Attributes:
        max_length: the most tokens of a row; longer ones are left out whole.
        system_prompt: goes first where a record has no system message of its own.
        max_turns: keeps the last questions of a long conversation; None keeps all.
    """

    max_length: int
    system_prompt: str | None = None
    max_turns: int | None = None

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> "Rendering":
        """Pick the three out of all the params."""
        return cls(**{key: params[key] for key in RENDERING_PARAMS})


class RenderedRow(TypedDict):
    """A record as tokens: the fields of `Rendered`, with the record's id and how many questions `max_turns` cost it.

    `weight` is what the loss of the row is multiplied by, absent for 1.
    """

    id: str
    input_ids: list[int]
    labels: list[int]
    prompt_length: int
    controls: int
    turns_left_out: int
    weight: NotRequired[float]


class RenderedRecords(NamedTuple):
    """The rows that fit into `max_length`, and those that do not; both in the order of their records."""

    rows: list[RenderedRow]
    too_long: list[RenderedRow]


class Rendered(NamedTuple):
    """One conversation as tokens.

    `labels` has the length of `input_ids` and is `IGNORE` outside the answers that are learnt from and their end
    tokens; `input_ids[:prompt_length]` is the prompt of the last of them, which generation starts from; `controls`
    counts control strings that stood in the texts and were encoded as plain text.
    """

    input_ids: list[int]
    labels: list[int]
    prompt_length: int
    controls: int


def load_tokenizer(folder: Path | str) -> PreTrainedTokenizerBase:
    """The tokenizer of a model folder on disk."""
    return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def select_messages(record: Mapping[str, Any], rendering: Rendering) -> list[Message]:
    """The chat messages of a record up to the last answer that is learnt from, with the system prompt first."""
    messages = keep_last_turns(keep_learnt_part(record["messages"]), rendering.max_turns)
    if not rendering.system_prompt or messages[0]["role"] in ("system", "text"):
        return messages
    return [{"role": "system", "content": rendering.system_prompt}, *messages]


def render_messages(tokenizer: PreTrainedTokenizerBase, messages: list[Message]) -> Rendered:
    """Render a conversation that ends with the assistant's answer, or a raw text.

    The answers of the assistant are supervised, each with its end token, but for those of weight 0; of a raw text,
    everything is.

    Raises:
        Stop: the tokenizer has no chat template, or the template leaves a message out, or does not put an answer, as
            it is, behind the generation prompt and a control token behind the answer.
    """
    if messages[0]["role"] == "text":
        return _render_text(tokenizer, messages[0]["content"])
    text = apply_template(tokenizer, messages)
    for message in messages:
        if message["content"].strip() not in text:
            raise Stop(
                f"the chat template leaves out the message of the role '{message['role']}'; use another template."
            )
    shadow, controls = hide_controls(tokenizer, messages, text)
    input_ids, starts, ends = encode_text(tokenizer, text, shadow)
    labels, first = [IGNORE] * len(input_ids), 0
    for begin, end in find_answer_spans(tokenizer, messages, text, shadow):
        first, last = bisect.bisect_right(ends, begin), bisect.bisect_left(starts, end)
        if starts[first] != begin:
            raise Stop("a token straddles the end of the prompt and the answer; this template needs a separator there.")
        labels[first:last] = input_ids[first:last]
    return Rendered(input_ids, labels, first, controls)


def find_answer_spans(
    tokenizer: PreTrainedTokenizerBase, messages: list[Message], text: str, shadow: str
) -> list[tuple[int, int]]:
    """Where in `text` each answer that is learnt from starts and its end token ends."""
    spans = []
    for turn, message in enumerate(messages):
        if not is_learnt(message):
            continue
        prompt, answer = apply_template(tokenizer, messages[:turn], generation=True), message["content"]
        # Some templates trim answers (Llama 3, Gemma); some put a space before them, for SentencePiece's tokens begin
        # with the space before a word (Llama 2, Mistral).
        forms = re.compile(f"{re.escape(answer)}| ?{re.escape(answer.strip())} ?")
        said = forms.match(text, len(prompt)) if text.startswith(prompt) else None
        if not said:
            raise Stop(f"the chat template does not render answer {turn} right behind its generation prompt; mend it.")
        end = compile_control_pattern(tokenizer).match(shadow, said.end())
        if not end:
            raise Stop(
                "the chat template puts no control token behind the answer, so the model would never learn to stop."
            )
        spans.append((len(prompt), end.end()))
    return spans


def _render_text(tokenizer: PreTrainedTokenizerBase, text: str) -> Rendered:
    """A raw text and the tokenizer's end-of-sequence token, all of it supervised; no template takes part.

    What the tokenizer itself puts before a text, such as Llama's begin token, goes before it, as in pre-training.
    """
    if tokenizer.eos_token_id is None:
        raise Stop("the base model's tokenizer has no end-of-sequence token, so texts would have no end; set one.")
    opening, controls = _find_text_opening(tokenizer), len(compile_control_pattern(tokenizer).findall(text))
    learnt = [*encode_text(tokenizer, text, blot_controls(tokenizer, text))[0], tokenizer.eos_token_id]
    return Rendered(opening + learnt, [IGNORE] * len(opening) + learnt, 0, controls)


@functools.lru_cache(maxsize=4)
def _find_text_opening(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The control tokens that the tokenizer puts before any text; most put none."""
    bare, whole = (tokenizer.backend_tokenizer.encode("a", add_special_tokens=added).ids for added in (False, True))
    return whole[: whole.index(bare[0])]


def render_prompt(tokenizer: PreTrainedTokenizerBase, messages: list[Message]) -> list[int]:
    """The tokens of a conversation that waits for the assistant's answer."""
    text = apply_template(tokenizer, messages, generation=True)
    shadow, _ = hide_controls(tokenizer, messages, text, generation=True)
    return encode_text(tokenizer, text, shadow)[0]


def find_end_token(tokenizer: PreTrainedTokenizerBase) -> int:
    """The control token that ends the assistant's turn in this template, where generation stops."""
    rendered = render_messages(tokenizer, make_messages("a", "", "b"))
    return [label for label in rendered.labels if label != IGNORE][-1]


def render_records(
    tokenizer: PreTrainedTokenizerBase, records: Iterable[Mapping[str, Any]], rendering: Rendering
) -> RenderedRecords:
    """Render records into rows.

    No message is truncated: an answer without its end would teach the model not to stop.
    """
    rows, too_long = [], []
    for record in records:
        messages = select_messages(record, rendering)
        rendered = render_messages(tokenizer, messages)
        left_out = count_turns(keep_learnt_part(record["messages"])) - count_turns(messages)
        row = cast(RenderedRow, {"id": record["id"], **rendered._asdict(), "turns_left_out": left_out})
        (rows if len(rendered.input_ids) <= rendering.max_length else too_long).append(row)
    return RenderedRecords(rows, too_long)
