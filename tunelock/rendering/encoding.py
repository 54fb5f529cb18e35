"""Text to tokens, cut where each answer begins: a model reads a prompt before it writes, so no token spans the two."""

import functools
import itertools
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from tokenizers import Encoding, Tokenizer
from transformers import PreTrainedTokenizerBase

from tunelock.rendering.controls import compile_control_pattern, find_control_tokens


class _Encoded(NamedTuple):
    """Token ids, the character where each of them starts, and the number of the first token behind each cut."""

    ids: list[int]
    starts: list[int]
    firsts: list[int]


class _Prefix(NamedTuple):
    """How a tokenizer puts a blank before a text, as SentencePiece does.

    `joining` is the same tokenizer without that blank. `splitting` has the tokens that a text is split at first and
    behind which another blank is due, such as control tokens; none where the first text alone gets one.
    """

    joining: Tokenizer
    splitting: dict[int, str]

    def is_due(self, token: int, text: str) -> bool:
        """Whether a blank is due behind a token that stands for a text; the token of a byte may stand for another."""
        return token in self.splitting and self.splitting[token] in text


def encode_text(tokenizer: PreTrainedTokenizerBase, text: str, shadow: str, cuts: Sequence[int] = ()) -> _Encoded:
    """Tokenise `text`; only what is a control string in `shadow` becomes a control token.

    What stands before the first of the `cuts` (characters, ascending) has the tokens that it has alone, so a prompt has
    those that a model is asked with. What stands behind a cut has those that a model would write there: no blank comes
    or goes.
    """
    encoded = _Encoded([], [], [])
    for number, (start, stop) in enumerate(itertools.pairwise([0, *cuts, len(text)])):
        if number:
            encoded.firsts.append(len(encoded.ids))
        if shadow == text:
            _append_run(tokenizer, encoded, text, start, stop)
        else:
            _append_beside_controls(tokenizer, encoded, text, shadow, start, stop)
    return encoded


def _append_beside_controls(
    tokenizer: PreTrainedTokenizerBase, encoded: _Encoded, text: str, shadow: str, start: int, stop: int
) -> None:
    """Add the tokens of a part of a text in which people wrote control strings.

    The control tokens are those of the shadow, with the white space that some vocabularies count among them. What
    stands between two of them is plain text where people wrote such a string, and has its usual tokens elsewhere.
    """
    found = tokenizer.backend_tokenizer.encode(shadow[start:stop], add_special_tokens=False)
    pattern, edges = compile_control_pattern(tokenizer), [start]
    for low, high in found.offsets:
        if pattern.fullmatch(shadow[start + low : start + high].strip()):
            edges += [start + low, start + high]
    for low, high in itertools.pairwise([*edges, stop]):
        if text[low:high] == shadow[low:high]:
            _append_run(tokenizer, encoded, text, low, high)
        else:
            _append_plain(tokenizer, encoded, text, low, high)


def _append_plain(tokenizer: PreTrainedTokenizerBase, encoded: _Encoded, text: str, start: int, stop: int) -> None:
    """Add the tokens of a part of a text in which nothing is a control token.

    A Unigram model has the control strings among its words, so there each is cut behind its first character.
    """
    before = len(encoded.ids)
    _append_run(tokenizer, encoded, text, start, stop, plain=True)
    controls = set(find_control_tokens(tokenizer).values()) - {tokenizer.unk_token_id}
    if controls.isdisjoint(encoded.ids[before:]):
        return
    del encoded.ids[before:], encoded.starts[before:]
    inside = (found.start() + 1 for found in compile_control_pattern(tokenizer).finditer(text, start, stop))
    for low, high in itertools.pairwise([start, *inside, stop]):
        _append_run(tokenizer, encoded, text, low, high, plain=True)


def _append_run(
    tokenizer: PreTrainedTokenizerBase, encoded: _Encoded, text: str, start: int, stop: int, plain: bool = False
) -> None:
    """Add the tokens of a part of a text; in plain text there are no control tokens."""
    part, prefix, backend = text[start:stop], _find_prefix(tokenizer), tokenizer.backend_tokenizer
    if not prefix or not encoded.ids or prefix.is_due(encoded.ids[-1], text[encoded.starts[-1] : start]):
        _append(encoded, _encode(backend, part, plain), start)
        return
    found, edge = _encode(prefix.joining, part, plain), None
    for place, (token, (low, high)) in enumerate(zip(found.ids[:-1], found.offsets)):
        if prefix.is_due(token, part[low:high]):
            edge = place
            break
    _append(encoded, found, start, edge)
    if edge is not None:
        behind = found.offsets[edge][0]
        _append(encoded, _encode(backend, part[behind:], plain), start + behind)


def _append(encoded: _Encoded, found: Encoding, start: int, last: int | None = None) -> None:
    """Add the tokens of an encoding up to the `last` one; it begins at the character `start`."""
    encoded.ids.extend(found.ids[:last])
    encoded.starts.extend(start + low for low, _ in found.offsets[:last])


def _encode(backend: Tokenizer, text: str, plain: bool) -> Encoding:
    backend.encode_special_tokens = plain
    try:
        return backend.encode(text, add_special_tokens=False)
    finally:
        backend.encode_special_tokens = False


@functools.lru_cache(maxsize=4)
def _find_prefix(tokenizer: PreTrainedTokenizerBase) -> _Prefix | None:
    """How the tokenizer puts a blank before a text, None where it puts none."""
    backend, kinds = tokenizer.backend_tokenizer, set[str]()
    steps = {"normalizer": backend.normalizer, "pre_tokenizer": backend.pre_tokenizer}
    changed = {name: _drop_prefix(json.loads(step.__getstate__()), kinds) for name, step in steps.items() if step}
    if not kinds:
        return None
    added = {number: token.content for number, token in tokenizer.added_tokens_decoder.items()}
    joining = Tokenizer.from_str(json.dumps(json.loads(backend.to_str()) | changed))
    return _Prefix(joining, {} if kinds == {"first"} else added)


def _drop_prefix(step: Any, kinds: set[str]) -> Any:
    """A step of a tokenizer, as JSON, without the blank that it puts before a text; where it did is added to `kinds`:
    before the `first` token alone, or `always`, behind added tokens too."""
    if isinstance(step, list):
        return [_drop_prefix(part, kinds) for part in step]
    if not isinstance(step, dict):
        return step
    kind = step.get("type")
    if kind == "Prepend":
        kinds.add("always")
        return {"type": "Sequence", "normalizers": []}
    if kind == "Metaspace" and step["prepend_scheme"] != "never":
        kinds.add(step["prepend_scheme"])
        return step | {"prepend_scheme": "never"}
    if kind == "ByteLevel" and step["add_prefix_space"]:
        kinds.add("always")
        return step | {"add_prefix_space": False}
    return {key: _drop_prefix(part, kinds) for key, part in step.items()}
