"""Write docs/errors.md: each sentence that a stage or `tunelock remote` can stop with, read from the code.

python -m docs.make_errors
"""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator

from tests.walls import ROOT, all_files, reached, room_of, source_of
from tunelock.run.params import load_yaml

PAGE = ROOT / "docs/errors.md"
SAYERS = ("Stop", "rule", "Refused")  # the first argument of each is a sentence
HEAD = """# Each error that a stage can stop with

A stage that stops prints one of these sentences behind its name and exits with 1. `…` stands for a file, a line or a
value. `make docs` writes this page from the code. To find where one comes from, search the code for a part of it.
Those of `tunelock remote` stand at the end.
"""
REMOTE = {  # heads of rooms that no stage uses
    "remote": "## `tunelock remote`, on this machine\n",
    "remote/there": "## `tunelock remote`, on the host\n\nCauses of jobs that fail, beside those of stages.\n",
}


def write_page() -> None:
    """Make the page from the code as it is."""
    PAGE.write_text(make_page(), encoding="utf-8")


def make_page() -> str:
    """The page as Markdown: a section a room, with the stages that can stop there."""
    stages, sentences = find_stages_by_room(), find_sentences()
    parts = [HEAD]
    for room in sorted(sentences):
        if room in stages:
            names = ", ".join(f"`{name}`" for name in stages[room])
            parts.append(f"## {title_of(room)}\n\nStages: {names}.\n")
            parts.append(list_lines(sentences[room]))
    for room, head in REMOTE.items():
        parts += [head, list_lines(sentences[room])]
    return "\n".join(parts)


def list_lines(sentences: set[str]) -> str:
    """A bullet a sentence."""
    return "".join(f"- {sentence}\n" for sentence in sorted(sentences))


def title_of(room: str) -> str:
    """The heading of a room, or of a stage's own file."""
    return f"The stage `{room.removeprefix('stages/')}` itself" if room.startswith("stages/") else f"`tunelock/{room}`"


def find_stages_by_room() -> dict[str, list[str]]:
    """The stages that use each room, in the order of dvc.yaml."""
    found = defaultdict(list)
    for stage, entry in load_yaml(ROOT / "dvc.yaml")["stages"].items():
        for room in sorted({room_of(file) for file in reached(source_of(entry["cmd"].split()[2]))}):
            found[room].append(stage)
    return dict(found)


def find_sentences() -> dict[str, set[str]]:
    """The sentences by room: whatever is given to `Stop` or `Refused`, and what the rules about contradictions say."""
    found = defaultdict(set)
    for file in all_files():
        for node in ast.walk(ast.parse(file.read_text())):
            found[room_of(file)] |= set(sentences_in(node))
    return {room: sentences for room, sentences in found.items() if sentences}


def sentences_in(node: ast.AST) -> Iterator[str]:
    """The sentence of a call of `Stop(…)` or of a decorator `@rule(…)`, if the node is one and says something."""
    says = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in SAYERS
    if says and node.args:
        sentence = re.sub("…+", "…", " ".join(text_of(node.args[0]).split()))
        if len(sentence.replace("…", "").strip(" .,:;()'`")) > 12:
            yield sentence


def text_of(node: ast.expr) -> str:
    """A string of the code as text; what is filled in at run time is `…`."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part) for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return text_of(node.left) + text_of(node.right)
    return "…"


if __name__ == "__main__":
    write_page()
