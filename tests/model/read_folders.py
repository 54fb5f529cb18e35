"""Reads model folders with the Transformers that is installed and prints what came out, as JSON; a folder a line.

python tests/model/read_folders.py FOLDER...
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

CHAT = [{"role": "user", "content": "Where  is Paris?\n"}, {"role": "assistant", "content": " In France, isn't it ?"}]
TEXT = " ".join(f"Where is{' ' * (number % 3)} Paris? 12{number} <|code|> ÿ\n in <pad>it." for number in range(12))


def read_folder(folder: str | Path) -> dict[str, Any]:
    """What others see of a model folder: its tokens, loss and greedy answer."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    encoded = tokenizer([TEXT, "Paris"], padding=True)
    ids = torch.tensor(encoded["input_ids"][:1])
    start = {"input_ids": ids[:, :20], "attention_mask": torch.ones_like(ids[:, :20])}
    with torch.no_grad():
        loss = model(input_ids=ids, labels=ids).loss.item()
        answer = model.generate(**start, max_new_tokens=8, do_sample=False)[0, 20:].tolist()
    return {
        "encoded": dict(encoded),
        "chat": tokenizer.apply_chat_template(CHAT, tokenize=False),
        "decoded": tokenizer.decode(encoded["input_ids"][0], skip_special_tokens=True),
        "special": sorted(tokenizer.all_special_ids),
        "answer": answer,
        "loss": loss,
    }


if __name__ == "__main__":
    for name in sys.argv[1:]:
        print(json.dumps(read_folder(name)))
