"""A model that answers in a conversation, greedily, piece by piece."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase
from transformers.generation.streamers import BaseStreamer

from tunelock.model.modeling import make_deterministic
from tunelock.model.positions import count_room
from tunelock.model.tuned import GREEDY, load_tuned, prepare_generation, unwrap_model
from tunelock.records.record import Message
from tunelock.rendering.conversation import render_prompt
from tunelock.rendering.rendering import Rendering, load_tokenizer, select_messages
from tunelock.rendering.vocabulary import find_end_tokens
from tunelock.rendering.written_answer import split_written
from tunelock.run.errors import Stop

Write = Callable[[str], None]  # takes the next piece of an answer
UNFINISHED = "\N{REPLACEMENT CHARACTER}"  # what the tokenizer gives for some of the bytes of a character


@dataclass(frozen=True, slots=True)
class ChatSettings:
    """What params.yaml says of a conversation, and the most tokens of an answer."""

    dtype: str
    num_threads: int
    rendering: Rendering
    max_new_tokens: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model wrote, and whether the person stopped it."""

    text: str
    stopped: bool = False


class ChatModel:
    """A model folder, loaded when it is asked for the first time."""

    def __init__(self, folder: Path, settings: ChatSettings):
        """Raise `Stop` if there is no model in the folder."""
        if not (folder / "tokenizer_config.json").exists():
            raise Stop(f"{folder} is missing; run `dvc repro merge` (or `dvc pull`) first.")
        self.folder = folder
        self._settings = settings
        self._tokenizer: Any = None
        self._model: Any = None

    @property
    def is_loaded(self) -> bool:
        """Whether the model answers at once."""
        return self._model is not None

    def load(self) -> None:
        """Load tokenizer and weights."""
        make_deterministic(0, self._settings.num_threads)
        self._tokenizer = load_tokenizer(self.folder)
        self._model = load_tuned(self.folder, self._settings.dtype)

    def stream_answer(self, messages: list[Message], write: Write) -> Answer:
        """Answer the last question of a conversation; Ctrl-C ends the answer where it is.

        Raises:
            Stop: the conversation leaves no room for an answer.
        """
        if not self.is_loaded:
            self.load()
        prompt, room = self._render(messages)
        ends = find_end_tokens(self._tokenizer, unwrap_model(self._model).generation_config)
        streamer = _Streamer(self._tokenizer, ends, write)
        given, _ = prepare_generation(self._model, prompt, torch.ones_like(prompt))
        try:
            with torch.no_grad():
                unwrap_model(self._model).generate(
                    **given,
                    max_new_tokens=int(min(room, self._settings.max_new_tokens)),
                    **GREEDY,
                    eos_token_id=list(ends),
                    pad_token_id=ends[0],
                    streamer=streamer,
                )
        except KeyboardInterrupt:
            return Answer(self._drop_reasoning(streamer, ends), stopped=True)
        return Answer(self._drop_reasoning(streamer, ends))

    def _drop_reasoning(self, streamer: "_Streamer", ends: tuple[int, ...]) -> str:
        """What was written, without the reasoning before it: the next question is asked behind the answer alone."""
        thinking = self._settings.rendering.thinking
        if thinking == "none":
            return streamer.text.strip()
        return split_written(self._tokenizer, streamer.tokens, ends, thinking).answer.strip()

    def _render(self, messages: list[Message]) -> tuple[torch.Tensor, float]:
        """The tokens of the prompt, shape (1, length), and how many more the model has positions for."""
        to_come: Message = {"role": "assistant", "content": ""}  # what the rendering of a record ends with
        record = {"messages": [*messages, to_come]}
        shown = select_messages(self._tokenizer, record, self._settings.rendering)[:-1]
        prompt = render_prompt(self._tokenizer, shown, self._settings.rendering.thinking)
        positions = count_room(self._model)
        if len(prompt) >= positions:
            raise Stop(
                f"the conversation has {len(prompt)} tokens, and the model sees {positions}; /reset begins another."
            )
        return torch.tensor([prompt], device=self._model.device), positions - len(prompt)


class _Streamer(BaseStreamer):
    """Hands an answer on token by token, without control characters that would move the cursor, and keeps it.

    transformers' own `TextStreamer` waits for the end of a word; what a model writes without spaces would not be seen.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, ends: tuple[int, ...], write: Write):
        self.text = ""
        self.tokens: list[int] = []  # all that were written
        self._tokenizer, self._ends, self._write = tokenizer, ends, write
        self._tokens: list[int] = []  # of the line that is being written
        self._shown = 0  # letters of it that were handed on
        self._is_prompt = True

    def put(self, value: torch.Tensor) -> None:
        """Called by transformers with the prompt and then with each token."""
        if self._is_prompt:
            self._is_prompt = False
            return
        self.tokens += value.reshape(-1).tolist()
        self._tokens += [token for token in value.reshape(-1).tolist() if token not in self._ends]
        line = self._tokenizer.decode(self._tokens, skip_special_tokens=True)
        if not line.endswith(UNFINISHED):
            self._hand_on(line[self._shown :])
            self._shown = len(line)
        if line.endswith("\n"):
            self._tokens, self._shown = [], 0

    def end(self) -> None:
        """Called at the end: a character that was not finished is left out."""

    def _hand_on(self, piece: str) -> None:
        piece = "".join(letter if letter.isprintable() or letter in "\n\t" else UNFINISHED for letter in piece)
        self.text += piece
        self._write(piece)
