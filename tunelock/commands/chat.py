"""`tunelock chat`."""

import sys
from typing import Annotated, Literal

import typer

from tunelock.run.errors import Stop

HISTORY = ".ckpt/chat_history"


def chat(
    question: Annotated[str | None, typer.Argument(help="One question; without it, a conversation.")] = None,
    model: Annotated[Literal["base", "tuned"], typer.Option(help="Whom to ask.")] = "tuned",
    compare: Annotated[bool, typer.Option("--compare", help="Ask base and tuned, side by side.")] = False,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="The most tokens of an answer.")] = 200,
) -> None:
    """Ask the base or the tuned model; without a question, talk to it.

    In a conversation, Enter asks and Alt-Enter (or a backslash at the end) begins another line. Arrow keys bring back
    earlier questions. /base, /tuned and /compare choose who answers, /reset forgets what was said, /help lists all.
    Ctrl-C stops an answer, Ctrl-D leaves. Without a terminal, each line of stdin is a question.

    Example: tunelock chat "How can CWE-79 be mitigated?" --compare
    """
    if question is not None and not question.strip():
        raise Stop('the question is empty; put it in quotes, as in `tunelock chat "What is CWE-79?"`.')
    from tunelock.chatting.screen import Screen

    screen = Screen()
    dialogue = _begin_dialogue(screen, ("base", "tuned") if compare else (model,), max_new_tokens)
    if question is not None:
        if any(answer.stopped for answer in dialogue.ask(question)):
            raise typer.Exit(130)
    elif sys.stdin.isatty():
        _talk(dialogue, screen)
    else:
        from tunelock.chatting.questions import read_from_pipe

        dialogue.converse(read_from_pipe)


def _begin_dialogue(screen, names: tuple[str, ...], max_new_tokens: int):
    from tunelock.chatting.chat_model import ChatSettings
    from tunelock.chatting.dialogue import Dialogue
    from tunelock.rendering.rendering import Rendering
    from tunelock.run.params import load_yaml

    params = load_yaml("params.yaml")
    rendering = Rendering.from_params(params)
    return Dialogue(ChatSettings(params["dtype"], params["num_threads"], rendering, max_new_tokens), screen, names)


def _talk(dialogue, screen) -> None:
    from pathlib import Path

    from tunelock.chatting.dialogue import COMMANDS
    from tunelock.chatting.questions import GREETING, read_from_terminal

    screen.say(f"You are talking to {' and '.join(dialogue.names)}. {GREETING}")
    dialogue.converse(read_from_terminal(Path(HISTORY), COMMANDS))
