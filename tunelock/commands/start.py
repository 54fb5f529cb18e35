"""`tunelock start`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from tunelock.commands.options import resolve_path
from tunelock.run.errors import Stop


def start(
    paths: Annotated[
        list[Path], typer.Argument(parser=resolve_path, metavar="PATH…", help="Files and folders with your data.")
    ],
    title: Annotated[str | None, typer.Option(help="A title for the data card.")] = None,
    licence: Annotated[
        str | None, typer.Option(help="The data's licence, such as CC-BY-4.0 or LicenseRef-ours.")
    ] = None,
    personal_data: Annotated[str | None, typer.Option(help="A sentence on personal data in it.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Take every guess; ask nothing.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the changes and write nothing.")] = False,
) -> None:
    """Look at your files and write their params.yaml.

    Guesses sources, columns, limits and splits and says why; asks what it cannot know. Comments stay, nothing is run.

    Example: tunelock start data/raw/faq.csv --title "Questions of our customers" --licence LicenseRef-ours
    """
    from tunelock.planning.configuration import change_values, write_change
    from tunelock.previewing.start_papers import compose_papers, write_papers
    from tunelock.previewing.start_project import bring_files_in, describe_sources, list_next_steps

    ask = _Ask(yes)
    found, choices = _look(paths, ask)
    facts = _ask_for_facts(found, ask, title, licence, personal_data)
    ask.stop_unasked()
    sources = {
        name: entry | ({"licence": facts.licence} if facts.licence else {}) for name, entry in found.sources.items()
    }
    change = change_values({"sources": sources, **choices.values})
    papers = compose_papers(sources, facts, describe_sources(found))
    typer.echo("\n".join([*change.diff(), "", *papers.remarks]))
    if dry_run:
        typer.echo("nothing is written")
        return
    bring_files_in(found)
    write_change(change)
    write_papers(papers)
    typer.echo("\n".join(["params.yaml is written; next:", *(f"  {step}" for step in list_next_steps(found))]))


def _look(paths: list[Path], ask: "_Ask"):
    """What is in the files and the params that suit them, which are shown with their reasons."""
    from tunelock.previewing.start_plan import choose_params
    from tunelock.previewing.start_project import describe_choices, describe_sources, look_at_paths
    from tunelock.run.params import load_yaml

    found = look_at_paths(paths, ask.choose_column)
    choices = choose_params(found.looks, load_yaml("params.yaml"))
    typer.echo("\n".join([*describe_sources(found), "", *describe_choices(choices), ""]))
    for copy in found.copies:
        ask.confirm_copy(copy.origin, copy.place, copy.size)
    return found, choices


def _ask_for_facts(found, ask: "_Ask", title: str | None, licence: str | None, personal_data: str | None):
    """What only a person knows of the data, each with a guess."""
    from tunelock.previewing.start_papers import PaperFacts
    from tunelock.previewing.start_plan import guess_personal_data
    from tunelock.run.params import load_yaml

    title = title or ask.for_text("A title for the data", ", ".join(found.sources).replace("_", " "))
    licence = licence or ask.for_text("Its licence (an SPDX id, or LicenseRef-… for terms of your own)", "") or None
    guess = guess_personal_data(found.looks, load_yaml("params.yaml"))
    personal_data = personal_data or ask.for_text("A sentence on personal data in it", guess)
    if not licence:
        typer.echo("warning: no licence is stated; give --licence, or add `licence` to the source later", err=True)
    return PaperFacts(title, licence, personal_data)


def _has_terminal() -> bool:
    """Whether there is somebody to ask."""
    return sys.stdin.isatty()


class _Ask:
    """Questions to a person at a terminal; `--yes` takes each guess, and without a terminal they are collected."""

    def __init__(self, yes: bool) -> None:
        self.yes, self.live = yes, _has_terminal()
        self.unasked: list[str] = []

    def for_text(self, question: str, guess: str) -> str:
        """A line of text; Enter takes the guess."""
        if self.yes:
            return guess
        if self.live:
            return str(typer.prompt(question, default=guess))
        self.unasked.append(question)
        return guess

    def choose_column(self, source: str, doubt) -> str:
        """One of the columns in doubt."""
        return self._choose(f"{source}: {doubt.question} ({', '.join(doubt.choices)})", doubt.choices, doubt.guess)

    def _choose(self, question: str, choices: list[str], guess: str) -> str:
        said = self.for_text(question, guess)
        while said not in choices:
            said = self.for_text(f"'{said}' is no column; {question}", guess)
        return said

    def confirm_copy(self, origin: Path, place: Path, size: int) -> None:
        """Whether files may be copied into data/raw, where sources must lie."""
        said = f"{origin} lies outside data/raw; it is copied to {place} ({size / 1e6:,.1f} MB)"
        if not self.yes and self.live and not typer.confirm(f"{said}?", default=True):
            raise Stop("nothing is written; move the files into data/raw, or fetch them there with `dvc import-url`.")
        if not self.yes and not self.live:
            self.unasked.append(f"copy {origin} to {place}?")
        typer.echo(said)

    def stop_unasked(self) -> None:
        """Stop if there were questions and nobody to ask."""
        if self.unasked:
            raise Stop(
                f"nothing is written: there is no terminal to ask at ({'; '.join(self.unasked)}). Add --yes to take "
                "the guesses, and give --title, --licence and --personal-data."
            )
