"""Our numbers beside those of a few lines of plain transformers, on the real model and rows of the test split.

    make bench-agreement        # or: python -m benchmarks.agreement [ROWS [ANSWERED]]

The plain lines know nothing of this project: `apply_chat_template`, labels behind the prompt, the cross-entropy of
PyTorch, and `model.generate` for one question after another. Both compute in float32, and ours in `dtype` as well, in
which the evaluate stage scores.
"""

import math
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tunelock.answering.generation import generate_answers
from tunelock.answering.scoring import score_rows
from tunelock.model.modeling import load_model, make_deterministic
from tunelock.rendering.conversation import find_end_token
from tunelock.rendering.rendering import Rendering, render_records
from tunelock.run.files import read_jsonl
from tunelock.run.params import load_yaml


@torch.no_grad()
def plain(
    folder: str, conversations: list[list[dict]], new_tokens: int, answered: int
) -> tuple[float, list[list[int]]]:
    """Perplexity of the last messages and the greedy answers in place of the first ones, by transformers alone."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    end = tokenizer.eos_token_id
    loss, tokens, answers = 0.0, 0, []
    for number, messages in enumerate(conversations):
        prompt = tokenizer.apply_chat_template(messages[:-1], add_generation_prompt=True, return_dict=False)
        whole = tokenizer.apply_chat_template(messages, return_dict=False)
        stop = len(whole) - whole[::-1].index(end)  # what a template puts behind the end token is not learnt
        ids = torch.tensor([whole[:stop]])
        wanted = ids[0, len(prompt) :]
        # In double precision: PyTorch's float32 cross-entropy is off by up to 2e-5 nats a token.
        logits = model(ids).logits[0, len(prompt) - 1 : -1].double()
        loss += torch.nn.CrossEntropyLoss(reduction="sum")(logits, wanted).item()
        tokens += len(wanted)
        if number < answered:
            asked = torch.tensor([prompt])
            out = model.generate(
                asked,
                attention_mask=torch.ones_like(asked),
                max_new_tokens=new_tokens,
                do_sample=False,
                eos_token_id=end,
            )
            answers.append(out[0, len(prompt) :].tolist())
    return math.exp(loss / tokens), answers


def ours(
    folder: str, tokenizer, records: list[dict], dtype: str, new_tokens: int, answered: int, batch_size: int
) -> tuple[float, list[list[int]]]:
    """The same by the code of the evaluate stage."""
    model, rows = load_model(folder, dtype), render_records(tokenizer, records, Rendering(10**6)).rows
    scores = score_rows(model, rows, batch_size)
    prompts = [row["input_ids"][: row["prompt_length"]] for row in rows[:answered]]
    answers = generate_answers(model, prompts, new_tokens, batch_size, (find_end_token(tokenizer),))
    return math.exp(sum(one.loss for one in scores) / sum(one.tokens for one in scores)), answers


def main(rows: int, answered: int) -> None:
    """Print a table of both, and exit with 1 if they differ by more than rounding."""
    params = load_yaml("params.yaml")
    make_deterministic(0, params["num_threads"])
    records = list(read_jsonl("data/split/test.jsonl"))[:rows]
    tokenizer, new_tokens = AutoTokenizer.from_pretrained("models/base"), params["max_new_tokens"]
    wanted, answers = plain("models/base", [record["messages"] for record in records], new_tokens, answered)
    print("| | perplexity | relative difference | same answers |\n|---|---|---|---|")
    print(f"| plain, float32 | {wanted:.6f} | | |", flush=True)
    exact = True
    for dtype, said in (("float32", answered), (params["dtype"], 0)):
        found, tokens = ours("models/base", tokenizer, records, dtype, new_tokens, said, params["eval_batch_size"])
        apart, same = found / wanted - 1, sum(map(list.__eq__, tokens, answers))
        print(f"| ours, {dtype} | {found:.6f} | {apart:+.1e} | {f'{same} of {said}' if said else ''} |", flush=True)
        exact &= dtype != "float32" or (abs(apart) < 1e-5 and same == said)
    print(f"\n{len(records)} rows of test, {answered} answered with at most {new_tokens} tokens, models/base")
    sys.exit(0 if exact else 1)


if __name__ == "__main__":
    given = [int(text) for text in sys.argv[1:]]
    main(*given, *[200, 100][len(given) :])
