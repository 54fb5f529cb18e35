"""Run with SkyPilot on the path: reads tasks and command lines as `sky` does, and prints what it makes of each as JSON.

Stdin has `{"tasks": {NAME: YAML}, "commands": [[…], …]}`. No server is started and nothing is sent.
"""

import json
import sys
from pathlib import Path

import sky
from sky.client.cli import command


def read_task(text: str) -> dict:
    path = Path("task.yaml")
    path.write_text(text, encoding="utf-8")
    try:
        task = sky.Task.from_yaml(str(path))
    except (AssertionError, ValueError, sky.exceptions.InvalidSkyPilotConfigError) as error:
        return {"refused": str(error)}
    return {"task": {key: value for key, value in task.to_yaml_config().items() if not key.startswith("_")}}


def read_command(words: list[str]) -> dict:
    """The arguments as SkyPilot's own command line understands them."""
    context = command.cli.make_context("sky", words[1:])
    name, found, rest = command.cli.resolve_command(context, [*context.protected_args, *context.args])
    try:
        params = found.make_context(name, rest, parent=context).params
    except command.click.UsageError as error:
        return {"refused": error.format_message()}
    given = {key: list(value) if isinstance(value, tuple) else value for key, value in params.items() if value}
    return {"command": name, **given}


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    tasks = {name: read_task(text) for name, text in asked["tasks"].items()}
    print(json.dumps({"tasks": tasks, "commands": [read_command(words) for words in asked["commands"]]}, default=str))
