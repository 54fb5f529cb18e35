"""Values put into a YAML text that people wrote: every line that does not change stays byte for byte as it was.

ruamel's round trip folds long lists and moves comments of lines that nobody touched; here it only tells the places.
"""

import io
import json
import re

from ruamel.yaml import YAML

from tunelock.run.errors import Stop

COLUMN = 27  # where the comments of params.yaml stand if the value leaves room


def parse_yaml(text: str) -> dict:
    """YAML 1.2, as the stages read it."""
    return YAML(typ="safe", pure=True).load(text)


def edit_yaml(text: str, values: dict) -> str:
    """`text`, a mapping, with these values in place of those of the same keys; `Stop` if a key is not there."""
    old = parse_yaml(text)
    nodes = {key.value: (key, value) for key, value in YAML(typ="safe", pure=True).compose(text).value}
    missing = [key for key in values if key not in nodes]
    if missing:
        raise Stop(f"params.yaml lacks '{missing[0]}'; add it back (`git diff params.yaml` shows what was there).")
    changed = [key for key in values if old[key] != values[key]]
    for key in sorted(changed, key=lambda key: nodes[key][0].start_mark.index, reverse=True):
        text = _replace_value(text, *nodes[key], format_yaml_value(values[key], key))
    if parse_yaml(text) != {**old, **values}:
        raise Stop("params.yaml is written in a way that cannot be edited safely; set the values by hand.")
    return text


def _replace_value(text: str, key, value, new: str) -> str:
    """`text` with `new` for the value of a key, given as ruamel's nodes; a comment behind it keeps its column."""
    start = value.start_mark.index
    while value.id != "scalar" and not value.flow_style:  # a block ends where its last leaf does
        value = value.value[-1] if value.id == "sequence" else value.value[-1][1]
    colon, end = text.index(":", key.end_mark.index) + 1, value.end_mark.index
    if start == end:  # nothing stands there, which means null; ruamel puts its mark at the next key
        start = end = colon
    end = colon + len(text[colon:end].rstrip())  # the mark of a text on lines of its own stands below them
    head = text[colon:start]
    if "\n" in head:  # the value stands below its key, whose own line may have a comment
        return f"{text[:colon]}{_put_behind_colon(new)}{head.splitlines()[0]}{text[end:]}"
    gap = len(re.match(r"( +(?=#))?", text[end:])[0])
    column = COLUMN if gap == 2 else end + gap - key.start_mark.index  # a gap of 2: the old value pushed it out
    space = max(2, column - (colon - key.start_mark.index) - len(new) - 1) if gap else 0
    filled = f"{text[:colon]} " if gap and not new else f"{text[:colon]}{_put_behind_colon(new)}"
    return f"{filled}{' ' * space}{text[end + gap :]}"


def _put_behind_colon(new: str) -> str:
    """A value with the space before it; nothing and lines of their own need none."""
    return f" {new}" if new and not new.startswith("\n") else new


def format_yaml_value(value: object, key: str = "") -> str:
    """A value as DVC writes it: nothing for null, `true`, `2e-4`, `[a, b]`; a string in quotes where it needs them.

    A mapping of mappings stands on lines of its own. `key` is what a long line is wrapped behind.
    """
    if value is None or isinstance(value, bool):
        return {None: "", True: "true", False: "false"}[value]
    if isinstance(value, float) and 0 < value < 1e-2:
        mantissa, exponent = f"{value:e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    if isinstance(value, str):
        plain = re.fullmatch(r"(wheel:)?[\w./=@+-]+", value) and parse_yaml(value) == value
        return value if plain else json.dumps(value, ensure_ascii=False)
    return _dump_yaml(value, key) if isinstance(value, dict | list) else json.dumps(value, ensure_ascii=False)


def _dump_yaml(value: dict | list, key: str) -> str:
    """A mapping or list in the form of ruamel, and so of DVC; what holds no mapping stands on one line."""
    out, yaml = io.StringIO(), YAML()
    nested = isinstance(value, dict) and any(isinstance(part, dict) for part in value.values())
    yaml.default_flow_style = False if nested else None
    yaml.dump({key: value}, out)
    return out.getvalue().partition(":")[2].rstrip("\n").removeprefix(" ")
