"""The methods by the name that params.yaml has for them. A new one: its file, its import, its place in the list."""

from collections.abc import Callable

from tunelock.model.methods.full import Full
from tunelock.model.methods.int8 import Int8
from tunelock.model.methods.lora import Lora
from tunelock.model.methods.method import Method
from tunelock.model.methods.prefix import Prefix
from tunelock.model.methods.prompt import Prompt
from tunelock.model.methods.ptuning import PTuning
from tunelock.model.methods.qlora import QLora
from tunelock.run.rules import Rule, Values

ALL: tuple[Method, ...] = (Lora(), QLora(), Int8(), Full(), Prefix(), Prompt(), PTuning())
METHODS = {method.name: method for method in ALL}


def list_method_rules() -> list[Rule]:
    """What each method excludes, as rules that are passed over while another method is chosen."""
    found = []
    for method in METHODS.values():
        found += [Rule(_only_for(method.name, one.is_broken), one.sentence) for one in method.rules]
    return found


def _only_for(name: str, is_broken: Callable[[Values], bool]) -> Callable[[Values], bool]:
    return lambda values: values["method"] == name and is_broken(values)
