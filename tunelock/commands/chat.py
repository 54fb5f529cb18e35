"""Ask the base or the tuned model in the terminal; the answer streams as it is written.

python -m tunelock.commands.chat "How can CWE-79 be mitigated?"
python -m tunelock.commands.chat --model base "How can CWE-79 be mitigated?"
"""

import argparse
from pathlib import Path

import torch
from transformers import TextStreamer

from tunelock.model.modeling import make_deterministic
from tunelock.model.tuned import load_tuned, prepare_generation, unwrap_model
from tunelock.rendering.rendering import Rendering, find_end_token, load_tokenizer, render_prompt, select_messages
from tunelock.run.errors import Stop
from tunelock.run.params import load_yaml
from tunelock.run.stage import plain_errors

FOLDERS = {"base": "models/base", "tuned": "models/merged"}


def stream(folder: str, question: str, dtype: str, rendering: Rendering, max_new_tokens: int) -> str:
    """Print the greedy answer to `question` word by word and return it."""
    if not Path(folder, "tokenizer_config.json").exists():
        raise Stop(f"{folder} is missing; run `dvc repro merge` (or `dvc pull`) first.")
    tokenizer, model = load_tokenizer(folder), load_tuned(folder, dtype)
    messages = select_messages({"messages": [{"role": "user", "content": question}]}, rendering)
    prompt = torch.tensor([render_prompt(tokenizer, messages)], device=model.device)
    end = find_end_token(tokenizer)
    with torch.no_grad():
        given, start = prepare_generation(model, prompt, torch.ones_like(prompt))
        tokens = unwrap_model(model).generate(
            **given,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            eos_token_id=end,
            pad_token_id=end,
            streamer=TextStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True),
        )
    return tokenizer.decode(tokens[0, start:], skip_special_tokens=True).strip()


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and answer."""
    parser = argparse.ArgumentParser(
        prog="python -m tunelock.commands.chat", description="Ask the base or the tuned model."
    )
    parser.add_argument("question")
    parser.add_argument("--model", choices=FOLDERS, default="tuned")
    parser.add_argument("--max-new-tokens", type=int, default=200, help="tokens, default 200")
    given = parser.parse_args(arguments)
    with plain_errors("chat"):
        if not given.question.strip():
            raise Stop(
                'the question is empty; put it in quotes, as in `python -m tunelock.commands.chat "What is CWE-79?"`.'
            )
        params = load_yaml("params.yaml")
        make_deterministic(0, params["num_threads"])
        rendering = Rendering.from_params(params)
        stream(FOLDERS[given.model], given.question, params["dtype"], rendering, given.max_new_tokens)


if __name__ == "__main__":
    main()
