"""Rules that several methods share: what goes with some other method alone."""

from tunelock.run.rules import Values, rule


@rule("method: use_dora, use_rslora and bias are options of LoRA; set them false and none, or method to lora.")
def options_are_for_lora(values: Values) -> bool:
    return values["use_dora"] or values["use_rslora"] or values["bias"] != "none"


@rule("freeze_layers: it and unfreeze_schedule are for method full, the others freeze the base; set 0 and null.")
def freezing_is_for_full_tuning(values: Values) -> bool:
    return bool(values["freeze_layers"] or values["unfreeze_schedule"])
