"""How many positions a model has, and what becomes of rows and answers that go beyond them."""

import pytest
import torch
from peft import PromptTuningConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from tunelock.model.positions import check_positions, count_room, find_positions
from tunelock.run.errors import Stop

SMALL = {"vocab_size": 64, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}


def build(kind: str, **options) -> PreTrainedModel:
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **SMALL, **options))


def build_gpt2() -> PreTrainedModel:
    config = AutoConfig.for_model("gpt2", vocab_size=64, n_embd=16, n_layer=1, n_head=2, n_positions=64)
    return AutoModelForCausalLM.from_config(config)


@pytest.mark.parametrize(
    "kind, options, said",
    [
        ("llama", {"max_position_embeddings": 48}, "it was made for 48 positions"),
        ("opt", {"max_position_embeddings": 48}, "it has learnt 48 positions, and there are no others"),
        ("falcon", {"alibi": True}, "it counts no positions"),
        (  # as Llama 3.1 says it: the scaled number is stated
            "llama",
            {
                "max_position_embeddings": 128,
                "rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0, "low_freq_factor": 1.0,
                                    "high_freq_factor": 4.0, "original_max_position_embeddings": 16},
            },
            "it was made for 128 positions, 16 before they were scaled",
        ),
        (  # as the pages of Qwen2.5 tell people to write it: the number stated is the one before
            "qwen2",
            {
                "max_position_embeddings": 32,
                "rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0,
                                    "original_max_position_embeddings": 32},
            },
            "it was made for 128 positions, 32 before they were scaled",
        ),
    ],
)  # fmt: skip
def test_the_positions_of_a_model_are_put_into_words(kind, options, said):
    assert find_positions(build(kind, **options)).describe() == said


def test_rows_beyond_learnt_positions_stop():
    model = build_gpt2()
    with pytest.raises(IndexError), torch.no_grad():
        model(input_ids=torch.zeros(1, 65, dtype=torch.long))
    with pytest.raises(Stop, match=r"max_length is 65, but the model has learnt 64 positions .* set it to 64 at most"):
        check_positions(model, 65)
    check_positions(model, 64)


def test_an_answer_may_take_the_last_learnt_position_and_no_more():
    """The last token of an answer is never put in, so it takes no position."""
    model, prompt = build_gpt2(), list(range(3, 63))
    for most in (5, 6):
        found = {"input_ids": torch.tensor([prompt]), "max_new_tokens": most, "min_new_tokens": most, "pad_token_id": 0}
        if most == 5:
            check_positions(model, 64, [prompt, prompt[:3]], most)
            model.generate(**found)
        else:
            with pytest.raises(IndexError):
                model.generate(**found)
            with pytest.raises(Stop, match=r"max_new_tokens 6 take 65 positions.*by 1"):
                check_positions(model, 64, [prompt, prompt[:3]], most)


def test_computed_positions_warn_and_no_positions_say_nothing(capsys):
    check_positions(build("llama", max_position_embeddings=64), 65)
    assert capsys.readouterr().err == (
        "warning: max_length is 65, but the model was made for 64 positions; set it to 64 at most.\n"
    )
    check_positions(build("falcon", alibi=True), 100_000, [[5] * 100_000], 100_000)
    check_positions(build("llama", max_position_embeddings=64), 64, [[5] * 60], 5)
    assert capsys.readouterr().err == ""


def test_a_soft_prompt_takes_positions_too():
    soft = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=10)
    model = build_gpt2()
    with pytest.raises(Stop, match="set it to 54 at most"):
        check_positions(model, 55, adapter=soft)
    assert (count_room(model), count_room(get_peft_model(model, soft))) == (64, 54)
