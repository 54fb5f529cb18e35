"""Named rules about params that are each fine alone: a rule stands beside the fields or the method it is about."""

from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import Any, NamedTuple

Values = Mapping[str, Any]  # the values of params.yaml by key


class Rule(NamedTuple):
    """A contradiction between params."""

    is_broken: Callable[[Values], bool]
    sentence: str  # the key, what is wrong, and what to do


class _SoundValues(dict[str, Any]):
    """The values of the sound keys; a rule that needs another key is passed over."""

    def __missing__(self, key: str) -> Any:
        raise LookupError(key)


def rule(sentence: str) -> Callable[[Callable[[Values], bool]], Rule]:
    """Make a `Rule` of a function that says whether the values break it."""
    return lambda is_broken: Rule(is_broken, sentence)


def rules_of(module: ModuleType) -> list[Rule]:
    """The rules that a module defines, in their order; those that it imports are another module's."""
    found = [value for value in vars(module).values() if isinstance(value, Rule)]
    return [one for one in found if one.is_broken.__module__ == module.__name__]


def find_broken_rules(rules: Iterable[Rule], values: Values) -> list[str]:
    """The sentence of each rule that the values break; a rule about a key that is not among them is passed over."""
    sentences, sound = [], _SoundValues(values)
    for one in rules:
        try:
            if one.is_broken(sound):
                sentences.append(one.sentence)
        except LookupError:
            continue
    return sentences
