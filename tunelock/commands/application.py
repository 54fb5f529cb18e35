"""The command `tunelock`: its commands, in the panels of its help. A new command is a module and a word in PANELS.

Exit codes: 0 done, 1 a `Stop` or a check that failed, 2 usage.
"""

import re
from typing import Any

import typer
from typer.core import TyperGroup

from tunelock.commands.chat import chat
from tunelock.commands.configure import configure
from tunelock.commands.convert import convert
from tunelock.commands.estimate import estimate
from tunelock.commands.harness import harness
from tunelock.commands.pr import pr
from tunelock.commands.preview import preview
from tunelock.commands.remote import remote
from tunelock.commands.report import report
from tunelock.commands.review import review
from tunelock.commands.seeds import seeds
from tunelock.commands.start import start
from tunelock.commands.verify import verify
from tunelock.run.errors import Stop

PANELS = {
    "Look": (chat, preview, report, review),
    "Before a run": (start, configure, estimate, convert),
    "After a run": (harness, seeds, verify),
    "Beyond this machine": (remote, pr),
}


HELP = "Fine-tune reproducibly. Paths are read from where you stand."
SHORTER = {  # help of Typer's own options, so that all fits a screen
    "install_completion": "Complete words in this shell.",
    "show_completion": "Print the script for that.",
    "help": "Show this; of a command, its example.",
}


class _PlainErrors(TyperGroup):
    """A `Stop` is one plain sentence on stderr and exit code 1; any other exception keeps its traceback."""

    def invoke(self, ctx: typer.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Stop as stop:
            typer.echo(f"{ctx.command_path} {ctx.invoked_subcommand}: {stop}", err=True)
            raise typer.Exit(1) from None
        except OSError as error:
            from tunelock.run.stage import FULL_OR_READ_ONLY

            if error.errno not in FULL_OR_READ_ONLY:
                raise
            where, why = error.filename or "an output", error.strerror
            typer.echo(f"{ctx.command_path} {ctx.invoked_subcommand}: cannot write {where} ({why}).", err=True)
            raise typer.Exit(1) from None

    def format_help(self, ctx: typer.Context, formatter: Any) -> None:
        for option in self.get_params(ctx):
            option.help = SHORTER.get(option.name, option.help)
        super().format_help(ctx, formatter)


def _join_lines(text: str | None) -> str:
    """A help text with a line a paragraph, so that it is broken where the terminal ends."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in re.split(r"\n\s*\n", text or ""))


def _reflow_help(group: typer.Typer) -> None:
    """Join the lines of the help of a group and of its commands."""
    callback = group.registered_callback
    if isinstance(group.info.help, str):
        group.info.help = _join_lines(group.info.help)
    if callback and callback.callback and callback.callback.__doc__:
        callback.help = _join_lines(callback.callback.__doc__)
    for command in group.registered_commands:
        command.help = _join_lines(command.callback.__doc__ if command.callback else None)


def _make_application() -> typer.Typer:
    """The application with all commands."""
    made = typer.Typer(
        name="tunelock", cls=_PlainErrors, no_args_is_help=True, pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]}, help=HELP,
    )  # fmt: skip
    for panel, commands in PANELS.items():
        for command in commands:
            if isinstance(command, typer.Typer):
                made.add_typer(command, rich_help_panel=panel)
            else:
                made.command(rich_help_panel=panel)(command)
    for group in (made, *(command for part in PANELS.values() for command in part if isinstance(command, typer.Typer))):
        _reflow_help(group)
    return made


application = _make_application()
