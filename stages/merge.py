"""Merge the adapter into its base and prove the result.

    python -m stages.merge

Reads models/base and models/adapter; writes models/merged, a standard Hugging Face folder, and
models/merge_proof.json.
"""

from pathlib import Path

import torch
from peft import PeftModel, get_peft_model_state_dict
from safetensors import safe_open

from stages.lib.errors import Stop
from stages.lib.files import read_jsonl, whole_folder, write_json
from stages.lib.modeling import load_model, settle, unquantize
from stages.lib.provenance import check_base
from stages.lib.rendering import fit, load_tokenizer
from stages.lib.stage import stage

# Largest relative difference ‖merged - (base + adapter)‖ / ‖base + adapter‖ of the probe logits, both computed
# in float32. Rounding the merged weights to bfloat16 (8 bits) gives about 0.005; float32 weights give 1e-6.
TOLERANCE = {"bfloat16": 0.02, "float32": 1e-4}
PROBE_ROWS = 8


def logits_of(model, rows: list[dict]) -> torch.Tensor:
    """The logits over each token of each row, one after another, shape (tokens, vocabulary), float32."""
    model.eval()
    with torch.no_grad():
        return torch.cat([model(input_ids=torch.tensor([row["input_ids"]])).logits[0].float() for row in rows])


def difference(found: torch.Tensor, reference: torch.Tensor) -> float:
    """Relative difference ‖found - reference‖ / ‖reference‖."""
    return (torch.linalg.norm(found - reference) / torch.linalg.norm(reference)).item()


def trained_base(base: str, method: str):
    """The base in float32 on the CPU, with the very weights that the adapter was trained on.

    A QLoRA adapter has learnt to mend the errors of its 4-bit base; on the original weights those corrections
    are errors themselves. So the NF4 weights are de-quantised, and the adapter goes on top of them.
    """
    if method == "qlora":
        return unquantize(load_model(base, "bfloat16", quantize=True).dequantize()).float().cpu()
    return load_model(base, "float32").cpu()


def add_adapter(base_model, adapter: str) -> PeftModel:
    """Put the adapter on the base; `Stop` if it does not fill exactly the weights it should."""
    model = PeftModel.from_pretrained(base_model, adapter)
    with safe_open(Path(adapter, "adapter_model.safetensors"), framework="pt") as file:
        found = set(file.keys())
    wanted = set(get_peft_model_state_dict(model))
    if found != wanted:
        raise Stop(
            f"{adapter} lacks {len(wanted - found)} weights and has {len(found - wanted)} too many; train again."
        )
    return model


def prove(base: torch.Tensor, tuned: torch.Tensor, merged: torch.Tensor, tolerance: float) -> dict[str, float]:
    """The figures of the proof, from the three models' logits on the same rows.

    Raises:
        Stop: merged differs from base + adapter by more than `tolerance`, or the adapter changes nothing that
            could be told from rounding.
    """
    figures = {
        "merged_against_adapter": difference(merged, tuned),
        "merged_against_base": difference(merged, base),
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


@stage("merge")
def main(params, _fingerprint) -> None:
    settle(0, params.num_threads)
    provenance = check_base("models/adapter", "models/base")
    tokenizer = load_tokenizer("models/base")
    rows, _ = fit(tokenizer, read_jsonl("data/split/val.jsonl"), params.system_prompt, params.max_length)
    rows = rows[:PROBE_ROWS]
    base = trained_base("models/base", provenance["method"])
    with whole_folder("models/merged") as folder:
        base_logits = logits_of(base, rows)
        tuned = add_adapter(base, "models/adapter")
        tuned_logits = logits_of(tuned, rows)
        merged = tuned.merge_and_unload(safe_merge=True).to(getattr(torch, params.dtype))
        merged.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        reloaded = logits_of(load_model(folder, "float32").cpu(), rows)
        figures = prove(base_logits, tuned_logits, reloaded, TOLERANCE[params.dtype])
    write_json("models/merge_proof.json", figures)
    print(f"merged; logits differ from base + adapter by {figures['merged_against_adapter']:.5f} (relative)")


if __name__ == "__main__":
    main()
