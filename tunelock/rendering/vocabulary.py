"""What a tokenizer may lack: a template, control tokens of one's own, all its end tokens, a pad token that is none."""

from collections.abc import Sequence
from pathlib import Path

import torch
from jinja2 import TemplateError
from tokenizers import AddedToken
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from tunelock.records.record import make_messages
from tunelock.rendering.conversation import find_end_token
from tunelock.rendering.template import apply_template
from tunelock.run.errors import Stop
from tunelock.run.hashing import sha256_file

SUMS = "SHA256SUMS"
# Control tokens that published vocabularies have and chats do not use, best first: Llama 3.1, Gemma, Qwen and SmolLM,
# Llama 2 and Mistral.
SPARE = ("<|finetune_right_pad_id|>", "<pad>", "<|pad|>", "[PAD]", "<|endoftext|>", "<unk>")
NEW_PAD = "<|pad|>"
ANSWER = "It is so."  # any answer, to see what a template writes behind it


def install_template(tokenizer: PreTrainedTokenizerBase, path: str) -> str:
    """Give the tokenizer the chat template in a file; what was done.

    Raises:
        Stop: the file is missing, renders no question, or is one of ours (templates/SHA256SUMS) and was changed.
    """
    file = Path(path)
    if not file.exists():
        there = ", ".join(sorted(map(str, Path("templates").glob("*.jinja")))) or "none"
        raise Stop(f"chat_template: {path} is missing; there are: {there}.")
    shipped = dict(line.split()[::-1] for line in (file.parent / SUMS).read_text().splitlines())
    if shipped.get(file.name, sha256_file(file)) != sha256_file(file):
        raise Stop(f"{path} is not as it was shipped (templates/{SUMS}); restore it, or save yours under another name.")
    tokenizer.chat_template = file.read_text(encoding="utf-8")
    try:
        tokenizer.apply_chat_template([{"role": "user", "content": "a"}], tokenize=False, add_generation_prompt=True)
    except TemplateError as error:
        raise Stop(f"{path} cannot be rendered ({error}); mend it.") from None
    return f"chat template {path}"


def add_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tokens: Sequence[str]) -> list[int]:
    """Add tokens of one's own (`register_tokens`), with a row of embeddings each; their ids."""
    old = len(tokenizer)
    ids = register_tokens(tokenizer, tokens)
    _fill_new_rows(model, tokenizer, old)
    return ids


def register_tokens(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[str]) -> list[int]:
    """Add tokens of one's own to a tokenizer alone; their ids.

    They are no control tokens: whoever writes such a string in a text writes the token, and decoding shows it. Those
    that the chat template writes are control tokens, which nobody else can write.
    """
    if not tokens:
        return []
    plain = {token.content for token in tokenizer.added_tokens_decoder.values() if not token.special}
    written = [token for token in tokens if _is_control(tokenizer, token, token in plain)]
    own = [token for token in tokens if token not in plain.union(written)]
    tokenizer.add_special_tokens({"extra_special_tokens": written}, replace_extra_special_tokens=False)
    tokenizer.extra_special_tokens = [token for token in tokenizer.extra_special_tokens if token not in own]
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in own])
    return tokenizer.convert_tokens_to_ids(list(tokens))


def _is_control(tokenizer: PreTrainedTokenizerBase, token: str, is_plain: bool) -> bool:
    """Whether the chat template writes a token, or the tokenizer itself has a use for it, such as for an end.

    One that a vocabulary has and that `is_plain`, such as Qwen's <think>, is a control token where it ends an answer.
    """
    if token in [getattr(tokenizer, name) for name in tokenizer.SPECIAL_TOKENS_ATTRIBUTES]:
        return True
    if not tokenizer.chat_template:
        return False
    text = apply_template(tokenizer, make_messages("a", "", ANSWER))
    if is_plain:
        return token in text.rpartition(ANSWER)[2]
    return token in text or token in str(tokenizer.chat_template)


def fill_missing_rows(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> str:
    """Give a row to each token that the vocabulary has and the embeddings have not; what was done, or nothing.

    Transformers' class of a tokenizer may add one on loading, as Qwen2's does with `<|endoftext|>`.
    """
    rows = model.get_input_embeddings().num_embeddings
    beyond = sorted(token for token, number in tokenizer.get_vocab().items() if number >= rows)
    if not beyond:
        return ""
    _fill_new_rows(model, tokenizer, rows)
    return f"a new row of embeddings for {', '.join(beyond)}"


def _fill_new_rows(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, old: int) -> None:
    """Give the tokens from the number `old` on a row of embeddings and of the head.

    It is the mean of the old ones (Hewitt 2021, https://nlp.stanford.edu/~johnhew/vocab-expansion.html), which hardly
    changes the chances of the other tokens.
    """
    if len(tokenizer) == old:
        return
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    with torch.no_grad():
        for table in filter(None, (model.get_input_embeddings(), model.get_output_embeddings())):
            for values in table.parameters(recurse=False):
                values[old : len(tokenizer)] = values[:old].mean(0, dtype=torch.float32).to(values.dtype)


def find_end_tokens(tokenizer: PreTrainedTokenizerBase, settings: GenerationConfig) -> tuple[int, ...]:
    """The ids of the tokens that end an answer, each once.

    First the one that the chat template writes, then the tokenizer's end-of-sequence token, then those that the
    generation settings list. An id that the tokenizer does not have ends nothing.

    Raises:
        Stop: there is none.
    """
    configured = settings.eos_token_id
    try:
        first = [find_end_token(tokenizer)]
    except Stop:  # there is no template, or it refuses a plain question
        first = []
    found = [*first, tokenizer.eos_token_id, *(configured if isinstance(configured, list) else [configured])]
    known = set(tokenizer.get_vocab().values())
    ends = tuple(token for token in dict.fromkeys(found) if token in known)
    if not ends:
        raise Stop("nothing ends an answer of the base model; set eos_token in its tokenizer_config.json.")
    return ends


def decode_answer(tokenizer: PreTrainedTokenizerBase, tokens: list[int], end_ids: tuple[int, ...]) -> str:
    """The text of an answer without the token that ended it, be that a control token or not."""
    ended = bool(tokens) and tokens[-1] in end_ids
    return tokenizer.decode(tokens[:-1] if ended else tokens, skip_special_tokens=True)


def set_end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> str:
    """Write all end tokens into the generation settings, for whoever runs the model; what was done, or nothing."""
    settings = model.generation_config
    ends = find_end_tokens(tokenizer, settings)
    wanted = ends[0] if len(ends) == 1 else list(ends)
    if settings.eos_token_id == wanted:
        return ""
    settings.eos_token_id = wanted
    return f"generation ends at {', '.join(tokenizer.convert_ids_to_tokens(ends))}"


def set_pad_token(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> str:
    """Make a control token that ends nothing the pad token: one that is there and unused, or else a new one."""
    vocabulary, taken = tokenizer.get_vocab(), find_end_tokens(tokenizer, model.generation_config)
    free = [token for token in SPARE if token in vocabulary and vocabulary[token] not in taken]
    token = free[0] if free else NEW_PAD
    old = len(tokenizer)
    tokenizer.add_special_tokens({"pad_token": token}, replace_extra_special_tokens=False)
    _fill_new_rows(model, tokenizer, old)
    model.config.pad_token_id = model.generation_config.pad_token_id = tokenizer.pad_token_id
    return token if free else f"{token}, which is new"
