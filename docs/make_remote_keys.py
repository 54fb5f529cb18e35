"""Write docs/remote-keys.md: every key of remote.yaml with its default, from the models that check it.

python -m docs.make_remote_keys
"""

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from tests.walls import ROOT
from tunelock.remote.host_models import ENGINES, Host, Hosts

PAGE = ROOT / "docs/remote-keys.md"
_HEAD = """# The keys of remote.yaml

`remote.yaml` at the root of the repository names the machines that an experiment can be sent to. `make docs` writes
this page. Times are written as `24h`, `90m`, `120s` or `1d12h`, sizes as `64G`. `~/` is the home on the host. A wrong
key or value stops with its line; a password, a token or a key is refused, and so is the value of a variable.
"""
_DURATIONS = ("time_limit", "signal_before", "idle", "keep_failed")
_SAID = {  # defaults that depend on where one stands
    "folder": "`~/.tunelock/` and the name of the repository's folder",
    "hosts": "required",
    "local python": "the Python that runs `tunelock`",
}
_OURS = ("name", "engine")


def make_page() -> str:
    """The whole page."""
    parts = [_HEAD, _make_table("The file", Hosts, "", ())]
    parts.append(_make_table("Every host", Host, "", _OURS))
    for engine, model in ENGINES.items():
        shared = [key for key in model.model_fields if _is_as_in(model, Host, key)]
        parts.append(_make_table(f"`engine: {engine}`", model, engine, (*_OURS, *shared)))
    return "\n".join(parts)


def _is_as_in(model: type[BaseModel], base: type[BaseModel], key: str) -> bool:
    """Whether a field is the base's, unchanged."""
    field, other = model.model_fields[key], base.model_fields.get(key)
    return other is not None and (field.description, field.default) == (other.description, other.default)


def _make_table(title: str, model: type[BaseModel], engine: str, left_out: tuple[str, ...]) -> str:
    lines = [f"## {title}", "", model.__doc__.splitlines()[0], "", "| key | default | |", "|---|---|---|"]
    return "\n".join([*lines, *_make_rows(model, engine, left_out)]) + "\n"


def _make_rows(model: type[BaseModel], engine: str, left_out: tuple[str, ...]) -> Iterator[str]:
    for key, field in model.model_fields.items():
        if key not in left_out:
            yield f"| `{key}` | {_show_default(key, engine, field)} | {field.description} |"


def _show_default(key: str, engine: str, field: FieldInfo) -> str:
    """A default as one writes it in YAML."""
    said = _SAID.get(f"{engine} {key}") or _SAID.get(key)
    if said or field.is_required():
        return said or "required"
    return f"`{_write_yaml(key, field.default)}`"


def _write_yaml(key: str, value: Any) -> str:
    if key in _DURATIONS:
        return _write_duration(value)
    if isinstance(value, tuple):
        return f"[{', '.join(value)}]"
    return {None: "null", True: "true", False: "false"}.get(value, str(value))


def _write_duration(seconds: int) -> str:
    for unit, length in (("h", 3600), ("m", 60)):
        if seconds % length == 0:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


if __name__ == "__main__":
    PAGE.write_text(make_page(), encoding="utf-8")
