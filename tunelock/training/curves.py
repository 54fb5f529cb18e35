"""What a training's log says: the curves, the best step, how long nothing has become better."""


def find_best_step(log_history: list[dict]) -> int | None:
    """The step with the lowest validation loss, the earliest of equals; None before the first validation."""
    scores = [(entry["eval_loss"], entry["step"]) for entry in log_history if "eval_loss" in entry]
    return min(scores)[1] if scores else None


def count_stale_validations(log_history: list[dict]) -> int:
    """How many validations there were since the one with the lowest loss."""
    steps = [entry["step"] for entry in log_history if "eval_loss" in entry]
    return sum(step > find_best_step(log_history) for step in steps)


def extract_curve(log_history: list[dict]) -> list[dict]:
    """The part of the trainer's log that is the same for an interrupted and an uninterrupted run: no clock in it."""
    keys = ("step", "epoch", "loss", "grad_norm", "learning_rate", "penalty", "eval_loss")
    rows = []
    for entry in log_history:
        if "loss" in entry or "eval_loss" in entry:
            rows.append({key: entry[key] for key in keys if key in entry})
    return rows
