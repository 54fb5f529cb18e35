"""Markdown that says what it is given: no text of a data set or a param can break it, call a person or load a page.

All foreign text is shown as code, in which GitHub knows no HTML, link, mention or issue number (GitHub Flavored
Markdown, https://github.github.com/gfm/#code-spans). DVC's own `--md` escapes nothing: a bar in a value moves the
columns of its tables.
"""

from collections.abc import Iterable, Sequence

LONGEST = 80  # characters of a value; a param may be a page long
MOST = 40  # rows of a table
AT = "&#64;"


def format_code(text: object, longest: int = LONGEST) -> str:
    """Any value as code for a table or a sentence: on one line, what does not print as `\\u202e`, cut if long."""
    shown = escape_unprintable(str(text))
    shown = shown if len(shown) <= longest else shown[: longest - 1] + "…"
    if not shown.strip():
        return "(empty)"
    if not {"`", "|"} & set(shown):
        return f"`{shown}`"
    inner = "".join(char if char.isalnum() or char == " " else f"&#{ord(char)};" for char in shown)
    return f"<code>{inner.replace(AT, AT + '&#8203;')}</code>"  # a zero-width space, or an address becomes a link


def escape_unprintable(text: str) -> str:
    """The text on one line: what does not print stands as Python writes it."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def format_table(header: Sequence[str], rows: Iterable[Sequence[str]], more: str = "") -> str:
    """A table of cells that are Markdown already, cut after MOST rows; `more` tells where the rest is."""
    rows = list(rows)
    lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    lines += [f"| {' | '.join(row)} |" for row in rows[:MOST]]
    left = len(rows) - MOST
    return "\n".join(lines) + (f"\n\n… and {left} more{': ' * bool(more)}{more}." if left > 0 else "")


def format_details(summary: str, body: str) -> str:
    """Something to unfold. `summary` is HTML of ours."""
    return f"<details><summary>{summary}</summary>\n\n{body}\n\n</details>"


def format_number(value: object, digits: int = 4) -> str:
    """A number to read: whole ones in full with commas, others with so many significant digits; `-` for none."""
    if value is None:
        return "-"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return format_code(value)
    if isinstance(value, int) or abs(value) >= 10**digits:
        return f"{value:,.0f}"
    return f"{value:#.{digits}g}".rstrip(".") if value else "0"


def format_six_digits(value: float | None) -> str:
    """A number as the gate compares it."""
    return "-" if value is None else f"{value:.6g}"


def format_signed(value: float | None, digits: int = 3) -> str:
    """A difference with its sign; `-` for none, 0 without one."""
    if value is None:
        return "-"
    sign = "+" if value > 0 else ""
    return sign + format_number(value, digits)


def format_level(level: float) -> str:
    """The level of an interval, `95 % interval`."""
    return f"{100 * level:g} % interval"


def format_percent(share: float | None) -> str:
    """A share as a signed percentage; `-` for none."""
    return "-" if share is None else f"{100 * share:+.1f} %"
