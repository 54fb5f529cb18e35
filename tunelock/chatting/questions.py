"""Where questions come from: a person at the terminal, or lines of a pipe."""

import sys
from collections.abc import Callable, Iterable
from pathlib import Path

GREETING = (
    "Enter asks; Alt-Enter, or a backslash at the end of a line, begins another line; Ctrl-C stops an answer; Ctrl-D "
    "leaves; /help lists the commands."
)


def read_from_terminal(history: Path, commands: Iterable[str]) -> Callable[[], str]:
    """A function that reads the next question, with earlier ones at the arrow keys, kept in the file `history`.

    It raises `EOFError` at Ctrl-D and `KeyboardInterrupt` at Ctrl-C.
    """
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import WordCompleter
    from prompt_toolkit.history import FileHistory

    history.parent.mkdir(parents=True, exist_ok=True)
    session = PromptSession(
        "> ",
        multiline=True,  # so that what is pasted may have several lines; Enter ends it all the same
        prompt_continuation="… ",
        key_bindings=_bind_keys(),
        history=FileHistory(str(history)),
        completer=WordCompleter(list(commands), sentence=True),
        complete_while_typing=False,
    )
    return session.prompt


def _bind_keys():
    from prompt_toolkit.key_binding import KeyBindings

    keys = KeyBindings()

    @keys.add("enter")
    def _ask(event) -> None:
        buffer = event.current_buffer
        if buffer.document.current_line_before_cursor.endswith("\\"):
            buffer.delete_before_cursor()
            buffer.insert_text("\n")
        else:
            buffer.validate_and_handle()

    @keys.add("escape", "enter")
    def _begin_line(event) -> None:
        event.current_buffer.insert_text("\n")

    return keys


def read_from_pipe() -> str:
    """The next line of stdin; one that ends in a backslash goes on in the next. Raises `EOFError` at the end."""
    lines = []
    for line in iter(sys.stdin.readline, ""):
        text = line.rstrip("\n")
        if not text.endswith("\\"):
            return "\n".join([*lines, text])
        lines.append(text[:-1])
    if lines:
        return "\n".join(lines)
    raise EOFError
