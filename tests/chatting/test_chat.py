"""A conversation: what each model remembers, commands, Ctrl-C, and where questions come from."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput
from transformers import AutoConfig, AutoModelForCausalLM

from tests.command_line import run_tunelock
from tests.conftest import ROOT
from tunelock.chatting.chat_model import Answer, ChatModel, ChatSettings
from tunelock.chatting.dialogue import COMMANDS
from tunelock.chatting.questions import read_from_terminal
from tunelock.rendering.rendering import Rendering
from tunelock.run.errors import Stop


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A repository with two models, of which nothing is loaded."""
    for name in ("base", "merged"):
        (tmp_path / "models" / name).mkdir(parents=True)
        (tmp_path / "models" / name / "tokenizer_config.json").write_text("{}")
    (tmp_path / "params.yaml").write_text(
        "{dtype: float32, num_threads: 1, system_prompt: null, max_turns: null, max_length: 384, "
        "long_rows: set_aside, thinking: none}"
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def echoes(folder, monkeypatch) -> None:
    """Models that answer with their folder and all that was said before."""

    def stream_answer(model: ChatModel, messages: list[dict], write) -> Answer:
        text = f"{model.folder.name} heard " + " | ".join(message["content"] for message in messages)
        write(text)
        return Answer(text)

    monkeypatch.setattr(ChatModel, "load", lambda model: None)
    monkeypatch.setattr(ChatModel, "stream_answer", stream_answer)


def talk(*lines: str, options: tuple[str, ...] = ()) -> str:
    """What `tunelock chat` prints when these lines are piped into it."""
    done = run_tunelock("chat", *options, input="".join(f"{line}\n" for line in lines))
    assert done.exit_code == 0, done.stderr
    return done.stdout


def test_each_question_is_asked_with_what_was_said_before(echoes):
    first = "merged heard One?"
    assert talk("One?", "Two?").splitlines() == [first, f"merged heard One? | {first} | Two?"]


def test_a_reset_forgets_and_another_model_takes_over_what_was_said(echoes):
    said = talk("One?", "/base", "Two?", "/reset", "Three?", options=("--model", "tuned")).splitlines()
    assert said == ["merged heard One?", "base heard One? | merged heard One? | Two?", "base heard Three?"]


def test_compared_models_remember_their_own_answers(echoes):
    said = talk("One?", "Two?", "/tuned", "Three?", options=("--compare",)).splitlines()
    assert said[:2] == ["base: base heard One?", "tuned: merged heard One?"]
    assert said[2] == "base: base heard One? | base heard One? | Two?"
    assert said[4].startswith("merged heard One? | merged heard One? | Two? | merged heard")


def test_a_backslash_goes_on_in_the_next_line_and_empty_lines_ask_nothing(echoes):
    assert talk("", "One\\", "two?", "  ").splitlines() == ["merged heard One", "two?"]


def test_commands_are_listed_and_one_that_is_not_there_is_named(echoes):
    done = run_tunelock("chat", input="/help\n/nope\n/quit\nnever asked\n")
    assert (done.exit_code, done.stdout) == (0, "")
    assert all(command in done.stderr for command in COMMANDS) and "There is no /nope;" in done.stderr


def test_a_single_question_may_be_put_to_either_or_both(echoes):
    assert run_tunelock("chat", "Why?", "--model", "base").stdout == "base heard Why?\n"
    assert run_tunelock("chat", "Why?", "--compare").stdout == "base: base heard Why?\ntuned: merged heard Why?\n"


def test_what_cannot_be_asked_ends_in_a_sentence(folder):
    done = run_tunelock("chat", " ")
    assert done.exit_code == 1 and "the question is empty" in done.stderr
    (folder / "models/merged/tokenizer_config.json").unlink()
    done = run_tunelock("chat", "Why?")
    assert done.exit_code == 1 and done.stderr.startswith("tunelock chat: models/merged is missing; run `dvc repro")
    assert run_tunelock("chat", "Why?", "--model", "both").exit_code == 2


def test_ctrl_c_stops_the_answer_and_the_conversation_goes_on(folder, monkeypatch):
    def stream_answer(model: ChatModel, messages: list[dict], write) -> Answer:
        if messages[-1]["content"] == "Long?":
            write("It is ")
            raise KeyboardInterrupt  # while the model is loaded, for instance
        return Answer("Fine.")

    monkeypatch.setattr(ChatModel, "load", lambda model: None)
    monkeypatch.setattr(ChatModel, "stream_answer", stream_answer)
    assert run_tunelock("chat", input="Long?\nShort?\n").exit_code == 0


def settings(max_new_tokens: int = 30, **rendering: object) -> ChatSettings:
    return ChatSettings("float32", 1, Rendering(384, **rendering), max_new_tokens)


def user(*texts: str) -> list[dict]:
    """Messages in turns, the person's first."""
    return [{"role": ("user", "assistant")[number % 2], "content": text} for number, text in enumerate(texts)]


def test_an_answer_comes_in_pieces_and_an_interrupt_keeps_those_that_were_written(tiny_model):
    signal.signal(signal.SIGINT, signal.default_int_handler)  # who runs in the background may have it ignored
    model, pieces = ChatModel(tiny_model, settings()), []
    whole = model.stream_answer(user("Why?"), pieces.append)
    assert not whole.stopped and "".join(pieces).strip() == whole.text and len(pieces) > 20

    def interrupt(piece: str) -> None:
        heard.append(piece)
        if len(heard) == 10:
            signal.raise_signal(signal.SIGINT)

    heard: list[str] = []
    part = model.stream_answer(user("Why?"), interrupt)
    assert part.stopped and heard == pieces[:10] and part.text == "".join(heard).strip()


def test_a_conversation_is_rendered_as_a_record_is(tiny_model, tokenizer, monkeypatch):
    rendered = []
    monkeypatch.setattr(
        "tunelock.chatting.chat_model.render_prompt",
        lambda _, messages, __: rendered.append(messages) or [1, 2, 3],
    )
    model = ChatModel(tiny_model, settings(system_prompt="Be brief.", max_turns=2, max_new_tokens=1))
    model.stream_answer(user("One?", "1", "Two?", "2", "Three?"), lambda piece: None)
    assert rendered == [[{"role": "system", "content": "Be brief."}, *user("Two?", "2", "Three?")]]


def test_a_conversation_that_fills_the_context_stops_with_the_way_on(tiny_model):
    with pytest.raises(Stop, match="and the model sees 2048; /reset begins another"):
        ChatModel(tiny_model, settings()).stream_answer(user("why " * 3000), lambda piece: None)


def test_a_model_that_counts_no_positions_talks_as_long_as_it_is_let(tokenizer, tmp_path):
    config = AutoConfig.for_model("bloom", vocab_size=len(tokenizer), hidden_size=16, n_layer=1, n_head=2)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    answer = ChatModel(tmp_path, settings(max_new_tokens=3)).stream_answer(user("why " * 300), lambda piece: None)
    assert not answer.stopped


def read_keys(read, keys, text: str) -> str:
    """The question that comes of typing this, once earlier questions are loaded."""
    typing = threading.Timer(0.5, keys.send_text, [text])
    typing.start()
    return read()


def test_the_terminal_keeps_questions_and_takes_several_lines(tmp_path):
    history = tmp_path / "kept" / "history"
    with create_pipe_input() as keys, create_app_session(input=keys, output=DummyOutput()):
        read = read_from_terminal(history, COMMANDS)
        assert read_keys(read, keys, "One?\r") == "One?"
        assert read_keys(read, keys, "Two\x1b\rlines\r") == "Two\nlines"  # Alt-Enter
        assert read_keys(read, keys, "Three\\\rlines\r") == "Three\nlines"
        with pytest.raises(EOFError):
            read_keys(read, keys, "\x04")
    with create_pipe_input() as keys, create_app_session(input=keys, output=DummyOutput()):
        read = read_from_terminal(history, COMMANDS)
        assert read_keys(read, keys, "\x1b[A\r") == "Three\nlines"  # from the other session
        with pytest.raises(KeyboardInterrupt):
            read_keys(read, keys, "\x03")


def read_until(terminal: int, pattern: str, seconds: float = 120) -> str:
    """What the terminal shows until a pattern stands there."""
    shown, end = "", time.monotonic() + seconds
    while not re.search(pattern, shown):
        assert time.monotonic() < end, shown[:500] + shown[-200:]
        if select.select([terminal], [], [], 1)[0]:
            shown += os.read(terminal, 4096).decode(errors="replace")
    return shown


# The terminal becomes that of the session, so that Ctrl-C in it is a signal.
TAKE_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)
SESSION = [sys.executable, "-c", TAKE_TERMINAL]


@pytest.mark.skipif(sys.platform != "linux", reason="a pseudo-terminal as Linux has it")
def test_in_a_real_terminal_ctrl_c_stops_the_answer_and_ctrl_d_leaves(folder, tiny_model):
    for name in ("base", "merged"):
        (folder / "models" / name / "tokenizer_config.json").unlink()
        (folder / "models" / name).rmdir()
        (folder / "models" / name).symlink_to(tiny_model)
    ours, theirs = pty.openpty()
    env = os.environ | {"PYTHONPATH": str(ROOT), "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"}
    command = [sys.executable, "-m", "tunelock", "chat", "--max-new-tokens", "2000"]
    child = subprocess.Popen(
        [*SESSION, *command],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=folder,
        env=env,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 (no threads here)
    )
    try:
        read_until(ours, "Ctrl-C stops an answer")
        os.write(ours, b"Why?\r")
        read_until(ours, r"tuned:(.|\s){40}")
        os.write(ours, b"\x03")
        read_until(ours, r"\(stopped\)(.|\s)*>")
        os.write(ours, b"/base\r")
        read_until(ours, r"You are talking to base(.|\s)*>")  # and a question is awaited again
        os.write(ours, b"\x04")
        assert child.wait(60) == 0
    finally:
        child.kill()
        os.close(ours)
        os.close(theirs)
    assert "Why?" in (folder / ".ckpt/chat_history").read_text()
