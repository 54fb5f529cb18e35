"""Answers as they are written: one after the other, or two models side by side where the terminal is wide enough."""

import sys
from collections.abc import Callable

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tunelock.chatting.chat_model import Answer, Write

Ask = Callable[[str, Write], Answer]  # model, where its answer goes
SIDE_BY_SIDE = 72  # columns of a terminal from which two answers stand beside each other


class Screen:
    """Where a conversation is shown; notes go to stderr, so that a pipe holds answers alone."""

    def __init__(self):
        self.console = Console(highlight=False)
        self._notes = Console(highlight=False, stderr=True)

    def say(self, note: str) -> None:
        """Tell the person something that no model wrote."""
        self._notes.print(note, style="dim", markup=False)

    def say_in_terminal(self, note: str) -> None:
        """Tell it only where a person waits."""
        if self.console.is_terminal:
            self.say(note)

    def show_answers(self, names: tuple[str, ...], ask: Ask) -> dict[str, Answer]:
        """Have each model answer, and show it; once one is stopped, the others are not asked."""
        if len(names) > 1 and self.console.is_terminal and self.console.width >= SIDE_BY_SIDE:
            return self._show_columns(names, ask)
        answers = {}
        for name in names:
            if len(names) > 1 or self.console.is_terminal:
                self.console.print(f"{name}:", style="bold", end=" ")
            answers[name] = ask(name, _write_piece)
            _write_piece("\n")
            if answers[name].stopped:
                self.say("(stopped)")
                break
        return answers

    def _show_columns(self, names: tuple[str, ...], ask: Ask) -> dict[str, Answer]:
        texts = dict.fromkeys(names, "")
        answers: dict[str, Answer] = {}
        with Live(_make_columns(texts), console=self.console, transient=True, auto_refresh=False) as live:
            for name in names:

                def add_piece(piece: str, name: str = name) -> None:
                    texts[name] += piece
                    live.update(_make_columns(texts), refresh=True)

                answers[name] = ask(name, add_piece)
                if answers[name].stopped:
                    break
        self.console.print(_make_columns(texts))
        if any(answer.stopped for answer in answers.values()):
            self.say("(stopped)")
        return answers


def _make_columns(texts: dict[str, str]) -> Table:
    table = Table(expand=True, box=None, padding=(0, 1), pad_edge=False)
    for name in texts:
        table.add_column(name, ratio=1)
    table.add_row(*(Text(text.strip()) for text in texts.values()))
    return table


def _write_piece(piece: str) -> None:
    sys.stdout.write(piece)
    sys.stdout.flush()
