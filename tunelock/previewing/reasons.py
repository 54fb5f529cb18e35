"""Why rows are left out, in words, and the param that rules it."""

from typing import Any, NamedTuple

_WORDS = {
    # of ingest: the bytes and the form of a row
    "not_json": "it is no JSON",
    "not_an_object": "it is JSON, but no object of columns",
    "duplicate_keys": "a key stands twice in its object",
    "infinity": "a column holds an infinity, which is no value",
    "absurd_number": "it has a number of thousands of digits",
    "nesting_too_deep": "its JSON is nested too deep",
    "line_too_long": "its line is longer than 8 MiB",
    "lone_surrogate": "it has half of a surrogate pair, which is no character",
    "invalid_utf8": "its bytes are no UTF-8; `encoding` of the source names another encoding",
    "nul": "it has NUL characters",
    "row_too_short": "it has fewer cells than the header",
    "row_too_long": "it has more cells than the header; a delimiter in a cell needs quotes",
    "deprecated": "the catalogue has taken it back",
    # of ingest: what it holds
    "other_format": "it has not the columns of its file's format; `format` or `columns` of the source decide",
    "missing_column": "it lacks a column that a template asks for",
    "missing_value": "it has no value in a column of a template with words around it",
    "missing_task": "it has no value for its task",
    "not_text": "a column holds a list or a mapping where a text is needed",
    "empty_text": "its text is empty",
    "no_messages": "it has no messages",
    "not_a_message": "one of its messages is none: it needs a role and a content",
    "content_not_text": "a message has a content that is no text",
    "part_not_text": "a message has a part that is no text, such as an image",
    "unknown_role": "a message has a role that is not known",
    "empty_turn": "a question is empty",
    "empty_answer": "an answer is empty",
    "missing_answer": "no answer stands behind the last question",
    "assistant_first": "it begins with an answer",
    "roles_not_alternating": "questions and answers do not alternate",
    "second_system": "it has two system messages",
    "late_system": "its system message does not stand first",
    "nothing_to_learn": "all of its answers have weight 0",
    "bad_weight": "a message has a weight other than 0 and 1",
    "weight_not_on_answer": "a message that is no answer has weight 1",
    "train_detail": "it says by character what to learn, which is not done here",
    "tool_calls": "it has calls of tools that cannot be read",
    "bad_tool_call": "a call of a tool has no name or no arguments",
    "bad_tools": "its list of tools is none",
    # of clean
    "bad_encoding": "its text was decoded wrongly and cannot be mended",
    "too_short": "its answer is shorter than the limit",
    "too_long": "its answer is longer than the limit",
    "too_many_tokens": "it has more tokens than the limit",
    "language": "it is in a language that is not wanted",
    "echo": "its answer repeats the question",
    "refusal": "its answer refuses to answer",
    "too_short_for_question": "its answer is cut off",
    "wrong_script": "its answer is in another script than the question",
    "duplicate": "another row says exactly the same",
    "near_duplicate": "another row says nearly the same",
    "conflicting_answers": "another row answers the same question in another way",
    # of split
    "group_overlap": "its group has rows in the golden set",
    "exact_overlap": "a held-out row has its question or its answer",
    "near_overlap": "a held-out row is nearly the same",
    "ngram_overlap": "it shares a run of words with a held-out row",
    "replay_share": "train has its share of replay rows already",
    "max_rows_per_task": "its task has its rows already",
}
_PARAMS = {
    "too_short": "min_response_chars",
    "too_long": "max_response_chars",
    "too_many_tokens": "max_record_tokens",
    "language": "languages",
    "near_duplicate": "near_duplicate_threshold",
    "conflicting_answers": "conflicting_answers",
    "exact_overlap": "decontaminate",
    "near_overlap": "leak_threshold",
    "ngram_overlap": "decontaminate",
    "replay_share": "replay_share",
    "max_rows_per_task": "max_rows_per_task",
}
_ANSWER_RULES = ("echo", "refusal", "too_short_for_question", "wrong_script")


class Reason(NamedTuple):
    """A reason in words, and `key: value` of the param that rules it, None where none does."""

    words: str
    ruled_by: str | None


def explain_reason(reason: str, params: dict[str, Any]) -> Reason:
    """A reason as ledgers have it, such as `missing_column 'reply'`, in words."""
    word, _, column = reason.partition(" ")
    if word.startswith("pii_"):
        kind = word.removeprefix("pii_")
        return Reason(f"it has personal data or a secret: {kind}", _quote_param("pii", params))
    if word.startswith("max_") and word.endswith("_samples"):
        return Reason("its split has its rows already", _quote_param(word, params))
    words = _WORDS.get(word, f"{word.replace('_', ' ')}") + (f": {column}" if column else "")
    key = "alignment_rules" if word in _ANSWER_RULES else _PARAMS.get(word)
    return Reason(words, _quote_param(key, params) if key else None)


def _quote_param(key: str, params: dict[str, Any]) -> str | None:
    if key not in params:
        return None
    value = "null" if params[key] is None else str(params[key])
    return f"{key}: {value}"
