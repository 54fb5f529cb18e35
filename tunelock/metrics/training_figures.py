"""metrics/train.json and the loss curves, from what pilot, train and merge wrote."""

from typing import Any


def measure_training(
    log: list[dict[str, Any]], too_long: dict[str, list[str]], pilot: dict[str, Any], merged: dict[str, float]
) -> dict[str, float]:
    """The numbers of a run.

    Args:
        log, too_long: models/train/log.json and too_long.json.
        pilot: models/pilot/report.json.
        merged: models/merge_proof.json.
    """
    losses, best = list_losses(log, "loss"), min(list_losses(log, "eval_loss"), key=lambda point: point["loss"])
    return {
        "train_steps": log[-1]["step"],
        "train_loss_last": losses[-1]["loss"],
        "train_best_step": best["step"],
        "train_eval_loss": best["loss"],
        "train_rows_too_long": len(too_long["train"]),
        "pilot_loss_before": pilot["loss_before"],
        "pilot_loss_after": pilot["loss_after"],
        "pilot_control_strings": pilot["control_strings"],
        "merge_difference": merged["merged_against_adapter"],
    }


def list_losses(log: list[dict[str, Any]], key: str) -> list[dict[str, Any]]:
    """Rows of step and loss for a plot; `key` is loss or eval_loss."""
    return [{"step": entry["step"], "loss": entry[key]} for entry in log if key in entry]
