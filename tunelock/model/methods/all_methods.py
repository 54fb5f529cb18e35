"""The methods by the name that params.yaml has for them. A new one: its file, its import, its place in the list."""

from collections.abc import Callable

from tunelock.model.methods import full, int8, lora, prefix, prompt, ptuning, qlora
from tunelock.model.methods.method import Method
from tunelock.run.rules import Rule, Values

MODULES = (lora, qlora, int8, full, prefix, prompt, ptuning)
METHODS: dict[str, Method] = {module.METHOD.name: module.METHOD for module in MODULES}


def list_method_rules() -> list[Rule]:
    """What each method excludes, as rules that are passed over while another method is chosen."""
    found = []
    for method in METHODS.values():
        found += [Rule(_only_for(method.name, one.is_broken), one.sentence) for one in method.rules]
    return found


def _only_for(name: str, is_broken: Callable[[Values], bool]) -> Callable[[Values], bool]:
    return lambda values: values["method"] == name and is_broken(values)
