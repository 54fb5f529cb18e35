"""Every end token is known where answers are written, counted and shown, and to whoever runs what is shipped."""

import shutil
from pathlib import Path

import pytest
import torch
import trl
from peft import LoraConfig, PeftModel, get_peft_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from stages.base import save_resolved
from stages.evaluate import add_answers
from stages.merge import merge
from tunelock.answering.decoding import decode_greedily
from tunelock.chatting.chat_model import ChatModel, ChatSettings
from tunelock.model.tuned import load_tuned, read_generation_settings
from tunelock.rendering.rendering import Rendering, load_tokenizer
from tunelock.rendering.vocabulary import find_end_tokens
from tunelock.run.errors import Stop
from tunelock.run.files import read_json

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CONTROLS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|return|>", "<|call|>", "<|end|>"]
TEXT, TURN, RETURN, CALL, END = (CONTROLS.index(name) for name in
                                 ("<|endoftext|>", "<|im_end|>", "<|return|>", "<|call|>", "<|end|>"))  # fmt: skip


def make_tokenizer(eos: str | None = "<|endoftext|>", template: str | None = CHATML) -> PreTrainedTokenizerFast:
    """One whose tokens are bytes, and the control tokens before them."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({token: number for number, token in enumerate([*CONTROLS, *alphabet])}, []))
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    made.add_special_tokens(CONTROLS)
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token=eos, pad_token="<|im_end|>", chat_template=template)


def make_chain(tokenizer: PreTrainedTokenizerFast, *words: list[int]) -> LlamaForCausalLM:
    """A model in which each token is followed by the next one of its word, whatever stands before."""
    size = len(tokenizer)
    config = LlamaConfig(
        vocab_size=size, hidden_size=size, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, head_dim=4,
        tie_word_embeddings=False, bos_token_id=None, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        model.model.embed_tokens.weight.copy_(torch.eye(size))
        model.model.layers[0].self_attn.o_proj.weight.zero_()
        model.model.layers[0].mlp.down_proj.weight.zero_()
        model.lm_head.weight.zero_()
        for word in words:
            model.lm_head.weight[word[1:], word[:-1]] = 1
    return model


@pytest.fixture(scope="module")
def tokenizer():
    return make_tokenizer()


@pytest.fixture(scope="module")
def words(tokenizer) -> list[list[int]]:
    """What the model says: one answer ends as the template ends it, two by the end-of-sequence token."""
    spelt = [tokenizer.encode(text) for text in ("abcd<|im_end|>efgh", "ABC<|endoftext|>DEF", "\nOK<|endoftext|>")]
    return spelt


@pytest.fixture(scope="module")
def made(tokenizer, words, tmp_path_factory) -> Path:
    """A folder with the base, an adapter and what they are merged to, out of a model that knows one of its ends."""
    folder = tmp_path_factory.mktemp("ends")
    model = make_chain(tokenizer, *words)
    model.save_pretrained(folder / "source")
    tokenizer.save_pretrained(folder / "source")
    save_resolved(folder / "source", folder / "base", "float32")
    torch.manual_seed(0)
    adapted = get_peft_model(load_tuned(folder / "base", "float32"), LoraConfig(r=2, target_modules="all-linear"))
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=1e-3)
    adapted.save_pretrained(folder / "adapter")
    merge(folder / "base", folder / "adapter", folder / "merged", [{"input_ids": words[0]}], "float32",
          {"method": "lora"})  # fmt: skip
    return folder


def generate(model, prompt: list[int]) -> list[int]:
    """What Transformers' own loop writes, with the settings that lie beside the model."""
    ids = torch.tensor([prompt])
    out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False)
    return out[0, len(prompt) :].tolist()


def test_plain_generate_of_what_is_shipped_stops_where_our_answers_do(made, words):
    merged = load_tokenizer(made / "merged")
    ends = find_end_tokens(merged, read_generation_settings(made / "merged"))
    assert ends == (TURN, TEXT)
    prompts = [words[0][:2], words[1][:1]]
    ours = decode_greedily(load_tuned(made / "merged", "float32"), prompts, 12, ends).tokens
    assert ours == [words[0][2:5], words[1][1:4]]
    shipped = AutoModelForCausalLM.from_pretrained(made / "merged")
    adapted = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(made / "base"), made / "adapter")
    source = AutoModelForCausalLM.from_pretrained(made / "source")
    assert generate(source, prompts[0]) != ours[0], "the model knew its ends before, so this shows nothing"
    source.generation_config = GenerationConfig.from_pretrained(made / "base")  # as the package's README has it
    packed = PeftModel.from_pretrained(source, made / "adapter")
    for model in (shipped, adapted, packed):
        assert [generate(model, prompt) for prompt in prompts] == ours


def test_the_settings_list_the_end_of_the_template_first_and_are_the_models_own(made):
    for name in ("base", "merged"):
        settings = read_json(made / name / "generation_config.json")
        assert settings["eos_token_id"] == [TURN, TEXT]
        # Transformers 4 makes them again from config.json where this is true.
        assert not settings.get("_from_model_config")


def test_no_end_token_is_the_pad_token_of_the_base(made):
    assert load_tokenizer(made / "base").pad_token == "<|pad|>"


def test_a_chat_ends_at_every_end_and_shows_none(made, tmp_path):
    folder = tmp_path / "chat"
    shutil.copytree(made / "merged", folder)
    written = []
    model = ChatModel(folder, ChatSettings("float32", 1, Rendering(256), 12))
    assert model.stream_answer([{"role": "user", "content": "Well?"}], written.append).text == "OK"
    assert "".join(written) == "OK"


def test_an_answer_that_ends_by_any_of_them_stopped(tokenizer):
    rows, said = [{}, {}, {}, {}], tokenizer.encode("OK")
    ordinary = tokenizer.encode("!")[0]  # an end that is no control token is not part of the answer
    add_answers(rows, [[*said, TURN], [*said, TEXT], [*said, ordinary], said], tokenizer, (TURN, TEXT, ordinary))
    assert [row["answer"] for row in rows] == ["OK"] * 4
    assert [row["stopped"] for row in rows] == [True, True, True, False]
    assert [row["new_tokens"] for row in rows] == [3, 3, 3, 2]


@pytest.mark.parametrize(
    ("eos", "template", "listed", "ends"),
    [
        ("<|im_end|>", CHATML, TURN, (TURN,)),
        ("<|endoftext|>", CHATML, None, (TURN, TEXT)),
        (None, CHATML, None, (TURN,)),
        ("<|endoftext|>", None, [TEXT, CALL], (TEXT, CALL)),  # raw texts need no template
        ("<|endoftext|>", "{{ raise_exception('no') }}", [CALL], (TEXT, CALL)),
        ("<|im_end|>", CHATML, [TEXT, 151645, TURN], (TURN, TEXT)),  # beyond the vocabulary
    ],
)
def test_ends_come_from_template_tokenizer_and_settings_each_once(eos, template, listed, ends):
    assert find_end_tokens(make_tokenizer(eos, template), GenerationConfig(eos_token_id=listed)) == ends


def test_a_base_that_nothing_ends_stops():
    with pytest.raises(Stop, match=r"nothing ends an answer of the base model; set eos_token"):
        find_end_tokens(make_tokenizer(None, None), GenerationConfig(eos_token_id=[151645]))


def test_what_stands_between_the_channels_of_gpt_oss_ends_nothing():
    """Its settings list <|return|>, <|endoftext|> and <|call|>; <|end|> closes an analysis that the answer follows."""
    template = (Path(trl.__file__).parent / "chat_templates/gptoss.jinja").read_text(encoding="utf-8")
    settings = GenerationConfig(eos_token_id=[RETURN, TEXT, CALL])
    found = find_end_tokens(make_tokenizer("<|return|>", template), settings)
    assert found == (RETURN, TEXT, CALL) and END not in found
