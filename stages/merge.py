"""Merge what was trained into its base and prove the result.

    python -m stages.merge

Reads models/base and models/adapter; writes models/merged, a standard Hugging Face folder, and
models/merge_proof.json. A soft prompt has no weights to merge: models/merged is then the
adapter with its base in the folder `base`, which `tunelock.model.tuned.load_tuned` puts together.
"""

from pathlib import Path

import torch
from peft import PeftModel, get_peft_model_state_dict

from tunelock.model.methods.all_methods import METHODS
from tunelock.model.model_folder import save_model
from tunelock.model.modeling import clear_quantization, load_model, make_deterministic, resolve_dtype
from tunelock.model.provenance import check_base, read_shapes
from tunelock.model.tuned import load_tuned, save_soft_prompt
from tunelock.rendering.rendering import RENDERING_PARAMS, RenderedRow, Rendering, load_tokenizer, render_records
from tunelock.rendering.tokenizer_folder import save_tokenizer
from tunelock.run.errors import Stop
from tunelock.run.files import read_jsonl, whole_folder, write_json
from tunelock.run.stage import stage

# Largest relative difference ‖merged - (base + adapter)‖ / ‖base + adapter‖ of the probe logits, both computed
# in float32. Rounding the merged weights to bfloat16 (8 bits) gives about 0.005; float32 weights give 1e-6.
TOLERANCE = {"bfloat16": 0.02, "float16": 0.0025, "float32": 1e-4}
PROBE_ROWS = 8


def probe_logits(model, rows: list[RenderedRow]) -> torch.Tensor:
    """The logits over each token of each row, one after another, shape (tokens, vocabulary), float32."""
    model.eval()
    found = []
    with torch.no_grad():
        for row in rows:
            ids = torch.tensor([row["input_ids"]])
            found.append(model(input_ids=ids).logits[0, -ids.shape[1] :].float())  # a soft prompt's own go
    return torch.cat(found)


def measure_difference(found: torch.Tensor, reference: torch.Tensor) -> float:
    """Relative difference ‖found - reference‖ / ‖reference‖."""
    return (torch.linalg.norm(found - reference) / torch.linalg.norm(reference)).item()


def load_trained_base(base: Path | str, method: str, dtype: str = "bfloat16", double_quant: bool = True):
    """The base in float32 on the CPU, with the very weights that the adapter was trained on.

    An adapter on a quantised base has learnt to mend that base's errors; on the original weights those corrections are
    errors themselves. So the quantised weights are made dense again in the `dtype` they were multiplied in, and the
    adapter goes on top of them.
    """
    quantization = METHODS[method].quantization(dtype, double_quant)
    if quantization is None:
        return load_model(base, "float32").cpu()
    model = load_model(base, dtype, quantization)
    return clear_quantization(model.dequantize(getattr(torch, dtype))).float().cpu()


def add_adapter(base_model, adapter: Path | str) -> PeftModel:
    """Put the adapter on the base; `Stop` if it does not fill exactly the weights it should."""
    found = set(read_shapes(adapter, "adapter_model"))
    try:
        model = PeftModel.from_pretrained(base_model, adapter)
    except (KeyError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise Stop(f"{adapter} does not fit its base ({reason}); train again.") from None
    wanted = set(get_peft_model_state_dict(model, save_embedding_layers=False))
    if found != wanted:
        raise Stop(
            f"{adapter} lacks {len(wanted - found)} weights and has {len(found - wanted)} too many; train again."
        )
    return model


def load_whole_model(adapter: Path | str, base: Path | str):
    """The fully tuned model in float32 on the CPU; `Stop` if its weights are not shaped as the base's."""
    found, wanted = read_shapes(adapter), read_shapes(base)
    odd = sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
    if odd:
        raise Stop(f"{adapter} does not fit {base}: {len(odd)} weights differ in shape, '{odd[0]}' first; train again.")
    return load_model(adapter, "float32").cpu()


def _write_model(tuned, folder: Path, dtype: str) -> None:
    """Write one model in `dtype`, the adapter added to its weights."""
    merged = tuned.merge_and_unload(safe_merge=True) if isinstance(tuned, PeftModel) else tuned
    save_model(merged.to(getattr(torch, dtype)), folder)


def prove_merge(base: torch.Tensor, tuned: torch.Tensor, merged: torch.Tensor, tolerance: float) -> dict[str, float]:
    """The figures of the proof, from the three models' logits on the same rows.

    Raises:
        Stop: merged differs from base + adapter by more than `tolerance`, or the adapter changes nothing that
            could be told from rounding.
    """
    figures = {
        "merged_against_adapter": measure_difference(merged, tuned),
        "merged_against_base": measure_difference(merged, base),
        "tolerance": tolerance,
    }
    if not figures["merged_against_adapter"] <= tolerance:
        raise Stop(
            f"the merged model's logits differ from base + adapter by {figures['merged_against_adapter']:.4f}, "
            f"more than the tolerance {tolerance}; do not ship it."
        )
    if figures["merged_against_base"] <= figures["merged_against_adapter"]:
        raise Stop("the merged model cannot be told from its base: the adapter changed nothing; train longer.")
    return figures


def merge(
    base: Path, adapter: Path, folder: Path, rows: list[RenderedRow], dtype: str, trained: dict
) -> dict[str, float]:
    """Write base + adapter into `folder` in `dtype`, and return the proof on rendered `rows`.

    `trained` says how the adapter was: `method`, and for a quantised base `dtype` and `double_quant`.

    Raises:
        Stop: the adapter does not fit the base, or the proof fails.
    """
    read_shapes(base)  # whole, before anything is loaded
    method, how = METHODS[trained["method"]], {key: trained[key] for key in ("dtype", "double_quant") if key in trained}
    model = load_trained_base(base, method.name, **how)
    base_logits = probe_logits(model, rows)
    tuned = load_whole_model(adapter, base) if method.trains_whole_model else add_adapter(model, adapter)
    tuned_logits = probe_logits(tuned, rows)
    if method.is_merged:
        _write_model(tuned, folder, dtype)
    else:
        save_soft_prompt(adapter, base, folder)
        print(f"{method.name} cannot be merged into weights: models/merged holds it and the base in one folder")
    save_tokenizer(load_tokenizer(base), folder)
    merged_logits = probe_logits(load_tuned(folder, "float32").cpu(), rows)
    return prove_merge(base_logits, tuned_logits, merged_logits, TOLERANCE[dtype])


@stage("merge")
def main(params, _fingerprint) -> str:
    make_deterministic(0, params.num_threads)
    base, adapter = Path("models/base"), Path("models/adapter")
    trained = check_base(adapter, base)
    records = read_jsonl("data/split/val.jsonl")
    rows = render_records(load_tokenizer(base), records, Rendering(**params.select(RENDERING_PARAMS))).rows
    with whole_folder("models/merged") as folder:
        figures = merge(base, adapter, folder, rows[:PROBE_ROWS], resolve_dtype(params.dtype), trained)
    write_json("models/merge_proof.json", figures)
    return f"merged; logits differ from base + adapter by {figures['merged_against_adapter']:.5f} (relative)"


if __name__ == "__main__":
    main()
