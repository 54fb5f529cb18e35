"""Counts are exact, the model of the activations agrees with what autograd keeps, and shortage is answered."""

import json
import re
import subprocess
import sys
import weakref
from contextlib import nullcontext
from dataclasses import asdict, fields

import pytest

from tests.command_line import run_tunelock
from tests.conftest import ROOT
from tunelock.model.methods.all_methods import METHODS
from tunelock.model.methods.architecture import Architecture, read_architecture
from tunelock.planning.arithmetic import count_flops, estimate_disk
from tunelock.planning.forecast import Machine, change_settings, forecast_gpu, forecast_machine, forecast_training
from tunelock.planning.forecast_text import describe_forecast, format_place
from tunelock.planning.guides import GUIDED, ONE_ROW, SIZES_OF_GUIDES, compare_with_guides
from tunelock.planning.known_models import FAMILIES
from tunelock.planning.memory import Batch, count_activations, estimate_memory
from tunelock.planning.memory_settings import MEMORY_PARAMS, MemorySettings
from tunelock.planning.training_rows import RowLength, TrainingRows, summarise_lengths
from tunelock.run.errors import Stop
from tunelock.run.params import load_yaml
from tunelock.watching.shortage import MemoryNeed, foresee_shortage, is_shortage, list_memory_remedies, make_memory_stop


def count_trained(shape: Architecture, given: MemorySettings) -> int:
    """What the chosen method trains."""
    return METHODS[given.method].count_trained(shape, given)


TINY = Architecture(2, 64, 128, 4, 2, 16, 512, True)
BATCH = Batch(4, 64, 100)
LLAMA_7B = FAMILIES["llama-2-7b"].architecture
CONFIGS = {
    "LlamaConfig": {},
    "MistralConfig": {"num_key_value_heads": 8},
    "Qwen2Config": {
        "hidden_size": 3584,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "tie_word_embeddings": False,
    },
    "Gemma2Config": {"hidden_size": 3584, "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 256},
}


def settings(**changes) -> MemorySettings:
    """The shipped params with changes."""
    return MemorySettings.from_params(load_yaml(ROOT / "params.yaml") | changes)


def tiny_llama(layers: int = 2):
    """A Llama of the shape TINY, on the CPU in bfloat16."""
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    config = LlamaConfig(
        vocab_size=512, hidden_size=64, intermediate_size=128, num_hidden_layers=layers, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, tie_word_embeddings=True, attn_implementation="sdpa",
    )  # fmt: skip
    return AutoModelForCausalLM.from_config(config).to(torch.bfloat16)


@pytest.mark.parametrize("kind", CONFIGS)
def test_parameters_are_those_of_the_real_modules(kind):
    import torch
    import transformers

    config = getattr(transformers, kind)(**CONFIGS[kind])
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    assert read_architecture(config.to_dict()).parameters == model.num_parameters()


def test_a_model_of_another_build_has_no_known_shape():
    with pytest.raises(KeyError):  # `tunelock.watching.shortage` then leaves memory alone
        read_architecture({"model_type": "gpt2", "n_layer": 12, "n_embd": 768, "vocab_size": 50257})


@pytest.mark.parametrize("changes", [
    {}, {"lora_r": 3, "lora_target_modules": "attention"}, {"lora_target_modules": "attention-qv", "use_dora": True},
    {"lora_target_modules": ["down_proj", "k_proj"]},
])  # fmt: skip
def test_lora_trains_as_many_parameters_as_peft_does(changes):
    from peft import LoraConfig, get_peft_model

    given = settings(method="lora", **changes)
    groups = {"attention": ["q_proj", "k_proj", "v_proj", "o_proj"], "attention-qv": ["q_proj", "v_proj"]}
    targets = given.lora_target_modules if isinstance(given.lora_target_modules, list) else groups.get(
        given.lora_target_modules, "all-linear")  # fmt: skip
    config = LoraConfig(r=given.lora_r, target_modules=targets, use_dora=given.use_dora, task_type="CAUSAL_LM")
    model = get_peft_model(tiny_llama(), config)
    assert count_trained(TINY, given) == model.get_nb_trainable_parameters()[0]


def test_soft_prompts_train_as_many_parameters_as_peft_does():
    from peft import PrefixTuningConfig, PromptEncoderConfig, PromptTuningConfig, get_peft_model

    kinds = {"prefix": PrefixTuningConfig, "prompt": PromptTuningConfig, "ptuning": PromptEncoderConfig}
    for method, kind in kinds.items():
        model = get_peft_model(tiny_llama(), kind(num_virtual_tokens=7, task_type="CAUSAL_LM"))
        given = settings(method=method, num_virtual_tokens=7)
        assert count_trained(TINY, given) == model.get_nb_trainable_parameters()[0], method


def test_full_tuning_leaves_out_what_is_frozen():
    everything = count_trained(TINY, settings(method="full", freeze_embeddings=False))
    without_embeddings = count_trained(TINY, settings(method="full", freeze_embeddings=True))
    without_a_layer = count_trained(TINY, settings(method="full", freeze_embeddings=False, freeze_layers=1))
    assert everything == TINY.parameters
    assert everything - without_embeddings == 512 * 64
    assert everything - without_a_layer == (TINY.parameters - 512 * 64 - 64) / 2


def bytes_kept(model, rows: int, length: int) -> int:
    """Bytes of the distinct storages that autograd saves in a forward pass, weights left out."""
    import torch
    from peft.helpers import disable_input_dtype_casting

    from tunelock.model.tuned import compute_hidden_states

    class Kept:  # in place of a saved tensor: it lives as long as the graph has a use for it
        def __init__(self, tensor):
            self.tensor = tensor
            alive.add(self)

    alive = weakref.WeakSet()
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    ids = torch.randint(0, 512, (rows, length))
    plain = disable_input_dtype_casting(model) if hasattr(model, "peft_config") else nullcontext()
    hooks = torch.autograd.graph.saved_tensors_hooks(Kept, lambda kept: kept.tensor)
    with hooks, plain, torch.autocast("cpu", torch.bfloat16):
        states = compute_hidden_states(model, ids)  # keeps the graph, and with it the storages, alive
    assert states.requires_grad
    storages = (kept.tensor.untyped_storage() for kept in alive)
    sizes = {storage.data_ptr(): storage.nbytes() for storage in storages}
    return sum(size for pointer, size in sizes.items() if pointer not in weights)


def adapted_llama(given, layers: int):
    """A tiny Llama with the adapter of the method, ready to be trained."""
    from peft import LoraConfig, PrefixTuningConfig, PromptTuningConfig, get_peft_model

    from tunelock.training.kernels.fused import fuse_lora_layers

    model = tiny_llama(layers)
    if given.method == "full":
        return model.float().train()
    if given.method == "lora":
        targets = ["q_proj", "v_proj"] if given.lora_target_modules == "attention-qv" else "all-linear"
        config = LoraConfig(r=given.lora_r, target_modules=targets, lora_dropout=given.lora_dropout,
                            use_dora=given.use_dora, task_type="CAUSAL_LM")  # fmt: skip
    else:
        kind = {"prefix": PrefixTuningConfig, "prompt": PromptTuningConfig}[given.method]
        config = kind(num_virtual_tokens=given.num_virtual_tokens, task_type="CAUSAL_LM")
    model = get_peft_model(model, config).train()
    fuse_lora_layers(model)  # as the trainer does
    return model


@pytest.mark.parametrize("changes", [
    {"method": "lora"}, {"method": "lora", "lora_target_modules": "attention-qv"}, {"method": "full"},
    {"method": "lora", "lora_dropout": 0.1}, {"method": "lora", "use_dora": True}, {"method": "prefix"},
    {"method": "prompt"},
], ids=str)  # fmt: skip
def test_a_layer_keeps_what_autograd_keeps(changes):
    given, rows, length = settings(**changes), 4, 128
    measured = bytes_kept(adapted_llama(given, 4), rows, length) - bytes_kept(adapted_llama(given, 2), rows, length)
    batch = Batch(rows, length, 0)
    expected = count_activations(TINY._replace(layers=4), given, batch) - count_activations(TINY, given, batch)
    if given.method in ("lora", "full"):  # the copies in bfloat16 that autocast makes of what is trained
        expected += 2 * count_trained(TINY, given)
    assert expected == pytest.approx(measured, rel=0.03)


def test_more_of_anything_takes_more():
    start = estimate_memory(TINY, settings(), BATCH).peak
    assert estimate_memory(TINY, settings(), Batch(4, 128, 100)).peak > start
    assert estimate_memory(TINY, settings(), Batch(8, 64, 100)).peak > start
    assert estimate_memory(TINY, settings(lora_r=64), BATCH).peak > start
    assert estimate_memory(TINY._replace(layers=4), settings(), BATCH).peak > start
    assert estimate_memory(TINY._replace(vocab=1024), settings(), BATCH).peak > start
    assert estimate_memory(TINY, settings(dtype="float32"), BATCH).peak > start
    assert estimate_memory(TINY, settings(method="full"), BATCH).peak > start
    assert count_flops(TINY, settings(), 128, 1) > count_flops(TINY, settings(), 64, 1)
    assert count_flops(LLAMA_7B, settings(method="full"), 64, 1) > count_flops(LLAMA_7B, settings(), 64, 1)


def test_savings_save():
    big, batch = LLAMA_7B, Batch(4, 1024, 4096)
    base = estimate_memory(big, settings(), batch)
    assert estimate_memory(big, settings(gradient_checkpointing=True), batch).activations < base.activations / 5
    assert estimate_memory(big, settings(method="qlora"), batch).weights < base.weights / 3
    assert base.weights / 3 < estimate_memory(big, settings(method="int8"), batch).weights < base.weights / 1.8
    full, frugal = settings(method="full"), settings(method="full", optim="adamw_8bit")
    assert estimate_memory(big, frugal, batch).optimiser < estimate_memory(big, full, batch).optimiser / 3.5
    assert count_activations(big, settings(method="prompt"), batch) < count_activations(
        big, settings(lora_dropout=0.1), batch
    )
    assert base.activations < 0.7 * count_activations(big, settings(lora_dropout=0.1), batch)  # the MLP as one
    single = estimate_memory(big, settings(method="qlora", bnb_4bit_use_double_quant=False), batch)
    saved = single.constants - estimate_memory(big, settings(method="qlora"), batch).constants
    assert saved * 8 / 6.48e9 == pytest.approx(0.373, abs=0.005)  # bits a weight, as the QLoRA paper says


def test_the_guides_numbers_for_full_tuning_are_the_float32_weights_alone():
    for place, size in enumerate(SIZES_OF_GUIDES):
        full, lora, qlora = (GUIDED[method].gigabytes[place] for method in ("full", "lora", "qlora"))
        shape = FAMILIES[f"llama-2-{size}"].architecture
        assert shape.parameters * 4 / 1e9 == pytest.approx(full, rel=0.05), size
        given = [settings(method=method, freeze_embeddings=False) for method in ("full", "lora", "qlora")]
        ours = [estimate_memory(shape, each, ONE_ROW).peak / 1e9 for each in given]
        assert ours[0] > 3.5 * full, size  # gradients and the optimiser's states come on top of them
        assert ours[2] == pytest.approx(qlora, rel=0.25), size
        if size != "70b":  # 80 GB are fewer than its bfloat16 weights
            assert ours[1] == pytest.approx(lora, rel=0.15), size
    assert compare_with_guides(settings())[2].startswith("| 7B | 28 / ")


def lengths(*pairs: tuple[int, int]) -> list[RowLength]:
    return [RowLength(*pair) for pair in pairs]


def test_the_largest_batch_is_made_of_the_longest_rows():
    given = settings(per_device_train_batch_size=2)
    rows = summarise_lengths(lengths((10, 5), (30, 20), (20, 10), (25, 1)), 8, given, "here")
    assert rows.batch == Batch(2, 30, 21)
    assert rows.tokens == 170
    packed = summarise_lengths(lengths((10, 5)), 1, settings(packing=True), "here")
    assert packed.batch == Batch(8, 384, 8 * 384 // 2)


def test_a_gpu_fits_or_says_what_is_missing():
    line = format_place(forecast_gpu("t4", 10e9, 65e12 * 3600 * 0.4, settings(dtype="bfloat16"), 2.0))
    assert "| t4 | 15 | 10.0 | fits, with dtype=float16 | 60 min | $2.00 | $2.00 |" in line
    assert "| 5.0 GB short | - | - | $1.00 |" in format_place(forecast_gpu("l4", 29e9, 1e15, settings(), 1.0))


def test_this_machine_is_forecast_in_the_dtype_it_would_train_in():
    rows = TrainingRows(1, 64, 1, BATCH, "here")
    place = forecast_machine(TINY, settings(dtype="auto"), rows, 1e12, Machine("float32", 4e9, 50e9))
    assert format_place(place).startswith("| here, CPU | 4.0 | ")
    assert place.seconds == 40 and "50 GFLOP/s measured in float32" in place.source
    big = FAMILIES["smollm2-135m"].architecture
    needed = estimate_memory(big, settings(dtype="float32"), BATCH).peak
    place = forecast_machine(big, settings(dtype="auto"), rows, 1e12, Machine("float32", 0.5e9, 50e9))
    assert place.needed_gb == needed / 1e9 and not place.fits and place.seconds is None
    assert needed > 1.5 * estimate_memory(big, settings(dtype="bfloat16"), BATCH).peak


def test_a_forecast_covers_every_method_and_params_can_be_changed(monkeypatch):
    monkeypatch.chdir(ROOT)
    for method in ("lora", "qlora", "int8", "full", "prefix", "prompt", "ptuning"):
        given = change_settings([f"method={method}"])
        rows = summarise_lengths(lengths((60, 30)), 10, given, "here")
        found = forecast_training("tiny", TINY, given, rows, {"l4": None}, Machine("bfloat16", 1e9, 1e11))
        assert any(line.startswith("| l4 | 24 | ") and "fits" in line for line in describe_forecast(found)), method
        assert found.memory_at_peak <= sum(found.memory.values())
    with pytest.raises(Stop, match="lora_r"):
        change_settings(["lora_r=0"])
    assert estimate_disk(TINY, settings(), 2).checkpoints == 3 * 12 * count_trained(TINY, settings())


def test_the_command_prints_a_table_or_json(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("tunelock.watching.progress.measure_matmul_rate", lambda dtype: 1e11)
    words = (
        "estimate",
        "--model",
        "llama-3.1-8b",
        "--gpu",
        "l4",
        "--gpu",
        "h100",
        "-S",
        "method=qlora",
        "--price",
        "2",
    )
    printed = run_tunelock(*words).stdout
    assert re.findall(r"^\| (l4|h100|t4) .*\| \$2\.00 \|", printed, re.MULTILINE) == ["l4", "h100"]
    found = json.loads(run_tunelock(*words, "--json").stdout)
    assert (found["model"], found["method"]) == ("llama-3.1-8b", "qlora")
    assert [place["name"] for place in found["places"]] == ["l4", "h100", "here, CPU"]
    assert f"at the peak {found['memory_at_peak']:.2f}" in printed


def test_what_is_not_known_ends_in_a_sentence(monkeypatch, tmp_path):
    assert run_tunelock("estimate", "--gpu", "t5").exit_code == 2
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    done = run_tunelock("estimate")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("tunelock estimate: models/base is not there; run `dvc repro base`")


def test_settings_that_are_read_are_named():
    assert set(MEMORY_PARAMS) == {field.name for field in fields(MemorySettings)}
    with pytest.raises(KeyError, match="lora_r"):
        MemorySettings.from_params({key: 1 for key in MEMORY_PARAMS if key != "lora_r"})


def test_remedies_come_in_order_and_leave_out_what_is_in_force():
    given = settings(per_device_train_batch_size=6, gradient_accumulation_steps=2)
    ways = list_memory_remedies(given, cuda=True)
    assert "per_device_train_batch_size=3 -S gradient_accumulation_steps=4" in ways[0]
    keys = (
        "batch",
        "gradient_checkpointing=true",
        "max_length=192",
        "optim=",
        "lora_r=8",
        "method=qlora",
        "--model NAME",
    )
    assert all(key in way for key, way in zip(keys, ways, strict=True))
    given = settings(
        per_device_train_batch_size=1, gradient_checkpointing=True, method="qlora", max_length=32, lora_r=2
    )
    (last,) = list_memory_remedies(given, cuda=False)
    assert "a smaller model" in last and last in str(make_memory_stop(MemoryNeed(9e9, 4e9, given, cuda=False)))


def test_a_run_that_cannot_fit_is_stopped_and_a_close_one_is_warned_of(capsys):
    foresee_shortage(MemoryNeed(4e9, 8e9, settings(), cuda=False))
    assert not capsys.readouterr().err
    foresee_shortage(MemoryNeed(9e9, 8e9, settings(), cuda=False))
    assert "memory may be short: training needs about 9.0 GB and 8.0 GB are free" in capsys.readouterr().err
    with pytest.raises(Stop, match="too little memory"):
        foresee_shortage(MemoryNeed(20e9, 8e9, settings(), cuda=False))


LIMITED = """
import json, resource, sys
import torch
from transformers import AutoModelForCausalLM
from tunelock.planning.memory_settings import MemorySettings
from tunelock.watching.shortage import MemoryNeed, is_shortage, make_memory_stop, measure_free_memory
torch.set_num_threads(1)
model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
there = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (there + 300_000_000, there + 300_000_000))
before = measure_free_memory()
assert 200_000_000 < before < 310_000_000, before
try:
    model(input_ids=torch.zeros(64, 512, dtype=torch.long)).logits.sum().backward()
except Exception as error:
    assert is_shortage(error), error
    print(make_memory_stop(MemoryNeed(6.4e9, before, MemorySettings(**json.loads(sys.argv[2])), cuda=False)))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of the address space are Linux's")
def test_memory_that_runs_out_is_recognised_and_answered(tiny_model):
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tiny_model), json.dumps(asdict(settings()))],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "out of memory: training needs about 6.4 GB and 0.3 GB are free" in done.stdout
    assert "`dvc exp run -S per_device_train_batch_size=4 -S gradient_accumulation_steps=2`" in done.stdout


def test_other_errors_are_no_shortage():
    assert not is_shortage(RuntimeError("shapes do not match"))
    assert not is_shortage(ValueError("out of memory"))
    assert is_shortage(MemoryError())
    assert is_shortage(type("OutOfMemoryError", (RuntimeError,), {})("CUDA"))
