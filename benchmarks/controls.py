"""Do the claims hold where the truth is known? Controls, as a Markdown table.

    python -m benchmarks.controls [aa] [right] [shuffled] [leak] [--rows 320] [--base models/base] [--dtype auto]

- aa: two tiny models that learnt nothing; for each seed the rows of every group are dealt to the sides `base` and
  `tuned` by a coin, so that no difference means anything. Any verdict is a false one.
- right, shuffled: the real base, tuned on the right answers and on the same dealt anew within their task. The second
  must not be called a gain.
- leak: the real base, tuned on test rows. The fresh-eyes checks must find them.

The last three need models/base and data/split, and about ten minutes on two cores with AVX-512.
"""

import argparse
import random
import tempfile
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from stages.evaluate import add_answers, make_held_out_families
from tunelock.answering.families import score_questions
from tunelock.answering.generation import generate_answers
from tunelock.claims.claims import judge_differences, make_claim
from tunelock.claims.comparison import compare_models
from tunelock.claims.fresh_eyes import RUN, examine_answers
from tunelock.metrics.labels import label_rows
from tunelock.metrics.registry import METRICS
from tunelock.model.methods.all_methods import METHODS
from tunelock.model.methods.method_settings import MethodSettings
from tunelock.model.modeling import load_model, make_deterministic, resolve_dtype
from tunelock.records.ngrams import split_words
from tunelock.records.record import make_messages, question_of, reference_of
from tunelock.rendering.conversation import find_end_token
from tunelock.rendering.rendering import Rendering, load_tokenizer, render_records
from tunelock.run.files import read_jsonl
from tunelock.run.params import load_yaml
from tunelock.training.optimisation import build_sft_config
from tunelock.training.trainer import ResponseTrainer

CONTROLS = ("aa", "right", "shuffled", "leak")
MAX_LENGTH, BATCH, LEAKED, LEAK_PASSES = 256, 40, 24, 15
FIXED = {"gradient_checkpointing": False, "save_strategy": "no", "max_grad_norm": 1.0, "warmup_steps": 0.05,
         "max_length": MAX_LENGTH}  # fmt: skip
HEAD = "| control | runs | what must not happen, or must | seen |\n|---|---|---|---|"


def tiny(tokenizer, seed: int) -> LlamaForCausalLM:
    """The random two-layer Llama of tests/conftest.py, with weights of its own a seed."""
    torch.manual_seed(seed)
    shape = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
             "num_key_value_heads": 2}  # fmt: skip
    return LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), tie_word_embeddings=True, **shape))


def rows_of(model, tokenizer, records: list[dict], new_tokens: int = 0) -> list[dict]:
    """Rows as `stages.evaluate` writes them, without choices; answered if `new_tokens`."""
    families = make_held_out_families(tokenizer, records, Rendering(MAX_LENGTH), None)
    rows = [one.row for one in score_questions(model, families, "test", BATCH)]
    if new_tokens:
        prompts = [family.take_prompt() for family in families]
        ends = (find_end_token(tokenizer),)
        add_answers(rows, generate_answers(model, prompts, new_tokens, BATCH, ends), tokenizer, ends)
    return rows


def judged(base: list[dict], tuned: list[dict], params: dict) -> dict:
    """metrics/claims.json of these rows."""
    level, samples = params["confidence_level"], params["bootstrap_samples"]
    labelled = [label_rows(rows, params["label_patterns"], params["format_checks"]) for rows in (base, tuned)]
    found = judge_differences(compare_models(*labelled, METRICS.values()), base, level, samples)
    return found | make_claim(found, level)


def dealt(left: list[dict], right: list[dict], seed: int) -> tuple[list[dict], list[dict]]:
    """The rows of two models, those of each group exchanged or not by a coin."""
    draw = random.Random(seed)
    coins = {group: draw.random() < 0.5 for group in sorted({row["group"] for row in left})}
    pairs = [(b, a) if coins[a["group"]] else (a, b) for a, b in zip(left, right)]
    return [a for a, _ in pairs], [b for _, b in pairs]


def aa(tokenizer, params: dict, seeds: int) -> str:
    """False verdicts on models that differ in nothing."""
    records, gains, wins, low, count = held_out(tokenizer, 40, 128), 0, 0, 0, 0
    for seed in range(seeds):
        sides = [rows_of(tiny(tokenizer, 2 * seed + n).eval(), tokenizer, records, 6) for n in (0, 1)]
        found = judged(*dealt(*sides, seed), params)
        entries = [entry for entry in found.values() if isinstance(entry, dict) and "p" in entry]
        gains += found["claim"] == "gain"
        wins += any(entry["verdict"] != "undecided" for entry in entries)
        low += sum(entry["p"] < 1 - params["confidence_level"] for entry in entries)
        count += len(entries)
    return (f"| A/A, tiny models | {seeds} seeds | a false verdict in more than "
            f"{1 - params['confidence_level']:.0%} of the runs | {gains} gains, {wins} runs with any verdict; "
            f"{low} of {count} single differences ({low / count:.1%}) with p below the level |")  # fmt: skip


def held_out(tokenizer, most: int, max_length: int = MAX_LENGTH) -> list[dict]:
    """The first records of the test split that fit."""
    records = list(read_jsonl("data/split/test.jsonl"))
    fitting = {row["id"] for row in render_records(tokenizer, records, Rendering(max_length)).rows}
    return [record for record in records if record["id"] in fitting][:most]


def shuffled(records: list[dict]) -> list[dict]:
    """The records, their answers dealt anew within each task."""
    draw, found = random.Random(0), {}
    for task in sorted({record["task"] for record in records}):
        members = [record for record in records if record["task"] == task]
        said = [reference_of(record) for record in members]
        draw.shuffle(said)
        found |= {r["id"]: r | {"messages": make_messages(question_of(r), "", text)} for r, text in zip(members, said)}
    return [found[record["id"]] for record in records]


def tuned(base: Path, tokenizer, records: list[dict], params: dict, epochs: int) -> torch.nn.Module:
    """The base after training on these records as params.yaml says, but for the epochs."""
    make_deterministic(params["seed"], params["num_threads"])
    chosen = {key: params[key] for key in ("learning_rate", "lr_scheduler_type", "seed")}
    with tempfile.TemporaryDirectory() as folder:
        config = build_sft_config(
            Path(folder), params["dtype"], 8, eval_strategy="no", num_train_epochs=epochs, **FIXED, **chosen
        )
        adapter = METHODS[params["method"]].peft_config(base, MethodSettings.from_params(params))
        model, rows = load_model(base, params["dtype"]), render_records(tokenizer, records, Rendering(MAX_LENGTH)).rows
        trainer = ResponseTrainer(model, tokenizer, config, adapter, rows, [])
        trainer.train()
    return trainer.model.merge_and_unload()


def claim_control(name: str, base: Path, tokenizer, params: dict, rows: int) -> str:
    """The claim after training on `right` or `shuffled` answers."""
    train, test = list(read_jsonl("data/split/train.jsonl"))[:rows], held_out(tokenizer, rows)
    before = rows_of(load_model(base, params["dtype"]), tokenizer, test)
    model = tuned(base, tokenizer, shuffled(train) if name == "shuffled" else train, params, 1)
    found = judged(before, rows_of(model, tokenizer, test), params)
    seen = "; ".join(f"{key} {told(found[f'test_{key}'])}" for key in ("loss", "contrast", "match_accuracy"))
    wanted = "no gain" if name == "shuffled" else "a gain"
    return f"| {name} answers | {len(train)} train, {len(test)} test rows | {wanted} | {found['claim']}: {seen} |"


def told(entry: dict) -> str:
    """A difference in a cell."""
    return (f"{entry['base']:.3f} to {entry['tuned']:.3f} ({entry['difference']:+.3f}, {entry['low']:+.3f} to "
            f"{entry['high']:+.3f}, p_holm {entry['p_holm']:.2g}, {entry['verdict']})")  # fmt: skip


def leak_control(base: Path, tokenizer, params: dict) -> str:
    """What the fresh-eyes checks see when half of the long test rows were trained on."""
    long = [record for record in held_out(tokenizer, 10**6) if RUN <= len(split_words(reference_of(record))) <= 60][
        : 2 * LEAKED
    ]
    planted, clean = long[::2], {record["id"] for record in long[1::2]}
    before = rows_of(load_model(base, params["dtype"]), tokenizer, long, params["max_new_tokens"])
    after = rows_of(tuned(base, tokenizer, planted, params, LEAK_PASSES), tokenizer, long, params["max_new_tokens"])
    seen = examine_answers(before, after, lambda: planted, params["confidence_level"])
    entry = seen["test"]["verbatim"]
    hits = [example["id"] for example in entry["examples"]]
    return (f"| planted leak | {len(planted)} of {len(long)} test rows in train | found | {entry['tuned']} answered "
            f"word for word (base {entry['base']}), of the examples {sum(i in clean for i in hits)} not planted; "
            f"suspicious: {' '.join(seen['suspicious']) or 'nothing'} |")  # fmt: skip


def main() -> None:
    """Run the controls asked for, all by default."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("controls", nargs="*", choices=[*CONTROLS, []], help="all if none is named")
    parser.add_argument("--rows", type=int, default=320, help="train rows of `right` and `shuffled`")
    parser.add_argument("--seeds", type=int, default=20, help="seeds of the control `aa`")
    parser.add_argument("--base", type=Path, default=Path("models/base"))
    parser.add_argument("--dtype", help="in place of params.yaml's")
    given = parser.parse_args()
    params = load_yaml("params.yaml")
    params["dtype"] = resolve_dtype(given.dtype or params["dtype"])
    make_deterministic(0, params["num_threads"])
    tokenizer = load_tokenizer(given.base)
    print(HEAD, flush=True)
    for name in given.controls or CONTROLS:
        if name == "aa":
            print(aa(tokenizer, params, given.seeds), flush=True)
        elif name in ("right", "shuffled"):
            print(claim_control(name, given.base, tokenizer, params, given.rows), flush=True)
        else:
            print(leak_control(given.base, tokenizer, params), flush=True)


if __name__ == "__main__":
    main()
