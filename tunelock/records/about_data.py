"""What a person wrote about the data: data/raw/README.md, Markdown with a few keys between two lines `---` above it.

    ---
    title: Support tickets of 2024
    personal_data: Names and addresses were replaced before export.
    notice: true
    describes: [data/raw/tickets.csv]
    ---
    What the data is, who is in it, what is wrong with it.

Each key may be missing. `notice: true` says that the file NOTICE has the terms of this data; it then travels with the
model. `describes` are the paths of the sources in params.yaml that the page is about: where there are others, it is not
used.
"""

import io
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from tunelock.run.errors import Stop

ABOUT_FILE = "data/raw/README.md"
_FENCE = "---\n"
_KEYS = ("title", "personal_data", "notice", "describes")


class AboutData(NamedTuple):
    """The page about the data.

    title, personal_data: a line each, None where nobody wrote it. notice: whether NOTICE has the terms of this data.
    describes: paths of sources, None for whichever there are. prose: Markdown below the keys.
    """

    title: str | None = None
    personal_data: str | None = None
    notice: bool = False
    describes: list[str] | None = None
    prose: str = ""


def read_about_data(sources: dict[str, dict[str, Any]], file: str = ABOUT_FILE) -> AboutData:
    """The page about these sources of params.yaml; an empty one where there is none, or where it leaves one out.

    Raises:
        Stop: the keys above the page are none of ours, or not YAML.
    """
    path = Path(file)
    about = parse_about_data(path.read_text(encoding="utf-8"), file) if path.exists() else AboutData()
    paths = {source["path"] for source in sources.values()}
    return about if about.describes is None or paths <= set(about.describes) else AboutData()


def parse_about_data(text: str, file: str = ABOUT_FILE) -> AboutData:
    """The keys and the prose of a page; a page without keys is prose alone."""
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    if not text.startswith(_FENCE) or f"\n{_FENCE}" not in text:
        return AboutData(prose=text.strip())
    head, _, prose = text.removeprefix(_FENCE).partition(f"\n{_FENCE}")
    try:
        keys = YAML(typ="safe", pure=True).load(head) or {}
    except YAMLError as error:
        raise Stop(
            f"{file}: the lines above the page are not YAML ({str(error).splitlines()[0]}); mend them."
        ) from None
    wrong = [key for key in keys if key not in _KEYS] if isinstance(keys, dict) else [head]
    if wrong:
        raise Stop(f"{file}: there is no key '{wrong[0]}' above the page; there are {', '.join(_KEYS)}.")
    texts = {key: str(keys[key]).strip() for key in ("title", "personal_data") if keys.get(key) is not None}
    return AboutData(**texts, notice=keys.get("notice") is True, describes=keys.get("describes"), prose=prose.strip())


def format_about_data(about: AboutData) -> str:
    """The text of the page; `parse_about_data` reads the same from it."""
    keys, out = {key: getattr(about, key) for key in _KEYS}, io.StringIO()
    yaml = YAML()
    yaml.width = 10_000
    yaml.dump({key: value for key, value in keys.items() if value}, out)
    return f"{_FENCE}{out.getvalue()}{_FENCE}\n{about.prose}\n" if any(keys.values()) else f"{about.prose}\n"


def hide_machine(path: str) -> str:
    """The path of a source without the folders of this machine; whatever is no absolute path as it is."""
    return os.path.relpath(path) if os.path.isabs(path) else path


def warn_of_gaps(about: AboutData, sources: dict[str, dict[str, Any]]) -> None:
    """Say what the papers lack, for they go where the model goes."""
    if not about.prose:
        print(f"warning: {ABOUT_FILE} has no page about {', '.join(sorted(sources))}; write what the data is, and list "
              "the paths of its sources under `describes`", file=sys.stderr)  # fmt: skip
    unlicensed = sorted(name for name, source in sources.items() if not source.get("licence"))
    if unlicensed:
        print(f"warning: no `licence` is stated for {', '.join(unlicensed)} under `sources` in params.yaml; who gets "
              "the model cannot know what it may be used for", file=sys.stderr)  # fmt: skip
