"""Split: who goes where, and that nothing leaks."""

from typing import Annotated, Literal

from pydantic import Field

from tunelock.run.rules import Values, rule
from tunelock.schema.field_types import Jaccard, Limit, Ratio, Seed, Sha256, Share, StrictFields, Text, Weight
from tunelock.schema.sources_params import has_replay_source


class SplitParams(StrictFields):
    """The keys below the banner `split`."""

    split_seed: Seed
    split_method: Literal["hash", "stratified"]
    val_ratio: Ratio
    test_ratio: Ratio
    golden_groups: Annotated[list[Text], Field(min_length=1)] | None
    golden_where: Annotated[dict[Literal["task", "source"], Text], Field(min_length=1)] | None
    golden_ratio: Share
    golden_sha256: Sha256 | None
    decontaminate: list[Literal["exact", "near", "ngram"]]
    leak_threshold: Jaccard
    leak_ngram_words: Annotated[int, Field(ge=5, le=100)]
    leak_boilerplate_share: Share
    max_rows_per_task: Limit
    task_weights: dict[Text, Weight] | None
    replay_share: Share
    max_train_samples: Limit
    max_val_samples: Limit
    max_test_samples: Limit
    max_golden_samples: Limit


@rule("golden_ratio: nothing says what is golden; set golden_groups, golden_where or golden_ratio.")
def _nothing_is_golden(values: Values) -> bool:
    return not values["golden_groups"] and not values["golden_where"] and not values["golden_ratio"]


@rule("replay_share: no source has `role: replay`; give one that role, or set 0.")
def _replay_has_no_source(values: Values) -> bool:
    return values["replay_share"] > 0 and not has_replay_source(values)


@rule("replay_share: is 0, so the source with `role: replay` would not be used; raise it or remove the source.")
def _replay_source_is_unused(values: Values) -> bool:
    return values["replay_share"] == 0 and has_replay_source(values)


@rule("test_ratio: with val_ratio it takes every group, so train would be empty; lower one of them.")
def _train_would_be_empty(values: Values) -> bool:
    return values["val_ratio"] + values["test_ratio"] >= 1
