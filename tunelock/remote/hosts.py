"""Reading remote.yaml: everything that is wrong with it at once, each with its line, and no secret in a sentence."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from tunelock.privacy.credentials import find_secrets
from tunelock.privacy.redaction import is_secret_name
from tunelock.remote.host_models import ENGINES, Host, Hosts
from tunelock.remote.yaml_lines import Place, find_lines
from tunelock.run.errors import Stop
from tunelock.run.params import load_yaml
from tunelock.run.spelling import suggest_name

REMOTE_YAML = Path("remote.yaml")
_EXAMPLE = "hosts:\n  box:\n    engine: ssh\n    address: me@gpu-box"
_ASSIGNMENT = re.compile(r"(\w+)[ \t]*[=:][ \t]*(\S+)")
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]*[A-Za-z0-9])?")
_OUT_OF_FILE = "take it out of this file, which git keeps; name its variable below `environment`"


class _Problem(Exception):
    """What is wrong with the value at a place."""

    def __init__(self, place: Place, sentence: str):
        self.place, self.sentence = place, sentence


def load_hosts(path: Path = REMOTE_YAML) -> Hosts:
    """Read and check remote.yaml.

    Raises:
        Stop: the file is missing, is not YAML, holds a secret, or has wrong keys or values: each with its line.
    """
    if not path.exists():
        raise Stop(f"{path} is missing, so no host has a name yet; write one, such as\n{_EXAMPLE}")
    values = load_yaml(path)
    text = path.read_text(encoding="utf-8")
    _refuse_secrets(path, text)
    lines = find_lines(text)
    problems: list[str] = []
    hosts: dict[str, Host] = {}
    for found in _check_values(values):
        if isinstance(found, Host):
            hosts[found.name] = found
        else:
            problems.append(f"{path}:{_find_line(lines, found.place)}: {found.sentence}")
    if problems:
        raise Stop("\n".join(problems))
    return Hosts.model_construct(**(values | {"hosts": hosts}))


def find_host(name: str, path: Path = REMOTE_YAML) -> Host:
    """The host of that name in remote.yaml; `Stop` names those that there are if it is none of them."""
    hosts = load_hosts(path).hosts
    if name in hosts:
        return hosts[name]
    known = f"It has {', '.join(sorted(hosts))}." if hosts else f"It has none; write one, such as\n{_EXAMPLE}"
    raise Stop(f"{path} has no host '{name}'{suggest_name(name, hosts)} {known}")


def _refuse_secrets(path: Path, text: str) -> None:
    """Stop at a token or key by its form, and at a value for a variable with a secret's name; neither is shown."""
    for start, _ in find_secrets(text):
        number = text.count("\n", 0, start) + 1
        raise Stop(f"{path}:{number}: looks like a token, a password or a private key; {_OUT_OF_FILE}.")
    for number, line in enumerate(text.splitlines(), 1):
        for name, value in _ASSIGNMENT.findall(line):
            if is_secret_name(name) and not value.lstrip("\"'").startswith("$"):
                raise Stop(f"{path}:{number}: {name} has a value here; {_OUT_OF_FILE}.")


def _check_values(values: dict[str, Any]) -> Iterator[Host | _Problem]:
    """Each sound host, and what is wrong with the rest."""
    hosts = values.get("hosts")
    rest = {key: value for key, value in values.items() if key != "hosts"}
    yield from _validate(Hosts, rest | {"hosts": {}}, ())
    if not isinstance(hosts, dict):
        yield _Problem(("hosts",), "hosts: is to have a name for each machine and its keys below, or {} for none.")
        return
    for name, entry in hosts.items():
        yield from _check_host(str(name), entry)


def _check_host(name: str, entry: Any) -> Iterator[Host | _Problem]:
    place = ("hosts", name)
    engine = entry.get("engine") if isinstance(entry, dict) else None
    if not _NAME.fullmatch(name):
        yield _Problem(place, f"hosts.{name}: a name has letters, digits, - and _ alone; choose another one.")
    elif engine is None:
        yield _Problem(place, f"hosts.{name}: has no `engine`; add one of {', '.join(ENGINES)}.")
    elif engine not in ENGINES:
        hint = suggest_name(str(engine), ENGINES)
        yield _Problem((*place, "engine"), f"hosts.{name}.engine: {engine!r} is none of {', '.join(ENGINES)}{hint}")
    else:
        yield from _validate(ENGINES[engine], entry, place)


def _validate(model: type[Host] | type[Hosts], values: dict[str, Any], place: Place) -> Iterator[Host | _Problem]:
    """The host, or a problem for each wrong key."""
    named = {"name": place[-1]} if place else {}
    problems = [_explain_key(model, str(key), place) for key in values if str(key) not in _list_keys(model)]
    known = {key: value for key, value in values.items() if str(key) in _list_keys(model)}
    try:
        made = model.model_validate(known | named)
    except ValidationError as error:
        yield from problems
        yield from (_explain_value(model, details, place) for details in error.errors())
    else:
        yield from problems
        if isinstance(made, Host) and not problems:
            yield made


def _list_keys(model: type[Host] | type[Hosts]) -> list[str]:
    """The keys that a person may write below a host, or at the top of the file."""
    return [key for key in model.model_fields if key != "name"]


def _explain_key(model: type[Host] | type[Hosts], key: str, place: Place) -> _Problem:
    """That there is no such key; another engine may have it."""
    written = ".".join(map(str, (*place, key)))
    others = [engine for engine, other in ENGINES.items() if place and key in _list_keys(other)]
    if others:
        end = f" for this engine, only for {' and '.join(others)}; remove it, or change `engine`."
    else:
        end = suggest_name(key, _list_keys(model)).removesuffix(".") or "; remove it."
    return _Problem((*place, key), f"{written}: no such key{end}")


def _explain_value(model: type[Host] | type[Hosts], error: ErrorDetails, place: Place) -> _Problem:
    """One error of pydantic as a sentence with the value and what to do."""
    inner = tuple(part for part in error["loc"] if part != "name")
    written, value = ".".join(map(str, (*place, *inner))), error["input"]
    key = str(inner[0]) if inner else ""
    meaning = (model.model_fields[key].description or "") if key else ""
    message = re.sub("^(Input|String|Value error,) ", "", error["msg"]).replace("valid tuple", "list, as in [A, B]")
    if error["type"] == "missing":
        return _Problem(place, f"{written}: is missing. {meaning}")
    if not inner:
        return _Problem(place, f"{written}: {message}; change one of the two.")
    shown = "" if key == "environment" or _has_password(value) else f"{value!r} "
    ours = error["type"] == "value_error"  # says itself what to write
    return _Problem((*place, *inner), f"{written}: {shown}{message}." + ("" if ours else f" {meaning}"))


def _has_password(value: Any) -> bool:
    """Whether a value may hold a password, as `me:PASSWORD@box` does."""
    return bool(re.search(r":[^/@\s]+@", str(value)))


def _find_line(lines: dict[Place, int], place: Place) -> int:
    """The line of a place, or of the nearest key above it."""
    while place and place not in lines:
        place = place[:-1]
    return lines.get(place, 1)
