"""Long rows: the context of a question is cut at a sentence end so that the row fits; question and answer never are."""

import bisect
import re
import unicodedata
from collections.abc import Callable
from typing import NamedTuple

from tunelock.records.record import PARAGRAPH_END, Message

CUT = " […]"  # what stands where a context was cut
LONG = 200  # characters from which a paragraph of a chat may be a context; questions and options have fewer
ANSWER_ROOM = 128  # tokens that a prompt leaves free for its answer, which nobody knows in a chat
_SENTENCE_END = re.compile(r"""[.!?…؟۔।]["'”’»)\]]*(?=\s)|[。！？]["'”’」』）]*|(?=\n)""")
_WORD_END = re.compile(r"(?=\s)")
_ASKS = ("?", "？", "؟")


class _Context(NamedTuple):
    """Where a context stands: the number of its message, and its first character there and the one after its last."""

    message: int
    start: int
    stop: int


class _Stretch(NamedTuple):
    """A part of a text, by its first character and the one after its last."""

    start: int
    stop: int


def fit_context(
    messages: list[Message], max_length: int, answer: int, count_tokens: Callable[[list[Message]], int]
) -> list[Message]:
    """The messages, the context cut where the prompt would leave too little room for the answer.

    What is cut does not depend on the answer, so that training, evaluation and chat give a question the same prompt;
    only an answer longer than the room that is kept for it takes more.

    Args:
        messages: a conversation up to its last answer.
        answer: tokens of that answer with its end; 0 where it is not known.
        count_tokens: the tokens of a prompt, which is such a conversation without its last answer.
    """
    limit = max_length - max(answer, min(ANSWER_ROOM, max_length // 4))
    if count_tokens(messages[:-1]) <= limit:
        return messages
    prompt = cut_context(messages[:-1], limit, count_tokens)
    return [*prompt, messages[-1]] if prompt else messages


def cut_context(
    prompt: list[Message], limit: int, count_tokens: Callable[[list[Message]], int]
) -> list[Message] | None:
    """A prompt with as much of its context as `limit` tokens leave room for; None if there is none to cut.

    The context ends with a sentence, where not even the first one fits with a word, in a text without spaces anywhere.
    """
    context = find_context(prompt)
    if context is None:
        return None
    text = prompt[context.message]["content"][context.start : context.stop]
    for ends in (_list_ends(_SENTENCE_END, text), _list_ends(_WORD_END, text), _list_letters(text)):
        fitting = bisect.bisect_right(ends, limit, key=lambda end: count_tokens(_cut_at(prompt, context, end)))
        while fitting and count_tokens(_cut_at(prompt, context, ends[fitting - 1])) > limit:
            fitting -= 1
        if fitting:
            return _cut_at(prompt, context, ends[fitting - 1])
    return None


def count_cut_characters(whole: list[Message], cut: list[Message]) -> int:
    """How many characters of a context are gone; 0 where nothing was cut."""
    missing = sum(len(message["content"]) for message in whole) - sum(len(message["content"]) for message in cut)
    return missing + len(CUT) if whole != cut else 0


def _cut_at(prompt: list[Message], context: _Context, end: int) -> list[Message]:
    """The prompt with the first `end` characters of its context."""
    text = prompt[context.message]["content"]
    kept = text[context.start : context.start + end].rstrip()
    short: Message = prompt[context.message].copy()
    short["content"] = text[: context.start] + kept + CUT + text[context.stop :]
    return [*prompt[: context.message], short, *prompt[context.message + 1 :]]


def _list_ends(pattern: re.Pattern[str], text: str) -> list[int]:
    """Where a text may be cut: behind each match but at its beginning and its end."""
    return sorted({found.end() for found in pattern.finditer(text)} - {0, len(text)})


def _list_letters(text: str) -> list[int]:
    """The beginnings of all letters but the first; what combines with one stays with it."""
    return [place for place in range(1, len(text)) if not unicodedata.combining(text[place])]


def find_context(prompt: list[Message]) -> _Context | None:
    """The longest context of a prompt.

    Where questions say which of their paragraphs they are (`question` of a message), the others are the context. In
    any other chat it is the longest stretch of long paragraphs (of lines, where there is one paragraph) of the
    system, the user or a tool; never the last paragraph of the last question, and none that asks.
    """
    marked = [_find_beside_question(number, message) for number, message in enumerate(prompt)]
    found = [context for context in marked if context] or _find_stretches(prompt)
    return max(found, key=lambda context: context.stop - context.start, default=None)


def _find_beside_question(number: int, message: Message) -> _Context | None:
    """What of a message with a mark is not the question."""
    mark = message.get("question")
    if not mark:
        return None
    paragraphs = _split(PARAGRAPH_END, message["content"])
    rest = paragraphs[mark:] if mark > 0 else paragraphs[:mark]
    return _Context(number, rest[0].start, rest[-1].stop) if rest else None


def _find_stretches(prompt: list[Message]) -> list[_Context]:
    """The longest stretch of each message that nobody has to learn."""
    asked = max((number for number, message in enumerate(prompt) if message["role"] == "user"), default=None)
    found = []
    for number, message in enumerate(prompt):
        stretch = _find_stretch(message["content"], number == asked) if message["role"] != "assistant" else None
        if stretch:
            found.append(_Context(number, *stretch))
    return found


def _find_stretch(text: str, is_question: bool) -> _Stretch | None:
    """The paragraphs around the longest one, from a long one to a long one; of the question itself not all."""
    parts = _split(PARAGRAPH_END, text)
    if len(parts) == 1:
        parts = _split(re.compile("\n"), text)
    long = [number for number, part in enumerate(parts) if _may_be_context(text[part.start : part.stop])]
    if is_question:
        long = [] if len(parts) == 1 else _spare_question(parts, long)
    if not long:
        return None
    first = last = max(long, key=lambda number: parts[number].stop - parts[number].start)
    asking = {number for number, part in enumerate(parts) if text[part.start : part.stop].endswith(_ASKS)}
    for number in reversed(long[: long.index(first)]):
        first = first if asking & set(range(number, first)) else number
    for number in long[long.index(last) :]:
        last = last if asking & set(range(last, number)) else number
    return _Stretch(parts[first].start, parts[last].stop)


def _spare_question(parts: list[_Stretch], long: list[int]) -> list[int]:
    """Without the last paragraph, which is the question, unless it is the longest and the question stands above it."""
    longest = max(range(len(parts)), key=lambda number: parts[number].stop - parts[number].start)
    last = len(parts) - 1
    return long if longest == last else [number for number in long if number != last]


def _may_be_context(text: str) -> bool:
    return len(text) >= LONG and not text.endswith(_ASKS)


def _split(pattern: re.Pattern[str], text: str) -> list[_Stretch]:
    """The parts of a text between the matches of a pattern, blank ones left out."""
    edges = [0]
    for found in pattern.finditer(text):
        edges += found.span()
    edges.append(len(text))
    pairs = zip(edges[::2], edges[1::2], strict=True)
    return [_Stretch(start, stop) for start, stop in pairs if text[start:stop].strip()]
