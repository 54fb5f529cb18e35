"""The quick LoRA layer and the quick attention compute what PEFT and the textbook compute, gradients included."""

import copy
import types

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import Linear as LoraLayer
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from tunelock.model.methods.all_methods import METHODS
from tunelock.model.modeling import load_model, make_deterministic
from tunelock.model.sharing import CPU_ATTENTION
from tunelock.rendering.rendering import Rendering, render_records
from tunelock.training.kernels import cpu_attention
from tunelock.training.kernels.cpu_attention import CausalAttention, use_cpu_attention
from tunelock.training.kernels.fused import GATED, fuse_lora_layers
from tunelock.training.optimisation import build_sft_config
from tunelock.training.trainer import ResponseTrainer

IDS = torch.randint(0, 101, (2, 70), generator=torch.Generator().manual_seed(0))
SHAPE = {"vocab_size": 101, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
         "num_attention_heads": 4, "num_key_value_heads": 2}  # fmt: skip


def base(dtype=torch.float32, biased: bool = False) -> LlamaForCausalLM:
    """A random Llama of two layers, the same each time; a seventh of them has biases if `biased` (attention)."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**SHAPE, attention_bias=biased)).to(dtype)
    for name, parameter in model.named_parameters():
        if name.endswith("_proj.bias"):  # transformers starts them at 0
            torch.nn.init.normal_(parameter.data)
    return model


def adapted(dtype=torch.float32, biased: bool = False, **options):
    """The random Llama with LoRA whose second factor is random too, so that it changes the results."""
    settings = {"r": 4, "lora_alpha": 16, "target_modules": "all-linear", "task_type": "CAUSAL_LM"} | options
    model = get_peft_model(base(dtype, biased), LoraConfig(**settings))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter.data, std=0.3)
    return model.train()


def lora_layers(model) -> dict[str, LoraLayer]:
    return {name: layer for name, layer in model.named_modules() if isinstance(layer, LoraLayer)}


def is_fused(layer: LoraLayer) -> bool:
    return "forward" in vars(layer)


def distance(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """The relative error of a tensor, in norm."""
    return ((found.float() - wanted.float()).norm() / wanted.float().norm()).item()


# ---- LoRA ----------------------------------------------------------------------------------------------------------


def through(layer: LoraLayer, x: torch.Tensor, forward) -> list[torch.Tensor]:
    """What `forward` makes of x, and the gradients of x, A and B."""
    x = x.clone().requires_grad_()
    factors = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    with torch.autocast("cpu", torch.bfloat16, enabled=layer.base_layer.weight.dtype == torch.bfloat16):
        result = forward(x)
    wanted = torch.randn(result.shape, generator=torch.Generator().manual_seed(2)).to(result.dtype)
    return [result.detach(), *torch.autograd.grad(result, (x, *factors), wanted)]


def pefts(layer: LoraLayer):
    """PEFT's own forward of a layer, fused or not."""
    return types.MethodType(type(layer).forward, layer)


@pytest.mark.parametrize("shape", [(2, 7), (5,), (1, 1)])
@pytest.mark.parametrize("options", [{}, {"use_rslora": True}, {"biased": True}])
def test_a_fused_layer_gives_pefts_outputs_and_gradients(options, shape):
    model = adapted(**options)
    assert fuse_lora_layers(model) == len(lora_layers(model)) == 14
    for name, layer in lora_layers(model).items():
        x = torch.randn(*shape, layer.in_features, generator=torch.Generator().manual_seed(1))
        found = through(layer, x, layer.forward)
        wanted = through(layer, x, pefts(layer))
        for ours, theirs in zip(found, wanted, strict=True):
            assert ours.dtype == theirs.dtype and ours.shape == theirs.shape
            assert distance(ours, theirs) < 1e-6, name


def test_in_bfloat16_a_fused_layer_is_as_near_to_float32_as_pefts():
    model = adapted(torch.bfloat16)
    exact = lora_layers(copy.deepcopy(model).float())
    fuse_lora_layers(model)
    for name, layer in lora_layers(model).items():
        x = torch.randn(64, layer.in_features, generator=torch.Generator().manual_seed(1)).bfloat16()
        found = through(layer, x, layer.forward)
        theirs = through(layer, x, pefts(layer))
        wanted = through(exact[name], x.float(), exact[name].forward)
        assert [tensor.dtype for tensor in found] == [tensor.dtype for tensor in theirs]
        for ours, peft, reference in zip(found, theirs, wanted, strict=True):
            assert distance(ours, reference) < max(1e-2, 1.5 * distance(peft, reference)), name


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_fused_model_has_the_loss_and_the_gradients_of_pefts(checkpointing):
    ends = []
    for fused in (False, True):
        model = adapted()
        if checkpointing:
            model.gradient_checkpointing_enable()
        if fused:
            fuse_lora_layers(model)
        loss = model(input_ids=IDS, labels=IDS, use_cache=False).loss
        loss.backward()
        ends.append([loss.detach(), *(p.grad for p in model.parameters() if p.requires_grad)])
    assert len(ends[0]) == 1 + 2 * 14
    assert all(distance(ours, theirs) < 1e-5 for theirs, ours in zip(*ends, strict=True))


def kept_numbers(model) -> int:
    """How many numbers as wide as an MLP is (48) a forward pass keeps for the backward pass, each once."""
    kept = {}

    def note(tensor):
        if tensor.shape[-1:] == (48,) and tensor.numel() > 48 * 48:
            kept[tensor.data_ptr()] = tensor.numel()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss = model(input_ids=IDS, labels=IDS, use_cache=False).loss
    loss.backward()
    return sum(kept.values())


def test_a_fused_mlp_keeps_two_of_its_four_widest_tensors():
    model = adapted()
    before = kept_numbers(model)
    fuse_lora_layers(model)
    assert before == 4 * 2 * IDS.numel() * 48 and kept_numbers(model) == before / 2


@pytest.mark.parametrize("kind", ["mistral", "qwen2", "gemma", "gemma2"])
def test_the_mlps_of_each_family_are_fused(kind):
    ends = []
    for fused in (False, True):
        torch.manual_seed(0)
        config = AutoConfig.for_model(kind, head_dim=8, attn_implementation="eager", **SHAPE)
        model = get_peft_model(
            AutoModelForCausalLM.from_config(config),
            LoraConfig(r=4, init_lora_weights=False, target_modules="all-linear", task_type="CAUSAL_LM"),
        )
        assert not fused or fuse_lora_layers(model) == 14
        mlps = [module for module in model.modules() if type(module).__name__ in GATED]
        assert len(mlps) == 2 and all(("forward" in vars(mlp)) == fused for mlp in mlps)
        loss = model(input_ids=IDS, labels=IDS, use_cache=False).loss
        loss.backward()
        ends.append([loss.detach(), *(p.grad for p in model.parameters() if p.requires_grad)])
    assert all(distance(ours, theirs) < 1e-5 for theirs, ours in zip(*ends, strict=True))


def test_an_mlp_of_which_a_layer_is_not_fused_is_left_alone():
    model = adapted(target_modules=["gate_proj", "down_proj"])
    assert fuse_lora_layers(model) == 4
    assert not any("forward" in vars(module) for module in model.modules() if type(module).__name__ in GATED)


@pytest.mark.parametrize(
    "options",
    [{"use_dora": True}, {"lora_dropout": 0.1}, {"lora_bias": True, "biased": True, "target_modules": ["q_proj"]}],
    ids=["dora", "dropout", "lora_bias"],
)
def test_layers_that_do_more_than_add_a_product_are_left_alone(options):
    model = adapted(**options)
    assert fuse_lora_layers(model) == 0 and not any(is_fused(layer) for layer in lora_layers(model).values())


def test_layers_whose_base_is_trained_are_left_alone_and_the_others_are_not():
    model = adapted(biased=True, bias="all")
    assert fuse_lora_layers(model) == 6
    assert {name.split(".")[-2] for name, layer in lora_layers(model).items() if is_fused(layer)} == {"mlp"}
    loss = model(input_ids=IDS, labels=IDS).loss
    loss.backward()
    assert all(p.grad is not None for name, p in model.named_parameters() if name.endswith("v_proj.base_layer.bias"))


@pytest.mark.parametrize("method", ["qlora", "int8"])
def test_layers_with_a_quantised_base_are_left_alone(method, tiny_model):
    model = load_model(tiny_model, "bfloat16", METHODS[method].quantization("bfloat16", True))
    model = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
    assert fuse_lora_layers(model) == 0


def test_a_second_adapter_goes_pefts_way():
    model = adapted()
    model.add_adapter("other", LoraConfig(r=2, target_modules="all-linear"))
    model.base_model.set_adapter(["default", "other"])
    assert fuse_lora_layers(model) == 0


def test_without_its_adapter_a_fused_model_is_the_base():
    model = adapted()
    fuse_lora_layers(model)
    with torch.no_grad():
        wanted, tuned = base()(input_ids=IDS).logits, model(input_ids=IDS).logits
        with model.disable_adapter():
            assert torch.equal(model(input_ids=IDS).logits, wanted)
        assert torch.equal(model(input_ids=IDS).logits, tuned)
    assert distance(tuned, wanted) > 0.1


def test_a_fused_model_is_merged_after_training():
    model = adapted()
    fuse_lora_layers(model)
    frozen = {name: p.detach().clone() for name, p in model.named_parameters() if not p.requires_grad}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    losses = []
    for _ in range(4):
        loss = model(input_ids=IDS, labels=IDS).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses == sorted(losses, reverse=True)
    assert all(torch.equal(p, frozen[name]) for name, p in model.named_parameters() if name in frozen)
    model.eval()
    with torch.no_grad():
        tuned = model(input_ids=IDS).logits
        model.merge_adapter()
        assert distance(model(input_ids=IDS).logits, tuned) < 1e-5
        model.unmerge_adapter()
        assert distance(model(input_ids=IDS).logits, tuned) < 1e-5
        merged = model.merge_and_unload()
        assert not lora_layers(merged) and distance(merged(input_ids=IDS).logits, tuned) < 1e-5


# ---- attention -----------------------------------------------------------------------------------------------------


def naive(query, key, value, scale) -> torch.Tensor:
    """Causal attention as it is written: each head its keys, a mask, a softmax."""
    group, length = query.shape[1] // key.shape[1], query.shape[2]
    key, value = (tensor.repeat_interleave(group, dim=1) for tensor in (key, value))
    scores = query @ key.transpose(-1, -2) * scale
    hidden = torch.ones(length, length, dtype=torch.bool).triu(1)
    return scores.masked_fill(hidden, -torch.inf).softmax(-1) @ value


def attended(function, inputs, weights) -> list[torch.Tensor]:
    """The result and the gradients of query, key and value."""
    inputs = [tensor.detach().clone().requires_grad_() for tensor in inputs]
    result = function(*inputs)
    return [result.detach(), *torch.autograd.grad(result, inputs, weights)]


def inputs_of(length: int, kv_heads: int, dtype=torch.float32) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Query, key and value as layers hand them over, not contiguous, and a gradient of the result."""
    generator = torch.Generator().manual_seed(length)
    made = [torch.randn(2, length, heads, 16, generator=generator) for heads in (4, kv_heads, kv_heads, 4)]
    *inputs, weights = (tensor.to(dtype).transpose(1, 2) for tensor in made)
    return inputs, weights


@pytest.mark.parametrize("scale", [16**-0.5, 0.6])
@pytest.mark.parametrize("kv_heads", [4, 2, 1])
@pytest.mark.parametrize("length", [1, 63, 64, 65, 130])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 2e-2)])
def test_attention_and_its_gradients_are_those_of_the_textbook(dtype, tolerance, length, kv_heads, scale):
    inputs, weights = inputs_of(length, kv_heads, dtype)
    found = attended(lambda *some: CausalAttention.apply(*some, scale), inputs, weights)
    exact = [tensor.float() for tensor in inputs]
    wanted = attended(lambda *some: naive(*some, scale), exact, weights.float())
    size = wanted[1 if length > 1 else 3].norm()  # a single key: its share is 1, and query and key do not matter
    for ours, reference in zip(found, wanted, strict=True):
        assert ours.dtype == dtype and ours.shape == reference.shape
        assert (ours.float() - reference).norm() < tolerance * max(size, reference.norm())


class Layer(torch.nn.Module):
    """What transformers hands to an attention function as `module`."""

    def __init__(self, groups: int, is_causal: bool = True):
        super().__init__()
        self.num_key_value_groups, self.is_causal = groups, is_causal


@pytest.fixture
def calls(monkeypatch) -> list[int]:
    """The lengths with which the quick attention was called."""
    lengths = []
    apply = CausalAttention.apply

    class Counted(CausalAttention):
        @staticmethod
        def apply(query, *rest):
            lengths.append(query.shape[2])
            return apply(query, *rest)

    monkeypatch.setattr(cpu_attention, "CausalAttention", Counted)
    return lengths


@pytest.mark.parametrize("kv_heads", [4, 2])
@pytest.mark.parametrize("scaling", [None, 0.6])
def test_transformers_gets_the_result_it_expects(scaling, kv_heads, calls):
    inputs, _ = inputs_of(20, kv_heads)
    found, _ = cpu_attention.compute_attention(Layer(4 // kv_heads), *inputs, None, scaling=scaling)
    assert calls == [20] and found.shape == (2, 20, 4, 16)
    torch.testing.assert_close(found, naive(*inputs, scaling or 16**-0.5).transpose(1, 2))


def test_what_is_not_plain_causal_attention_in_training_goes_the_usual_way(calls):
    inputs, _ = inputs_of(6, 2)
    causal = torch.ones(6, 6, dtype=torch.bool).tril()
    apart = causal.clone()
    apart[3:, :3] = False  # two packed rows of three tokens
    masked, _ = cpu_attention.compute_attention(Layer(2), *inputs, apart[None, None])
    halves = [naive(*(tensor[:, :, part] for tensor in inputs), 0.25) for part in (slice(0, 3), slice(3, 6))]
    torch.testing.assert_close(masked.transpose(1, 2), torch.cat(halves, dim=2))
    one = [inputs[0][:, :, -1:], *inputs[1:]]  # a token that is generated, with the keys of those before it
    torch.testing.assert_close(
        cpu_attention.compute_attention(Layer(2), *one, None)[0].transpose(1, 2), naive(*inputs, 0.25)[:, :, -1:]
    )
    everything, _ = cpu_attention.compute_attention(Layer(2, is_causal=False), *inputs, None)
    assert not torch.allclose(everything.transpose(1, 2), naive(*inputs, 0.25))
    with torch.no_grad():
        torch.testing.assert_close(
            cpu_attention.compute_attention(Layer(2), *inputs, None)[0].transpose(1, 2), naive(*inputs, 0.25)
        )
    assert calls == []


def test_only_a_model_that_takes_sdpa_gets_it():
    model, eager = base(), base()
    eager.set_attn_implementation("eager")
    for each in (model, eager):
        use_cpu_attention(each)
    assert model.config._attn_implementation == CPU_ATTENTION and eager.config._attn_implementation == "eager"


def test_packed_and_padded_batches_and_generation_give_what_sdpa_gives():
    ours, theirs = base().eval(), base().eval()
    use_cpu_attention(ours)
    positions = torch.cat([torch.arange(30), torch.arange(40)]).expand(2, -1)
    padded = torch.ones_like(IDS)
    padded[0, :20] = 0
    for options in ({}, {"position_ids": positions}, {"attention_mask": padded}):
        results = [model(input_ids=IDS, use_cache=False, **options).logits for model in (ours, theirs)]
        torch.testing.assert_close(*results, rtol=1e-4, atol=1e-5)
    answers = [model.generate(IDS[:, :10], max_new_tokens=8, do_sample=False) for model in (ours, theirs)]
    assert torch.equal(*answers)


def two_steps(tiny_model, tokenizer, records, folder, checkpointing: bool) -> tuple[list[float], dict, dict]:
    """The losses of two steps of LoRA in float32, and its weights before and after."""
    make_deterministic(0, 1)
    options = {"learning_rate": 1e-2, "lr_scheduler_type": "constant", "adam_epsilon": 1e-3, "save_strategy": "no"}
    config = build_sft_config(
        folder, "float32", 4, max_steps=2, max_length=256, gradient_checkpointing=checkpointing, seed=0, **options
    )
    lora = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")
    rows = render_records(tokenizer, records, Rendering(256)).rows
    trainer = ResponseTrainer(load_model(tiny_model, "float32"), tokenizer, config, lora, rows, [])
    trained = {name: p for name, p in trainer.model.named_parameters() if p.requires_grad}
    before = {name: p.detach().clone() for name, p in trained.items()}
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry], before, trained


@pytest.mark.parametrize("checkpointing", [False, True])
def test_steps_of_training_are_those_with_sdpa_and_pefts_layers(
    checkpointing, tiny_model, tokenizer, records, tmp_path, calls, monkeypatch
):
    run = tiny_model, tokenizer, records, tmp_path, checkpointing
    losses, _, found = two_steps(*run)
    assert len(calls) == 2 * 2 * (2 if checkpointing else 1)  # steps, layers
    calls.clear()
    monkeypatch.setattr("tunelock.training.trainer.fuse_lora_layers", lambda model: 0)
    monkeypatch.setattr("tunelock.training.trainer.use_cpu_attention", lambda model: None)
    slow_losses, before, wanted = two_steps(*run)
    assert not calls and losses == pytest.approx(slow_losses, rel=1e-6)
    for name in wanted:
        assert (found[name] - wanted[name]).norm() < 1e-4 * (wanted[name] - before[name]).norm(), name
