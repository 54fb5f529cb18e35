"""All that `tunelock start` would write: the params with their reasons, from sources that were looked at."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from tunelock.cleaning.duplicates import ID, NONE, QUESTION, REFERENCE, find_conflicts, hash_contents
from tunelock.cleaning.judgement import judge_record
from tunelock.cleaning.record_rules import RULE_PARAMS, RuleParams
from tunelock.previewing.start_labels import choose_patterns
from tunelock.previewing.start_limits import Choices, choose_limits
from tunelock.previewing.start_look import SourceLook
from tunelock.previewing.start_sizes import choose_sizes, count_usable_rows
from tunelock.previewing.start_tokens import choose_token_limits, choose_train_rows, measure_tokens, read_context
from tunelock.records.near import compute_signatures, find_clusters
from tunelock.records.record import PARAGRAPH_END, Record

BASE = Path("models/base")
LABELLED_ANSWERS = 400  # rows that are answered where answers are labels: they are short
JUDGED = 1000  # rows of a source that are put through the rules of `clean`
WORTH_A_WORD = 0.005  # share of the rows that the rules drop
MARGIN = 0.7  # of max_dropped_share, that a sample may come to
RARE_CONFLICTS = 0.05  # share of the rows
ALIKE = 0.05  # share of the rows


def choose_params(looks: list[SourceLook], params: dict[str, Any]) -> Choices:
    """The params that suit these sources; those of `params` that they do not touch stay."""
    choices = Choices()
    for look in looks:
        choices.warnings += [f"{look.name}: {warning}" for warning in look.guess.warnings]
    _merge(choices, choose_limits(looks))
    _merge(choices, choose_patterns(looks))
    labelled = bool(choices.values["label_patterns"] or choices.values["choice_patterns"])
    _merge(choices, choose_sizes(looks, labelled))
    tokens = measure_tokens(looks, {**params, **choices.values}, BASE)
    _merge(choices, choose_token_limits(looks, tokens, params, read_context(BASE)))
    rows = sum(map(count_usable_rows, looks))
    _merge(choices, choose_train_rows(tokens, rows, params))
    if labelled:
        choices.add(
            {"max_predict_samples": LABELLED_ANSWERS}, f"max_predict_samples {LABELLED_ANSWERS}: labels are short"
        )
    _clear_example(choices, params["gate"])
    _choose_conflicts(choices, looks)
    _warn_of_likes(choices, looks, params["near_duplicate_threshold"])
    _rehearse_cleaning(choices, looks, params)
    choices.values = {key: value for key, value in choices.values.items() if key in params}
    return choices


def _merge(choices: Choices, part: Choices) -> None:
    choices.values |= part.values
    choices.reasons += part.reasons
    choices.warnings += part.warnings


def _clear_example(choices: Choices, gate: dict[str, str]) -> None:
    """What speaks of the example's rows and would mean nothing here; main has none of these to compare with."""
    if gate.get("test_perplexity_tuned") == "<= main":
        choices.add(
            {"gate": {**gate, "test_perplexity_tuned": "<= base"}},
            "gate test_perplexity_tuned <= base: main has no figures of this data yet; `<= main` is for later",
        )
    choices.values |= {
        "max_rows_per_task": None, "task_weights": None, "task_loss_weights": None, "max_record_tokens": None,
        "replay_share": 0.0,
    }  # fmt: skip


def _choose_conflicts(choices: Choices, looks: list[SourceLook]) -> None:
    """Whether one question may have several answers: set aside where it is rare, kept where the data is made so."""
    share = max(map(_measure_conflicts, looks))
    kept = share > RARE_CONFLICTS
    if kept:
        reason = f"conflicting_answers keep: about {share:.0%} of the rows have a question with several answers"
    else:
        reason = "conflicting_answers set_aside: hardly a question has several answers"
    choices.add({"conflicting_answers": "keep" if kept else "set_aside"}, reason)


def _measure_conflicts(look: SourceLook) -> float:
    """The share of a source's rows whose question has several answers.

    A sample holds both rows of a pair as often as it holds one of them, squared: so its share is scaled up.
    """
    hashes = np.array([hash_contents(record) for record in look.records], np.uint64)
    because = find_conflicts(hashes[:, QUESTION], hashes[:, REFERENCE], hashes[:, ID])
    return min(1.0, float((because != NONE).mean()) * max(1.0, look.rows / len(look.records)))


def _warn_of_likes(choices: Choices, looks: list[SourceLook], threshold: float | None) -> None:
    """Say how many of the sampled rows are near-duplicates of others, in question and answer."""
    for look in looks:
        texts = [_write_own_text(record) for record in look.records[:JUDGED]]
        if threshold is None or len(texts) < 2:
            continue
        labels = find_clusters(compute_signatures(texts), threshold, texts.__getitem__)
        share = 1 - len(np.unique(labels)) / len(texts)
        if share > ALIKE:
            choices.warnings.append(
                f"{look.name}: {share:.0%} of {len(texts):,} sampled rows are alike others in question and answer, and "
                "`clean` keeps one of each; `near_duplicate_threshold: null` keeps all"
            )


def _write_own_text(record: Record) -> str:
    """Question and answer of a record without the context of the question."""
    parts = []
    for message in record["messages"]:
        paragraphs, mark = PARAGRAPH_END.split(message["content"]), message.get("question", 0)
        parts += paragraphs[mark:] if mark <= 0 else paragraphs[:mark]
    return "\n\n".join(parts)


def _rehearse_cleaning(choices: Choices, looks: list[SourceLook], params: dict[str, Any]) -> None:
    """Put the sampled records through the rules of `clean` with the chosen params, and say what they would drop."""
    values = {**params, **choices.values}
    rules = RuleParams(**{key: values[key] for key in RULE_PARAMS}, tokenizer=str(BASE / "tokenizer.json"))
    largest = 0.0
    for look in looks:
        judged = [judge_record(record, rules) for record in look.records[:JUDGED]]
        reasons = Counter(judgement.reason for judgement in judged if judgement.status != "kept")
        lost = reasons.total() / len(judged)
        largest = max(largest, lost + look.share_left_out)
        if lost > WORTH_A_WORD:
            listed = ", ".join(f"{reason} {count / len(judged):.1%}" for reason, count in reasons.most_common(4))
            choices.warnings.append(f"{look.name}: `clean` will leave out about {lost:.1%} of it ({listed})")
    if largest > MARGIN * values["max_dropped_share"]:
        share = min(0.99, round(1.2 * largest + 0.02, 2))
        choices.add(
            {"max_dropped_share": share}, f"max_dropped_share {share}: about {largest:.1%} of a source is left out"
        )


def guess_personal_data(looks: list[SourceLook], params: dict[str, Any]) -> str:
    """A sentence on personal data, by what a sample of the records has in it."""
    rules = RuleParams(**{key: params[key] for key in RULE_PARAMS}, tokenizer="")
    rules = rules._replace(pii=dict.fromkeys(params["pii"], "flag"))
    found: Counter[str] = Counter()
    for look in looks:
        for record in look.records[:JUDGED]:
            found.update(place.kind for place in judge_record(record, rules).found)
    rows = sum(len(look.records[:JUDGED]) for look in looks)
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(found.items()))
    if not found:
        return f"None of the kinds of `pii` was found in a sample of {rows:,} rows; names were not looked for."
    return f"Found in a sample of {rows:,} rows: {kinds}; `pii` says what becomes of them. Names were not looked for."
