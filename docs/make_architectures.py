"""Write docs/architectures.md: what becomes of many architectures, tried on tiny random models. About a minute.

python -m docs.make_architectures
"""

import tempfile
from importlib.metadata import version
from pathlib import Path

from tests.architectures import ARCHITECTURES, Passage, put_through
from tests.walls import ROOT

PAGE = ROOT / "docs/architectures.md"
COLUMNS = ("architecture", "layers that `all-linear` adapts", "`packing`", "question once", "positions")


def write_page() -> None:
    """Try all of them and write what came out."""
    lines = []
    for name in ARCHITECTURES:
        with tempfile.TemporaryDirectory() as folder:
            lines.append(format_row(name, put_through(name, Path(folder))))
    PAGE.write_text(make_page(lines), encoding="utf-8")


def make_page(lines: list[str]) -> str:
    """The page as Markdown, with the lines of its table."""
    versions = f"Transformers {version('transformers')} and PEFT {version('peft')}"
    head = f"""# Which architectures

Each line is a tiny random model of that `model_type`, by {versions}. It went through
what the stages do: base, two steps of LoRA, the merge and its proof, scores and greedy answers. The merged folder,
loaded by Transformers alone, gave the same loss and the same answers. Or a stage refused the model before any training,
with the sentence that stands there. `make docs` writes this page.

- **packing**: whether rows that share a sequence keep apart. Where they do not, `packing: true` stops at the pilot.
- **question once**: whether what several rows begin with is computed once; elsewhere each row is computed by itself.
- **positions**: `learnt` ones end. There a longer `max_length`, or a prompt that leaves no room for `max_new_tokens`,
  stops pilot, train and evaluate; where positions are `computed`, a line warns. `base` says how many a model has.

The pilot tries any other architecture in the same way before it trains.
"""
    table = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS), *lines]
    return head + "\n" + "\n".join(table) + "\n"


def format_row(name: str, found: Passage) -> str:
    """The line of an architecture."""
    if found.refusal:
        cells = [f"refused: {found.refusal}", "", "", ""]
    else:
        adapted = ", ".join(f"`{layer}`" for layer in found.adapted)
        cells = [adapted, _say(found.packs), _say(found.shares), _sort_positions(found.positions)]
    return f"| `{name}` | {' | '.join(cells)} |"


def _say(yes: bool) -> str:
    return "yes" if yes else "no"


def _sort_positions(phrase: str) -> str:
    """The kind of positions, without the number that the tiny model has."""
    return "learnt" if "learnt" in phrase else "none" if "no positions" in phrase else "computed"


if __name__ == "__main__":
    write_page()
