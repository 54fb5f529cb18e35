"""Rows of metrics/plots and of metrics/length_histogram.json, which the charts are drawn from."""

from typing import NotRequired, TypedDict


class LossRow(TypedDict):
    """The loss (nats a token) at an optimiser step."""

    step: int
    loss: float


class TaskRow(TypedDict):
    """A model's perplexity on a task with its interval, if there is one; further metrics stand beside it."""

    task: str
    model: str
    perplexity: float
    low: NotRequired[float | None]
    high: NotRequired[float | None]


class CalibrationRow(TypedDict):
    """How sure a model is (mean probability of the likeliest token), how often it is right, over how many tokens."""

    model: str
    confidence: float
    accuracy: float
    tokens: int


class LengthRow(TypedDict):
    """How many rows have so many tokens or more, up to the next bin; `tokens` is a number or its digits."""

    tokens: int | str
    rows: int
