"""A rule about params has a name, a sentence, and is passed over where it cannot be judged."""

import sys

import pytest

from tunelock.run.rules import find_broken_rules, rule, rules_of


@rule("lora_r: is above max_length; lower it.")
def rank_is_above_length(values):
    return values["lora_r"] > values["max_length"]


@rule("seed: is odd; take an even one.")
def seed_is_odd(values):
    return values["seed"] % 2 == 1


def test_rules_of_a_module_stand_in_their_order():
    assert rules_of(sys.modules[__name__]) == [rank_is_above_length, seed_is_odd]


def test_each_broken_rule_is_one_sentence():
    rules = (rank_is_above_length, seed_is_odd)
    assert find_broken_rules(rules, {"lora_r": 9, "max_length": 8, "seed": 1}) == [one.sentence for one in rules]
    assert find_broken_rules(rules, {"lora_r": 8, "max_length": 8, "seed": 2}) == []


def test_a_rule_about_an_unsound_key_is_passed_over():
    assert find_broken_rules((rank_is_above_length, seed_is_odd), {"lora_r": 9, "seed": 1}) == [seed_is_odd.sentence]


def test_a_traceback_names_the_rule():
    with pytest.raises(TypeError) as raised:
        find_broken_rules((rank_is_above_length,), {"lora_r": "9", "max_length": 8})
    assert "rank_is_above_length" in [entry.name for entry in raised.traceback]
