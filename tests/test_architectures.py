"""docs/architectures.md says what becomes of each architecture. `make docs` tries them all, this a few of each kind."""

import re
from importlib.metadata import version

import pytest

from docs.make_architectures import PAGE, format_row, make_page
from tests.architectures import ARCHITECTURES, put_through

# Learnt positions and Conv1D; ALiBi; a state space model that keeps no keys; one beside attention, with a factor on the
# logits; linear attention with experts and a gate of one number; sinks; a router that is a linear
# layer by its class; and one of each refusal.
CHOSEN = (
    "gpt2", "bloom", "mamba", "falcon_h1", "qwen3_next", "gpt_oss", "phimoe", "bert", "hyperclovax", "minimax",
)  # fmt: skip


@pytest.fixture(scope="module")
def lines() -> dict[str, str]:
    """The lines of the page's table, by architecture."""
    return {line.split("`")[1]: line for line in PAGE.read_text(encoding="utf-8").splitlines() if line[:3] == "| `"}


@pytest.mark.parametrize("name", CHOSEN)
def test_an_architecture_goes_through_all_stages_or_is_refused_as_the_page_says(name, lines, tmp_path):
    assert format_row(name, put_through(name, tmp_path)) == lines[name]


def test_the_page_has_all_architectures_and_is_of_these_versions(lines):
    assert list(lines) == list(ARCHITECTURES) and len(lines) > 50
    assert PAGE.read_text(encoding="utf-8") == make_page(list(lines.values())), "run `make docs`"
    assert f"Transformers {version('transformers')} and PEFT {version('peft')}" in PAGE.read_text(encoding="utf-8")


def test_those_whose_packed_rows_see_each_other_are_known_by_name(lines):
    """A newer Transformers may keep some of them apart, or no longer keep others; then the page is to be read again."""
    leak = {name for name, line in lines.items() if re.search(r"\| no \| (yes|no) \| \w+ \|$", line)}
    assert leak == {
        "bamba", "biogpt", "bloom", "falcon", "falcon (alibi)", "falcon_h1", "falcon_mamba", "gpt_oss",
        "granitemoehybrid", "jamba", "lfm2", "mamba", "mamba2", "minimax", "mpt", "nemotron_h", "opt",
        "qwen3_5_text", "qwen3_next", "recurrent_gemma", "rwkv", "xglm",
    }  # fmt: skip
