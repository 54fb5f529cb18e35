"""Numbers as they stand in metrics/: six significant digits, so that a diff shows changes and no noise."""

from typing import Any

DIGITS = 6


def round_digits(value: Any) -> Any:
    """The value with every float in it, however deep, rounded to DIGITS significant digits."""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        return {key: round_digits(item) for key, item in value.items()}
    return [round_digits(item) for item in value] if isinstance(value, list) else value
