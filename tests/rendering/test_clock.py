"""A template that asks for the date has the same tokens on every day."""

import copy
from datetime import datetime
from pathlib import Path

import pytest
import transformers.utils.chat_template_utils as of_transformers
import trl
from transformers import PreTrainedTokenizerBase

from tests.rendering.small_tokenizers import TEMPLATES, make_small_tokenizer
from tunelock.records.record import make_messages
from tunelock.rendering.clock import DATE, freeze_clock
from tunelock.rendering.conversation import render_messages
from tunelock.rendering.template import apply_template
from tunelock.run.errors import Stop

OF_TRL = Path(trl.__file__).parent / "chat_templates"
SAID = make_messages("Hi?", "", "Hello to you.")
DATED = "<|start|>system\nToday is {{ strftime_now('%d %b %Y') }}.<|end|>\n" + TEMPLATES["chatml"]


class Later(datetime):
    @classmethod
    def now(cls, tz=None):
        return datetime(2031, 3, 4)


def with_template(template) -> PreTrainedTokenizerBase:
    tokenizer = copy.deepcopy(make_small_tokenizer("GPT-2"))
    tokenizer.chat_template = template
    return tokenizer


def test_a_frozen_template_has_the_same_tokens_on_another_day(monkeypatch):
    moving, frozen = with_template(DATED), with_template(DATED)
    assert freeze_clock(frozen) == "the date in its chat template is always 26 Jul 2024"
    today = [render_messages(tokenizer, SAID).input_ids for tokenizer in (moving, frozen)]
    monkeypatch.setattr(of_transformers, "datetime", Later)
    later = [render_messages(tokenizer, SAID).input_ids for tokenizer in (moving, frozen)]
    assert later[0] != today[0] and later[1] == today[1]
    assert "Today is 26 Jul 2024." in apply_template(frozen, SAID)


@pytest.mark.parametrize("wanted", ["%d %b %Y", "%Y-%m-%d", "%B %d, %Y", "%A, %-d. %B %y", "%H:%M:%S", "%e %a %j"])
def test_each_format_is_that_day(wanted):
    tokenizer = with_template("{{ strftime_now('" + wanted + "') }}" + TEMPLATES["chatml"])
    freeze_clock(tokenizer)
    assert apply_template(tokenizer, SAID).startswith(DATE.strftime(wanted) + "<|start|>")


@pytest.mark.parametrize("name", ["llama3_2", "gptoss", "muse_glimmer"])
def test_dated_templates_of_models_say_the_day_and_change_nothing_else(name, monkeypatch):
    moving, frozen = (with_template((OF_TRL / f"{name}.jinja").read_text()) for _ in range(2))
    freeze_clock(frozen)

    class That(datetime):
        @classmethod
        def now(cls, tz=None):
            return DATE

    monkeypatch.setattr(of_transformers, "datetime", That)
    wanted = apply_template(moving, SAID[:1], generation=True)
    monkeypatch.setattr(of_transformers, "datetime", Later)
    assert apply_template(frozen, SAID[:1], generation=True) == wanted
    assert "2024" in wanted and "2031" not in wanted


@pytest.mark.parametrize("opening", ["\n", "  {% if true %}", "\n  {%- if true %}", "{#- a #}\n {% if true -%}\n"])
def test_a_template_begins_as_it_began(opening):
    template = opening + "{% if strftime_now is defined %}{{ strftime_now('%Y') }}{% endif %}"
    template += "{% endif %}" if "if true" in opening else ""
    frozen, moving = with_template(template), with_template(template)
    assert freeze_clock(frozen)
    written = apply_template(moving, SAID).replace(datetime.now().strftime("%Y"), "2024")
    assert apply_template(frozen, SAID) == written


def test_a_template_without_a_clock_stays_as_it_is_and_freezing_twice_is_freezing_once():
    plain, bare, frozen = with_template(TEMPLATES["chatml"]), with_template(None), with_template(DATED)
    assert freeze_clock(plain) == freeze_clock(bare) == ""
    assert plain.chat_template == TEMPLATES["chatml"] and bare.chat_template is None
    freeze_clock(frozen)
    once = frozen.chat_template
    assert freeze_clock(frozen) == "" and frozen.chat_template == once


def test_each_of_several_templates_is_frozen():
    several = with_template({"default": TEMPLATES["chatml"], "tool_use": DATED})
    freeze_clock(several)
    assert several.chat_template["default"] == TEMPLATES["chatml"]
    assert several.chat_template["tool_use"].endswith("\n" + DATED)


@pytest.mark.parametrize("chance", ["{{ ['a', 'b'] | random }}", "{{ lipsum(n=1) }}"])
def test_a_template_that_writes_by_chance_stops(chance):
    with pytest.raises(Stop, match="by chance"):
        freeze_clock(with_template(TEMPLATES["chatml"] + chance))
