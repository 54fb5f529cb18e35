"""The date that a chat template writes: the same one on every day, so that a commit gives the same tokens."""

import re
from datetime import datetime

from transformers import PreTrainedTokenizerBase

from tunelock.run.errors import Stop

DATE = datetime(2024, 7, 26)  # where there is no clock, Llama 3.2's own template writes this day
_CLOCK = "strftime_now"  # what Transformers gives templates to ask for the date
_DIRECTIVE = re.compile(r"(?<!\{)%-?[aAbBdeFHIjmMpSuUwWyY]")
_CHANCE = re.compile(r"\|\s*random\b|\blipsum\b")  # what Jinja itself gives them


def freeze_clock(tokenizer: PreTrainedTokenizerBase) -> str:
    """Put a macro with `DATE` before each template that asks for the date; what was done, or nothing.

    Raises:
        Stop: a template writes something by chance.
    """
    before = tokenizer.chat_template
    if isinstance(before, dict):  # by name, such as Cohere's for tools
        tokenizer.chat_template = {name: _freeze(template) for name, template in before.items()}
    elif before:
        tokenizer.chat_template = _freeze(before)
    return "" if tokenizer.chat_template == before else f"the date in its chat template is always {DATE:%d %b %Y}"


def _freeze(template: str) -> str:
    """The template with its macro; Transformers drops the line end behind that, so the template begins its line."""
    found = _CHANCE.search(template)
    if found:
        raise Stop(f"the chat template writes something by chance ('{found[0]}'); set a `chat_template` that does not.")
    if _CLOCK not in template or f"macro {_CLOCK}" in template:
        return template
    dates = ""
    for directive in sorted(set(_DIRECTIVE.findall(template))):
        dates += f" | replace('{directive}', '{DATE.strftime(directive)}')"
    return f"{{% macro {_CLOCK}(format) %}}{{{{ format{dates} }}}}{{% endmacro %}}\n{template}"
