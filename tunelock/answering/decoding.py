"""The greedy answers of one batch, equal to those that each prompt gets alone."""

import inspect
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch.nn.functional import pad
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import CacheLayerMixin, DynamicLayer

from tunelock.answering.grouping import group_similar
from tunelock.model.tuned import GREEDY, prepare_generation, unwrap_model

# In float32 the gap between the two likeliest tokens of SmolLM2-135M moves by up to 4e-5 with the rows and the padding
# around them (1,274 steps of 20 golden questions). Where it is below five times that, the batch does not decide.
NEAR_TIE = 2e-4
ROOM = 64  # positions that a cache grows by
LEAVE = 0.125  # share of a batch that must be done before the cache is copied without them


class Answers(NamedTuple):
    """The new tokens of each prompt, and how many prompts were answered alone because of a near-tie."""

    tokens: list[list[int]]
    alone: int


class _RoomyLayer(DynamicLayer):
    """Keys and values of a layer with room at the end: transformers' own copies all of them for every token."""

    def update(self, key_states, value_states, *args, **kwargs):
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.rooms = [state.new_empty(*state.shape[:2], 0, state.shape[3]) for state in (key_states, value_states)]
        before = self.get_seq_length()
        after = before + key_states.shape[2]
        if after > self.rooms[0].shape[2]:
            self.rooms = [pad(room[:, :, :before], (0, 0, 0, after + ROOM - before)) for room in self.rooms]
        for room, states in zip(self.rooms, (key_states, value_states)):
            room[:, :, before:after] = states
        self.keys, self.values = (room[:, :, :after] for room in self.rooms)
        return self.keys, self.values

    def join(self, others: list["_RoomyLayer"], places: int) -> None:
        """Add the rows of other layers behind its own, each with room before it up to so many places."""
        columns = zip(*((layer.keys, layer.values) for layer in (self, *others)))
        self.rooms = [torch.cat([pad(part, (0, 0, places - part.shape[2], 0)) for part in parts]) for parts in columns]
        self.keys, self.values = self.rooms

    def reorder_cache(self, beam_idx):
        length = self.get_seq_length()
        self.rooms = [room.index_select(0, beam_idx) for room in self.rooms]
        self.keys, self.values = (room[:, :, :length] for room in self.rooms)


def decode_greedily(
    model: torch.nn.Module, prompts: list[list[int]], max_new_tokens: int, end_ids: tuple[int, ...],
    seen: Callable[[int, int], None] = lambda new, spared: None,
) -> Answers:  # fmt: skip
    """The greedy continuation of each prompt (token ids), computed together.

    An answer that came to its end has one of `end_ids` as its last token; one that was cut at `max_new_tokens` has
    none. Where a model in float32 comes to a near-tie, that prompt is answered once more and alone, as `model.generate`
    answers it. In a coarser dtype near-ties are everywhere, and answers depend on the batch. `seen` gets the number of
    new tokens of each step, and of how many the rows that end with it spare.
    """
    if not _takes_our_cache(unwrap_model(model)):
        return Answers([_decode_by_generate(model, prompt, max_new_tokens, end_ids, seen) for prompt in prompts], 0)
    exact = next(model.parameters()).dtype == torch.float32 and len(prompts) > 1
    tokens, unsure = _decode_batch(model, prompts, max_new_tokens, end_ids, NEAR_TIE if exact else 0.0, seen)
    for number in unsure:
        tokens[number] = _decode_batch(model, [prompts[number]], max_new_tokens, end_ids, 0.0, seen)[0][0]
    return Answers(tokens, len(unsure))


def _takes_our_cache(model: PreTrainedModel) -> bool:
    """Whether the model keeps plain keys and values: Mamba keeps a state, MiniMax has a cache class of its own."""
    takes = "past_key_values" in inspect.signature(model.forward).parameters
    return takes and model._supports_default_dynamic_cache()


@torch.no_grad()
def _decode_batch(
    model: torch.nn.Module, prompts: list[list[int]], max_new_tokens: int, end_ids: tuple[int, ...], bound: float,
    seen: Callable[[int, int], None],
) -> tuple[list[list[int]], list[int]]:  # fmt: skip
    """Return the answers, and the numbers of those that broke off where the two likeliest tokens were within `bound`.

    Rows are padded on the left; those that are done leave the batch.
    """
    answers, unsure, done = [[] for _ in prompts], [], set()
    logits, mask, cache = _read_prompts(model, prompts, end_ids[0])
    active = list(range(len(prompts)))  # the prompt of each row of the batch
    while True:
        chosen, near = _pick_tokens(logits, bound)
        new = spared = 0
        for number, token, tied in zip(active, chosen.tolist(), near.tolist()):
            if number in done:
                continue
            if tied:
                unsure.append(number)
                spared -= len(answers[number])
            else:
                answers[number].append(token)
                new += 1
            if tied or token in end_ids or len(answers[number]) == max_new_tokens:
                done.add(number)
                spared += 0 if tied else max_new_tokens - len(answers[number])
        seen(new, spared)
        staying = [line for line, number in enumerate(active) if number not in done]
        if not staying:
            break
        if len(active) - len(staying) >= LEAVE * len(active):
            active, kept = [active[line] for line in staying], torch.tensor(staying, device=mask.device)
            mask, chosen = mask[kept], chosen[kept]
            cache.reorder_cache(kept)
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], 1)
        logits = _compute_last_logits(unwrap_model(model), {"input_ids": chosen[:, None]}, mask, cache)
    return answers, unsure


def _read_prompts(
    model: torch.nn.Module, prompts: list[list[int]], pad_id: int
) -> tuple[torch.Tensor, torch.Tensor, DynamicCache]:
    """The logits behind each prompt, (rows, vocabulary), which places are seen, (rows, places), and keys and values.

    Prompts of similar length go through the model together, for most of a batch could be padding; then all are joined.
    Where a layer keeps more than keys and values, such as a state, they go together at once.
    """
    grows = all(type(layer) is DynamicLayer for layer in DynamicCache(config=unwrap_model(model).config).layers)
    groups = list(group_similar([len(prompt) for prompt in prompts], len(prompts))) if grows else [range(len(prompts))]
    done = []
    for group in groups:
        given, mask, cache = _start_batch(model, [prompts[i] for i in group], pad_id)
        done.append((_compute_last_logits(unwrap_model(model), given, mask, cache), mask, cache))
    if len(done) == 1:
        return done[0]
    logits, masks, caches = zip(*done)
    places = max(mask.shape[1] for mask in masks)
    joint = caches[0]
    for layer, *others in zip(*(cache.layers for cache in caches)):
        layer.join(others, places)
    return torch.cat(logits), torch.cat([pad(mask, (places - mask.shape[1], 0)) for mask in masks]), joint


def _start_batch(
    model: torch.nn.Module, prompts: list[list[int]], pad_id: int
) -> tuple[dict, torch.Tensor, DynamicCache]:
    """What goes into the model first, which of its places are seen (rows, places), and where keys and values go."""
    longest = max(map(len, prompts))
    ids = torch.tensor([[pad_id] * (longest - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    given, _ = prepare_generation(model, ids.to(model.device), mask.to(model.device))
    mask, cache = given.pop("attention_mask"), given.pop("past_key_values", None)
    if cache is not None:  # a prefix, whose places have no tokens
        given = {"input_ids": given["input_ids"][:, cache.get_seq_length() :]}
    cache = DynamicCache(config=unwrap_model(model).config) if cache is None else cache
    cache.layers = [_give_room(layer) for layer in cache.layers]
    return given, mask, cache


def _give_room(layer: CacheLayerMixin) -> CacheLayerMixin:
    """The same layer with room; sliding windows and the states of linear attention do not grow and stay as they are."""
    if type(layer) is not DynamicLayer:
        return layer
    new = _RoomyLayer()
    if layer.get_seq_length():
        new.update(layer.keys, layer.values)
    return new


def _compute_last_logits(model: PreTrainedModel, given: dict, mask: torch.Tensor, cache: DynamicCache) -> torch.Tensor:
    """Logits of the next token, shape (rows, vocabulary), in float32; the cache grows by what was given."""
    length = next(iter(given.values())).shape[1]
    options = {"position_ids": (mask.cumsum(1) - 1).clamp(min=0)[:, -length:], "logits_to_keep": 1}
    known = inspect.signature(model.forward).parameters
    options = {key: value for key, value in options.items() if key in known}
    out = model(**given, attention_mask=mask, past_key_values=cache, use_cache=True, **options)
    return out.logits[:, -1].float()


@torch.no_grad()
def _decode_by_generate(
    model: torch.nn.Module,
    prompt: list[int],
    max_new_tokens: int,
    end_ids: tuple[int, ...],
    seen: Callable[[int, int], None],
) -> list[int]:
    """One prompt by transformers' own loop."""
    ids = torch.tensor([prompt], device=model.device)
    given, length = prepare_generation(model, ids, torch.ones_like(ids))
    out = unwrap_model(model).generate(
        **given, **GREEDY, max_new_tokens=max_new_tokens, eos_token_id=list(end_ids), pad_token_id=end_ids[0]
    )
    answer = out[0, length:].tolist()
    seen(len(answer), max_new_tokens - len(answer))
    return answer


def _pick_tokens(logits: torch.Tensor, bound: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The likeliest token of each row, and whether the second is within `bound` of it; shapes (rows,)."""
    best, chosen = logits.max(-1)
    if not bound:
        return chosen, torch.zeros_like(chosen, dtype=torch.bool)
    second = logits.scatter(1, chosen[:, None], -torch.inf).amax(-1)
    return chosen, best - second < bound
