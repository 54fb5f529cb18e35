"""The chat templates of models that are known by name, as TRL ships them, are rendered to answers with their ends."""

import re
from pathlib import Path

import pytest
import trl
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from tests.rendering.small_tokenizers import TALK
from tunelock.planning.known_models import FAMILIES
from tunelock.rendering.conversation import IGNORE, find_end_token, render_messages, render_prompt

TEMPLATES = {  # TRL's file, and the token that ends an answer
    "llama-3.1-8b": ("llama3_1", "<|eot_id|>"),
    "llama-3.2-1b": ("llama3_2", "<|eot_id|>"),
    "qwen2.5-7b": ("qwen2_5", "<|im_end|>"),
    "qwen3-8b": ("qwen3", "<|im_end|>"),
    "gemma-3-1b": ("gemma3", "<end_of_turn>"),
    "gpt-oss-20b": ("gptoss", "<|return|>"),
}
CONTROL = re.compile(r"<\|\w+\|>|<(?:start|end)_of_turn>")


def make_tokenizer(template: str) -> PreTrainedTokenizerFast:
    """One whose tokens are bytes and the template's control strings."""
    controls = ["<s>", "<eos>", *sorted(set(CONTROL.findall(template)))]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({token: number for number, token in enumerate([*controls, *alphabet])}, []))
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    made.add_special_tokens(controls)
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="<eos>", chat_template=template)


@pytest.mark.parametrize("name", TEMPLATES)
def test_what_is_learnt_of_a_known_model_are_answers_and_their_end(name):
    file, end = TEMPLATES[name]
    assert FAMILIES[name].chat_template is None, "its own template serves"
    tokenizer = make_tokenizer((Path(trl.__file__).parent / f"chat_templates/{file}.jinja").read_text(encoding="utf-8"))
    assert tokenizer.decode([find_end_token(tokenizer)]) == end
    rendered = render_messages(tokenizer, TALK)
    learnt = tokenizer.decode([label for label in rendered.labels if label != IGNORE])
    assert learnt.endswith(f"In Italy.{end}") and learnt.count("In France.") <= 1
    assert rendered.input_ids[: rendered.prompt_length] == render_prompt(tokenizer, TALK[:-1])
