"""Does the diagnosis find the fault? Each fault is put into small real runs, and the verdicts are counted.

    python -m benchmarks.diagnosis [SEEDS] [--model FOLDER]

Without a model it makes one first: a Llama of 0.3 M parameters that has learnt to chat (`benchmarks.faults`), which
LoRA then fine-tunes in seconds. Prints the confusion matrix, fault by verdict, in Markdown.
"""

import argparse
import math
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, TrainerCallback

from benchmarks.faults import FAULTS, Setup, material, schooling, whole
from stages.evaluate import add_answers, make_held_out_families
from tunelock.answering.families import score_questions
from tunelock.answering.generation import generate_answers
from tunelock.diagnosis.diagnosis import diagnose_run
from tunelock.diagnosis.remedies import REMEDIES
from tunelock.model.methods.all_methods import METHODS
from tunelock.model.methods.method_settings import MethodSettings
from tunelock.model.modeling import load_model, make_deterministic
from tunelock.records.record import question_of, reference_of
from tunelock.rendering.conversation import IGNORE, find_end_token
from tunelock.rendering.rendering import Rendering, load_tokenizer, render_records
from tunelock.run.files import write_json
from tunelock.run.params import load_yaml
from tunelock.training.curves import extract_curve
from tunelock.training.optimisation import build_sft_config
from tunelock.training.trainer import Extras, ResponseTrainer

# What a run of seconds has in place of params.yaml: for the tiny model, which wants a higher learning rate, and for
# a real one.
TINY = {"num_threads": 1, "rows": {"train": 320, "val": 48, "test": 48}, "learning_rate": 1e-2, "num_train_epochs": 3,
        "per_device_train_batch_size": 16, "eval_steps": 5, "dtype": "float32"}  # fmt: skip
REAL = {"rows": {"train": 192, "val": 16, "test": 16}, "eval_steps": 4}
COMMON = {"max_new_tokens": 40, "max_length": 256}
FIXED = {"gradient_checkpointing": False, "save_strategy": "no", "max_grad_norm": 1.0, "warmup_steps": 0.05,
         "max_length": COMMON["max_length"]}  # fmt: skip
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


class Best(TrainerCallback):
    """Keeps the weights with the lowest validation loss, as `stages.train` does on disk."""

    def __init__(self):
        self.loss, self.weights = math.inf, {}

    def on_evaluate(self, args, state, control, model=None, metrics=None, **kwargs):
        if metrics["eval_loss"] < self.loss:
            self.loss = metrics["eval_loss"]
            self.weights = {name: value.detach().clone() for name, value in model.state_dict().items()}


def small_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """A byte-pair tokenizer made from `texts`, with ChatML: a small vocabulary makes a quick model."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special, alphabet = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], pre_tokenizers.ByteLevel.alphabet()
    options = {"vocab_size": 2048, "special_tokens": special, "initial_alphabet": alphabet, "show_progress": False}
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(**options))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=special[0], pad_token=special[0], chat_template=CHATML,
        additional_special_tokens=special[1:],
    )  # fmt: skip


def tiny_model(folder: Path) -> Path:
    """A folder with a Llama that chats and, as many a base does, never stops."""
    records = schooling(6000)
    make_deterministic(0, 1)
    tokenizer = small_tokenizer([f"{question_of(r)}\n{reference_of(r)}" for r in records])
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=256, num_hidden_layers=3, num_attention_heads=4,
        initializer_range=0.1,  # at the usual 0.02 a model this narrow takes long to attend to anything
        tie_word_embeddings=True, pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    end, rows = find_end_token(tokenizer), []
    for row in render_records(tokenizer, records, Rendering(FIXED["max_length"])).rows:
        labels = [IGNORE if label == end else label for label in whole(row)["labels"]]
        rows.append(row | {"labels": labels})
    options = build_sft_config(folder, "float32", 16, learning_rate=3e-3, num_train_epochs=3, seed=0, **FIXED)
    trainer = ResponseTrainer(LlamaForCausalLM(config), tokenizer, options, None, rows, [])
    trainer.train()
    trainer.model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def tokenizer_of(base: Path, template: str | None) -> PreTrainedTokenizerFast:
    """The base's tokenizer, with another chat template if one is given."""
    tokenizer = load_tokenizer(base)
    tokenizer.chat_template = template or tokenizer.chat_template
    return tokenizer


def run(setup: Setup, base: Path, seed: int, folder: Path) -> tuple[list[dict], list[dict]]:
    """Train, and answer the test records. Returns the curve and the rows as `stages.evaluate` makes them."""
    s = setup.settings
    make_deterministic(seed, s["num_threads"])
    model, tokenizer = load_model(base, s["dtype"]), tokenizer_of(base, setup.train_template)
    chosen = {key: s[key] for key in ("learning_rate", "num_train_epochs", "eval_steps", "lr_scheduler_type")}
    config = build_sft_config(
        folder, s["dtype"], s["per_device_train_batch_size"], eval_strategy="steps", seed=seed, **FIXED, **chosen
    )
    rows = [
        [setup.spoil(row) for row in render_records(tokenizer, records, Rendering(FIXED["max_length"])).rows]
        for records in (setup.train, setup.val)
    ]
    adapter = METHODS[s["method"]].peft_config(base, MethodSettings.from_params(s))
    if setup.rehearsed:
        trainer = ResponseTrainer(model, tokenizer, config, adapter, *rows)
        trainer.train()
        model = trainer.model.merge_and_unload()
    best = Best()
    trainer = ResponseTrainer(model, tokenizer, config, adapter, *rows, Extras(callbacks=[best]))
    trainer.train()
    trainer.model.load_state_dict(best.weights)
    return extract_curve(trainer.state.log_history), answers_of(trainer.model.get_base_model(), setup, base)


def answers_of(model, setup: Setup, base: Path) -> list[dict]:
    """The rows of models/evaluation/*.jsonl for this model."""
    rendering = Rendering.from_params(setup.settings)
    tokenizer = tokenizer_of(base, setup.test_template)
    families = make_held_out_families(tokenizer, setup.test, rendering, None)
    rows = [one.row for one in score_questions(model, families, "test", len(families))]
    prompts = [family.take_prompt() for family in families]
    ends = (find_end_token(tokenizer),)
    add_answers(
        rows, generate_answers(model, prompts, setup.settings["max_new_tokens"], len(rows), ends), tokenizer, ends
    )
    return rows


def verdicts(log: list[dict], settings: dict, answers: list[dict], base: list[dict]) -> tuple[set[str], set[str]]:
    """The names of the final verdicts, and of those given during the run and not upheld."""
    last = {v.name for v in diagnose_run(log, settings, answers, base)}
    ends = [number for number, row in enumerate(log, 1) if "eval_loss" in row]
    during = {v.name for end in ends for v in diagnose_run(log[:end], settings)}
    return last, during - last


def table(found: dict[str, list[tuple[set[str], set[str]]]]) -> str:
    """The confusion matrix in Markdown: in how many of the runs with a fault a verdict was given."""
    names = [name for name in REMEDIES if any(name in last for runs in found.values() for last, _ in runs)]
    head = ["fault", *(name.replace("_", " ") for name in names), "no verdict", "taken back"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for fault, runs in found.items():
        given, back = Counter(), Counter()
        for last, dropped in runs:
            given.update(last or {"no verdict"})
            back.update(dropped)
        cells = [f"{given[name]}/{len(runs)}" if given[name] else "" for name in [*names, "no verdict"]]
        lines.append(f"| {' | '.join([fault, *cells, ', '.join(sorted(back))])} |")
    return "\n".join(lines)


def main() -> None:
    """Run every fault with every seed and print who got which verdict."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("seeds", type=int, nargs="?", default=3)
    parser.add_argument("--model", type=Path, help="a model's folder, in place of the tiny one")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--keep", type=Path, help="a file for curves and answers, to work on the rules with")
    given, found, kept = parser.parse_args(), {}, []
    small = REAL if given.model else TINY
    settings = load_yaml("params.yaml") | COMMON | small
    with tempfile.TemporaryDirectory() as folder:
        base = given.model or tiny_model(Path(folder, "base"))
        for seed in range(given.first, given.first + given.seeds):
            setup = Setup(**material(seed, small["rows"]), settings=settings)
            untuned = answers_of(load_model(base, settings["dtype"]), setup, base)
            for fault, put in FAULTS.items():
                faulty = put(setup)
                log, answers = run(faulty, base, seed, Path(folder, "run"))
                found.setdefault(fault, []).append(verdicts(log, faulty.settings, answers, untuned))
                kept.append({"fault": fault, "seed": seed, "settings": faulty.settings, "curve": log,
                             "answers": answers, "base": untuned})  # fmt: skip
                print(f"seed {seed}, {fault}: {sorted(found[fault][-1][0])}", file=sys.stderr, flush=True)
    print(table(found))
    if given.keep:
        write_json(given.keep, kept)


if __name__ == "__main__":
    main()
