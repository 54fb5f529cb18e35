"""The rules that one record must keep, whatever other records there are; the first that it breaks is the reason.

A new rule is a function that says whether the texts of a record break it, and a line in a table:

- A rule that needs no param but its name: a function of question and reference in `tunelock.cleaning.alignment` and
  its line in `ANSWER_RULES` there. Write its name under `alignment_rules` in params.yaml to switch it on; the schema
  knows the names from the table.
- A rule with a param: a function here, its line in `RULES`, and the param among `RuleParams`, in
  `tunelock.schema.clean_params`, in params.yaml and among the params of the stage `clean` in dvc.yaml.
"""

import functools
import json
from collections.abc import Callable
from typing import Any, NamedTuple

from tunelock.cleaning.alignment import detect_language, find_broken_answer_rule
from tunelock.cleaning.repair import has_lost_characters
from tunelock.records.chat_faults import find_chat_fault
from tunelock.records.record import Record, is_text, question_of, reference_of, whole_text_of

TELLING = 240  # characters; a language shows in these, and more would cost half of the cleaning's time


class RuleParams(NamedTuple):
    """The params about one record, named as in params.yaml; `tokenizer` is the path of a tokenizer.json."""

    repair_text: bool
    min_response_chars: int
    max_response_chars: int
    max_record_tokens: int | None
    languages: list[str] | None
    alignment_rules: list[str]
    pii: dict[str, str]
    tokenizer: str


RULE_PARAMS = RuleParams._fields[:-1]


class _Texts(NamedTuple):
    """What the rules look at: `reference` is the last answer that is learnt from, or the raw text."""

    whole: str
    reference: str


class _Rule(NamedTuple):
    """A rule for conversations and raw texts; `reason` is its name in the ledger, `status` dropped or set_aside.

    `param` is the key of params.yaml that rules it, None where nothing does.
    """

    reason: str
    is_broken: Callable[[_Texts, RuleParams], bool]
    param: str | None
    status: str = "dropped"


class Fate(NamedTuple):
    """What becomes of a record: `status` is kept, dropped or set_aside."""

    status: str
    reason: str


KEPT = Fate("kept", "")


def decide_fate(record: Record, params: RuleParams) -> Fate:
    """The status and the name of the first rule that the record breaks; KEPT if it breaks none."""
    conversation = not is_text(record)
    fault = find_chat_fault(record["messages"]) if conversation else None  # mending may have emptied a turn
    if fault:
        return Fate("set_aside", fault)
    texts = _Texts(whole_text_of(record), reference_of(record))
    for rule in RULES:
        if rule.is_broken(texts, params):
            return Fate(rule.status, rule.reason)
    if conversation and params.alignment_rules:
        reason = find_broken_answer_rule(question_of(record), texts.reference, params.alignment_rules)
        return Fate("dropped", reason) if reason else KEPT
    return KEPT


def _is_broken_text(texts: _Texts, _params: RuleParams) -> bool:
    return has_lost_characters(texts.whole)


def _is_too_short(texts: _Texts, params: RuleParams) -> bool:
    return len(texts.reference.strip()) < params.min_response_chars


def _is_too_long(texts: _Texts, params: RuleParams) -> bool:
    return len(texts.reference.strip()) > params.max_response_chars


def _has_too_many_tokens(texts: _Texts, params: RuleParams) -> bool:
    """Counts the tokens of the whole record, without those of the chat template."""
    if params.max_record_tokens is None:
        return False
    encoded = _load_tokenizer(params.tokenizer).encode(texts.whole, add_special_tokens=False)
    return len(encoded.ids) > params.max_record_tokens


@functools.cache
def _load_tokenizer(path: str) -> Any:
    """The tokenizer of a tokenizer.json; the library under Transformers' own, which would take seconds to import."""
    from tokenizers import Tokenizer

    return Tokenizer.from_file(path)


def _is_in_unwanted_language(texts: _Texts, params: RuleParams) -> bool:
    """True for a language that can be told and is not among `languages`."""
    language = detect_language(texts.whole[:TELLING]) if params.languages else None
    return language is not None and language not in params.languages


RULES = (
    _Rule("bad_encoding", _is_broken_text, None, status="set_aside"),
    _Rule("too_short", _is_too_short, "min_response_chars"),
    _Rule("too_long", _is_too_long, "max_response_chars"),
    _Rule("too_many_tokens", _has_too_many_tokens, "max_record_tokens"),
    _Rule("language", _is_in_unwanted_language, "languages"),
)


def describe_rulings(params: RuleParams) -> dict[str, str]:
    """By reason the param that rules it, as it would stand in params.yaml."""
    values = params._asdict()
    rulings = {rule.reason: f"{rule.param}: {json.dumps(values[rule.param])}" for rule in RULES if rule.param}
    rulings |= {reason: f"alignment_rules: {reason}" for reason in params.alignment_rules}
    return rulings | {f"pii_{kind}": f"pii: {kind}: {action}" for kind, action in params.pii.items()}
