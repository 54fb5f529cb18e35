"""What can be wrong between params that are each fine by themselves."""

from tunelock.schema.source_schema import roles, unpinned

LORA = ("lora", "qlora", "int8")
SOFT = ("prefix", "prompt", "ptuning")


class Known(dict):
    """The values of the sound keys; a rule that needs another one is passed over."""

    def __missing__(self, key):
        raise LookupError(key)


# Each rule: is it broken, given the values? And what to say then.
RULES = [
    (lambda v: v["min_response_chars"] > v["max_response_chars"],
     "min_response_chars: is above max_response_chars, so no row could pass; lower it."),
    (lambda v: not v["golden_groups"] and not v["golden_where"] and not v["golden_ratio"],
     "golden_ratio: nothing says what is golden; set golden_groups, golden_where or golden_ratio."),
    (lambda v: v["replay_share"] > 0 and "replay" not in roles(v["sources"]),
     "replay_share: no source has `role: replay`; give one that role, or set 0."),
    (lambda v: v["replay_share"] == 0 and "replay" in roles(v["sources"]),
     "replay_share: is 0, so the source with `role: replay` would not be used; raise it or remove the source."),
    (lambda v: "main" not in roles(v["sources"]),
     "sources: every source has `role: replay`; what is to be learnt needs `role: main`."),
    (lambda v: v["val_ratio"] + v["test_ratio"] >= 1,
     "test_ratio: with val_ratio it takes every group, so train would be empty; lower one of them."),
    (lambda v: v["model_name_or_path"].startswith("wheel:") and len(v["model_revision"]) != 64,
     "model_revision: a wheel is pinned by its sha256 (64 hex digits); put it here."),
    (lambda v: v["max_new_tokens"] >= v["max_length"],
     "max_new_tokens: must be below max_length, or no room is left for the prompt; lower it."),
    (lambda v: v["method"] == "qlora" and v["dtype"] == "float32",
     "dtype: qlora computes in bfloat16; set dtype to bfloat16."),
    (lambda v: v["method"] not in LORA and (v["use_dora"] or v["use_rslora"] or v["bias"] != "none"),
     "method: use_dora, use_rslora and bias are options of LoRA; set them false and none, or method to lora."),
    (lambda v: v["method"] != "full" and (v["freeze_layers"] or v["unfreeze_schedule"]),
     "freeze_layers: it and unfreeze_schedule are for method full, the others freeze the base; set 0 and null."),
    (lambda v: v["unfreeze_schedule"] and sum(step["layers"] for step in v["unfreeze_schedule"]) > v["freeze_layers"],
     "unfreeze_schedule: thaws more layers than freeze_layers froze; raise freeze_layers."),
    (lambda v: v["unfreeze_schedule"] and [s["at"] for s in v["unfreeze_schedule"]] != sorted(
        {s["at"] for s in v["unfreeze_schedule"]}),
     "unfreeze_schedule: its steps are to be in the order of `at`, each at another one; sort them."),
    (lambda v: v["method"] in SOFT and v["regularization"] in ("l2", "ewc"),
     "regularization: l2 and ewc hold the base's weights, which soft prompts leave alone; set none or kl."),
    (lambda v: v["method"] in ("qlora", "int8") and v["regularization"] == "ewc",
     "regularization: ewc needs gradients of the base's weights, which quantised ones have not; set l2 or kl."),
    (lambda v: v["use_dora"] and v["regularization"] in ("l2", "ewc"),
     "regularization: l2 and ewc do not know DoRA's magnitudes; set kl, or use_dora to false."),
    (lambda v: v["regularization"] in ("ewc", "kl") and "replay" not in roles(v["sources"]),
     "regularization: ewc and kl compare with the base on general data; give a source `role: replay`."),
    (lambda v: v["method"] == "full" and v["freeze_embeddings"] and v["extra_special_tokens"],
     "freeze_embeddings: the extra_special_tokens would never be learnt; set it to false."),
    (lambda v: v["method"] in SOFT and v["extra_special_tokens"],
     "extra_special_tokens: soft prompts train no embeddings; take a LoRA method or full, or none of these tokens."),
    (lambda v: v["method"] == "prefix" and v["gradient_checkpointing"],
     "gradient_checkpointing: would put the prefix before each layer twice; set it to false, or method to prompt."),
    (lambda v: v["method"] in SOFT and v["packing"],
     "packing: a soft prompt would stand before the first of the packed rows alone; set packing to false."),
    (lambda v: {"role", "weight"} & v["general_source"].keys(),
     "general_source: is not trained on, so role and weight mean nothing there; remove them."),
]  # fmt: skip


def contradictions(values: dict) -> list[str]:
    """A sentence for each contradiction between keys; keys that are not among `values` are passed over."""
    found, known = [], Known(values)
    for broken, message in RULES:
        try:
            found += [message] if broken(known) else []
        except LookupError:
            continue
    return found + unpinned(entries(values))


def entries(values: dict) -> dict[str, dict]:
    """Whatever describes a source, by its place in params.yaml."""
    named = {f"sources.{name}": source for name, source in values.get("sources", {}).items()}
    return named | {key: values[key] for key in ("general_source",) if key in values}
