"""What a stage says at the terminal: a line when it starts, and one when it ends. Both go to stderr."""

import os
import sys

STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32"}  # the codes of ECMA-48


def announce_start(name: str, purpose: str, last_run: str) -> None:
    """Say what the stage `name` does, and what is known of how long it takes."""
    duration = f" ({last_run})" if last_run else ""
    print(f"{paint_text(name, 'bold')}: {purpose}{paint_text(duration, 'dim')}", file=sys.stderr, flush=True)


def announce_end(name: str, outcome: str, seconds: float) -> None:
    """Say what came out of the stage `name` and how long it took."""
    head = paint_text(f"{name} done", "green")
    print(f"{head} in {format_duration(seconds)}: {outcome}", file=sys.stderr, flush=True)


def paint_text(text: str, style: str) -> str:
    """`text` in one of `STYLES` where stderr is a terminal that shows colours, elsewhere as it is."""
    return f"\033[{STYLES[style]}m{text}\033[0m" if text and _shows_colours() else text


def _shows_colours() -> bool:
    """Whether stderr is a terminal with colours; `NO_COLOR` turns them off (https://no-color.org)."""
    return sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def format_duration(seconds: float, rounded: bool = False) -> str:
    """`0.4 s`, `12 s`, `3 min 49 s`, `2 h 5 min`; rounded to one unit `4 min`."""
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 9.95 and not rounded else f"{max(1, round(seconds))} s"
    if seconds < 3570:
        minutes, rest = divmod(round(seconds), 60)
        return f"{round(seconds / 60)} min" if rounded or not rest else f"{minutes} min {rest} s"
    hours, rest = divmod(round(seconds / 60), 60)
    return f"{hours} h {rest} min" if rest else f"{hours} h"
