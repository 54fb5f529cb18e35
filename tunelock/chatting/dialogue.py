"""Who is asked, and what each has been told before: the course of a conversation and its commands."""

from collections.abc import Callable
from pathlib import Path

from tunelock.chatting.chat_model import Answer, ChatModel, ChatSettings
from tunelock.chatting.screen import Screen
from tunelock.records.record import Message
from tunelock.run.errors import Stop

FOLDERS = {"base": Path("models/base"), "tuned": Path("models/merged")}
COMMANDS = {
    "/base": "ask the base",
    "/tuned": "ask the tuned model",
    "/compare": "ask both",
    "/reset": "begin another conversation",
    "/help": "this list",
    "/quit": "leave (Ctrl-D too)",
}


class Dialogue:
    """A conversation with one model or both; each remembers what it was asked and what it answered."""

    def __init__(self, settings: ChatSettings, screen: Screen, names: tuple[str, ...]):
        """Raise `Stop` if a model of `names`, keys of FOLDERS, is not there."""
        self._settings, self._screen = settings, screen
        self._models: dict[str, ChatModel] = {}
        self.messages: dict[str, list[Message]] = {name: [] for name in FOLDERS}
        self.names: tuple[str, ...] = ()
        self.turn_to(names)

    def turn_to(self, names: tuple[str, ...]) -> None:
        """Ask these models from now on; one that was not asked before takes over what was said."""
        for name in names:
            if name not in self._models:
                self._models[name] = ChatModel(FOLDERS[name], self._settings)
        for name in names:
            if self.names and name not in self.names:
                self.messages[name] = list(self.messages[self.names[-1]])
        self.names = names

    def ask(self, question: str) -> list[Answer]:
        """Put a question to the models and show their answers; a question without an answer is forgotten."""
        for name in self.names:
            if not self._models[name].is_loaded:
                self._screen.say_in_terminal(f"Loading {FOLDERS[name]} …")
                self._models[name].load()
        answers = self._screen.show_answers(self.names, lambda name, write: self._ask_one(name, question, write))
        return list(answers.values())

    def _ask_one(self, name: str, question: str, write: Callable[[str], None]) -> Answer:
        asked: list[Message] = [*self.messages[name], {"role": "user", "content": question}]
        answer = self._models[name].stream_answer(asked, write)
        if answer.text:
            self.messages[name] = [*asked, {"role": "assistant", "content": answer.text}]
        return answer

    def converse(self, read: Callable[[], str]) -> None:
        """Ask what `read` gives until it raises `EOFError`; Ctrl-C ends an answer, not the conversation."""
        while True:
            try:
                line = read().strip()
                if line == "/quit":
                    return
                if line in COMMANDS:
                    self._obey(line)
                elif line.startswith("/") and line[1:].isalpha():
                    self._screen.say(f"There is no {line}; /help lists what there is.")
                elif line:
                    self.ask(line)
            except Stop as stop:
                self._screen.say(str(stop))
            except KeyboardInterrupt:
                self._screen.say("Ctrl-D or /quit leaves.")
            except EOFError:
                return

    def _obey(self, command: str) -> None:
        if command == "/help":
            self._screen.say(_list_commands())
        elif command == "/reset":
            self.messages = {name: [] for name in FOLDERS}
            self._screen.say("What was said is forgotten.")
        else:
            self.turn_to(tuple(FOLDERS) if command == "/compare" else (command[1:],))
            self._screen.say(f"You are talking to {' and '.join(self.names)}.")


def _list_commands() -> str:
    return "\n".join(f"{name:10}{meaning}" for name, meaning in COMMANDS.items())
