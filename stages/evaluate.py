"""Score a model on test, golden and general questions, and have it answer those of test and golden.

    python -m stages.evaluate base     # stage evaluate_base: once, shared by all experiments
    python -m stages.evaluate tuned    # stage evaluate

Reads models/base or models/merged, data/split/{test,golden}.jsonl and `general_source`, any source that `stages.ingest`
could read (local files belong into data/general, which DVC watches); writes models/evaluation/{base,tuned}.jsonl, a row
a question (`tunelock.records.scored_row`). The base also leaves its predictions for general questions in
models/evaluation/base_general.safetensors, with which the tuned model's are compared: its rows have `kl`.
`stages.metrics` makes the metrics out of both. Scores are computed in `dtype`, options that it can hardly tell apart in
float32, answers on a CPU in float32, in which those of a batch are those that each question gets alone.
"""

import functools
import gc
import itertools
import sys
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import torch

from tunelock.answering.divergence import (
    Head,
    Predictions,
    join_states,
    measure_divergence,
    read_states,
    take_head,
    write_predictions,
)
from tunelock.answering.families import Family, make_families, score_questions
from tunelock.answering.generation import choose_answer_dtype, generate_answers
from tunelock.answering.kept_answers import open_kept_answers
from tunelock.answering.near_ties import settle_near_ties
from tunelock.answering.vllm_backend import generate_by_vllm
from tunelock.model.modeling import make_deterministic
from tunelock.model.positions import check_positions
from tunelock.model.tuned import load_tuned, read_generation_settings
from tunelock.reading.local_files import GENERAL as GENERAL_FOLDER
from tunelock.reading.reading import Source, read_source
from tunelock.records.record import Record
from tunelock.records.scored_row import GENERAL, HELD_OUT, ScoredRow
from tunelock.rendering.refused import print_refused
from tunelock.rendering.rendering import RENDERING_PARAMS, Rendering, load_tokenizer
from tunelock.rendering.row_lengths import MOST_LEFT_OUT, keep_fitting_records
from tunelock.rendering.vocabulary import find_end_tokens
from tunelock.rendering.written_answer import split_written
from tunelock.run.errors import Stop
from tunelock.run.files import read_jsonl, write_jsonl
from tunelock.run.stage import stage


class Evaluated(NamedTuple):
    """A model that is evaluated: the stage that does it, and the folder of the model."""

    stage: str
    folder: str


MODELS = {"base": Evaluated("evaluate_base", "models/base"), "tuned": Evaluated("evaluate", "models/merged")}
BASE_STATES = "models/evaluation/base_general.safetensors"
OPTION = r"^- (.+)$"  # a line of a general question that is one of the answers to choose from


def _read_held_out_families(tokenizer, rendering: Rendering, patterns: dict | None) -> dict[str, list[Family]]:
    """The questions of test and golden, by split."""
    return {
        split: make_held_out_families(tokenizer, list(read_jsonl(f"data/split/{split}.jsonl")), rendering, patterns)
        for split in HELD_OUT
    }


def make_held_out_families(
    tokenizer, records: list[Record], rendering: Rendering, patterns: dict[str, str] | None
) -> list[Family]:
    """The questions of a split of the domain that fit into `max_length`; a line on stderr says how many do not, and
    which the chat template cannot say.

    Raises:
        Stop: more than half of them do not fit, or there are none.
    """
    fitting = keep_fitting_records(tokenizer, records, rendering)
    said = f"{fitting.too_long} of {len(records)} rows exceed max_length {rendering.max_length}"
    if not fitting.rows or fitting.too_long > MOST_LEFT_OUT * len(records):
        raise Stop(f"{said}; raise it to score them all.")
    if fitting.too_long:
        print(f"{said} and are not scored", file=sys.stderr)
    print_refused("evaluate", fitting.refused, len(records))
    return make_families(tokenizer, fitting.records, fitting.rows, rendering, patterns or {})


def read_general_families(tokenizer, rendering: Rendering, source: Source) -> list[Family]:
    """The general questions that fit into `max_length`; a line on stderr says what was left out.

    Their options are lines "- option". A question with options has no contrast: choosing among them is one.

    Raises:
        Stop: none is left.
    """
    records, left_out = read_general_records(source)
    asked, rows, too_long, refused = keep_fitting_records(tokenizer, records, rendering)
    left_out["longer than max_length"] += too_long
    left_out.update(one.reason for one in refused)
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(left_out.items()) if count)
    if not rows:
        raise Stop(f"general_source: no row is left ({reasons}); mend the source or raise max_length.")
    print(f"general: {len(rows)} rows" + (f"; left out: {reasons}" if reasons else ""), file=sys.stderr)
    patterns = {record["task"]: OPTION for record in asked}
    return make_families(tokenizer, asked, rows, rendering, patterns, contrast_choices=False)


def read_general_records(source: Source) -> tuple[list[Record], Counter]:
    """The records of the general source, each once, and how many of its rows are none, by reason."""
    found: dict[str, Record] = {}
    left_out: Counter[str] = Counter()
    for row in read_source("general_source", source, GENERAL_FOLDER):
        if "status" in row:
            left_out[row["reason"]] += 1
        elif row["id"] in found:
            left_out["twice"] += 1
        else:
            found[row["id"]] = row
    return list(found.values()), left_out


def _score_splits(
    which: str, dtype: str, families: dict[str, list[Family]], batch_size: int, check: Callable[[torch.nn.Module], None]
) -> dict[str, list[ScoredRow]]:
    """The rows of each split by one model, which `check` looks at first, and which is gone from memory afterwards.

    The base leaves what it predicts for general questions; the tuned model's rows get how far it is from that.
    """
    model, rows = load_tuned(MODELS[which].folder, dtype), {}
    check(model)
    for split in HELD_OUT:
        rows[split] = [one.row for one in score_questions(model, families[split], split, batch_size)]
    general = score_questions(model, families[GENERAL], GENERAL, batch_size, keep_states=True)
    rows[GENERAL] = [one.row for one in general]
    predictions, head = join_states(general), take_head(model)
    del model
    gc.collect()
    if which == "base":
        write_predictions(BASE_STATES, predictions)
    else:
        _add_divergence(rows[GENERAL], predictions, head, dtype)
    return rows


def _add_divergence(rows: list[ScoredRow], found: Predictions, head: Head, dtype: str) -> None:
    """Add kl to general rows, the sum over their tokens of KL(base || tuned), from what the base predicted there."""
    states = read_states(BASE_STATES, found.tokens)
    base_head = take_head(load_tuned(MODELS["base"].folder, dtype))
    gc.collect()
    for row, divergence in zip(rows, measure_divergence(states, base_head, found, head), strict=True):
        row["kl"] = divergence


def add_answers(
    rows: list[ScoredRow], answers: list[list[int]], tokenizer, end_ids: tuple[int, ...], thinking: str = "none"
) -> None:
    """Add answer, stopped (it ended by itself) and new_tokens to rows, from the tokens that the model wrote; reasoning
    where it wrote some before its answer."""
    for row, tokens in zip(rows, answers, strict=True):
        stopped = bool(tokens) and tokens[-1] in end_ids
        thought = split_written(tokenizer, tokens, end_ids, thinking)
        if thought.reasoning:
            row["reasoning"] = thought.reasoning
        row |= {
            "answer": thought.answer.strip(),
            "stopped": stopped,
            "new_tokens": len(tokens),
        }


def _pick_questions(families: list[Family], most: int | None) -> list[int]:
    """The numbers of the first `most` families that ask something; a raw text does not."""
    return [number for number, family in enumerate(families) if family.take_prompt()][:most]


def _answer_questions(
    folder: str,
    dtype: str,
    prompts: list[list[int]],
    end_ids: tuple[int, ...],
    backend: str,
    max_new_tokens: int,
    batch_size: int,
) -> list[list[int]]:
    """The tokens that the model in a folder answers to prompts; answers kept from a run before are not computed."""
    dtype = choose_answer_dtype(dtype)
    if backend == "vllm":
        return generate_by_vllm(folder, dtype, prompts, max_new_tokens, end_ids)
    kept = open_kept_answers(folder, {"dtype": dtype, "max_new_tokens": max_new_tokens, "end_ids": end_ids})
    return generate_answers(load_tuned(folder, dtype), prompts, max_new_tokens, batch_size, end_ids, kept)


def main(which: str, params, _fingerprint) -> str:
    make_deterministic(0, params.num_threads)
    folder, batch_size = MODELS[which].folder, params.eval_batch_size
    tokenizer, rendering = load_tokenizer(folder), Rendering(**params.select(RENDERING_PARAMS))
    families = _read_held_out_families(tokenizer, rendering, params.choice_patterns)
    families[GENERAL] = read_general_families(tokenizer, rendering, Source(**params.general_source))
    asked: list[tuple[str, int]] = []
    for split in HELD_OUT:
        asked += ((split, number) for number in _pick_questions(families[split], params.max_predict_samples))
    prompts = [families[split][number].take_prompt() for split, number in asked]
    check = functools.partial(
        check_positions, max_length=rendering.max_length, prompts=prompts, max_new_tokens=params.max_new_tokens
    )
    scored = _score_splits(which, params.dtype, families, batch_size, check)
    settle_near_ties(folder, params.dtype, families, scored, batch_size)
    rows = [scored[split][number] for split, number in asked]
    if prompts:
        ends, limit = find_end_tokens(tokenizer, read_generation_settings(folder)), params.max_new_tokens
        answers = _answer_questions(folder, params.dtype, prompts, ends, params.generation_backend, limit, batch_size)
        add_answers(rows, answers, tokenizer, ends, rendering.thinking)
    every = list(itertools.chain(*scored.values()))
    write_jsonl(f"models/evaluation/{which}.jsonl", every)
    return f"models/evaluation/{which}.jsonl: {len(every)} rows scored, {len(rows)} answered"


if __name__ == "__main__":
    if sys.argv[1:] not in (["base"], ["tuned"]):
        sys.exit("usage: python -m stages.evaluate base|tuned")
    stage(MODELS[sys.argv[1]].stage)(functools.partial(main, sys.argv[1]))()
