"""The page about the data and NOTICE, with the example's part gone and a person's sentences in its place."""

from pathlib import Path
from typing import Any, NamedTuple

from tunelock.records.about_data import ABOUT_FILE, AboutData, format_about_data, parse_about_data
from tunelock.run.files import write_text

NOTICE = Path("NOTICE")
EXAMPLE_BEGINS, EXAMPLE_ENDS = "The default job's records are", "The default base model is"


class PaperFacts(NamedTuple):
    """What a person said of the data."""

    title: str
    licence: str | None
    personal_data: str


class _Papers(NamedTuple):
    """The new texts by file, and what is to be said about them."""

    texts: dict[str, str]
    remarks: list[str]


def write_papers(papers: _Papers) -> None:
    """Put the texts into their files."""
    for path, text in papers.texts.items():
        write_text(path, text)


def compose_papers(sources: dict[str, dict[str, Any]], facts: PaperFacts, seen: list[str]) -> _Papers:
    """The papers of these sources. A page that a person wrote keeps its prose; one about other sources goes.

    `seen` are the lines about what is in the sources, with which a new page begins.
    """
    paths, remarks = [source["path"] for source in sources.values()], []
    old = parse_about_data(Path(ABOUT_FILE).read_text(encoding="utf-8")) if Path(ABOUT_FILE).exists() else AboutData()
    is_own = old.describes is None or set(paths) <= set(old.describes)
    notice = _replace_example(facts) if NOTICE.exists() else None
    prose = old.prose if is_own and old.prose else _compose_prose(facts, seen)
    about = AboutData(facts.title, facts.personal_data, notice is not None or (is_own and old.notice), paths, prose)
    texts = {ABOUT_FILE: format_about_data(about)}
    remarks.append(
        f"{ABOUT_FILE}: "
        + (
            "the keys above your page"
            if prose == old.prose
            else "title, personal data and what was seen; write the rest"
        )
    )
    if notice is not None:
        texts[str(NOTICE)] = notice
        remarks.append(f"{NOTICE}: the terms of the example's data are out, your licence is in")
    return _Papers(texts, remarks)


def _replace_example(facts: PaperFacts) -> str | None:
    """NOTICE with the terms of this data in place of the example's; None if the example's are not there."""
    text = NOTICE.read_text(encoding="utf-8")
    start, end = text.find(EXAMPLE_BEGINS), text.find(EXAMPLE_ENDS)
    if start < 0 or end < start:
        return None
    terms = f"Its licence is {facts.licence}." if facts.licence else "Its licence is not stated yet."
    return f"{text[:start]}The data that the model is tuned on: {facts.title}. {terms}\n\n{text[end:]}"


def _compose_prose(facts: PaperFacts, seen: list[str]) -> str:
    """A beginning of the page: a paragraph a source."""
    lines = [f"- {line.strip()}" if line.startswith(" ") else f"\n{line}\n" for line in seen]
    return f"{facts.title}. What `tunelock start` saw in it:\n" + "\n".join(lines)
