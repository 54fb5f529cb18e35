"""Models that are known by name: the table `known_models.csv`, a line for each.

The shapes are those of each model's `config.json`, under its keys, as LitGPT's `litgpt/config.py`, OLMo-core and the
defaults of Transformers have them; the parameters counted from them are the published ones
(tests/planning/test_known_models.py). Of a mixture, `intermediate_size` is that of one expert. Of Gemma 3 from 4B on,
it is the text model that is described. A revision is a commit of the hub as public projects pin it, and `seen_in` says
where: a snapshot path is `models--ORG--NAME/snapshots/REVISION`. `<hub>/tree/<revision>` shows it.
Nothing here is fetched or trusted: the hub gives the bytes of that commit or none.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

from tunelock.model.methods.architecture import Architecture, read_architecture

TABLE = Path(__file__).with_suffix(".csv")
YES = "yes"


@dataclass(frozen=True, slots=True)
class Family:
    """One model: the facts that configuring and estimating need without its files.

    `revision` is None where no public project was seen that pins one. `context` is in tokens. `chat_template` is the
    file of ours that is installed, None where the tokenizer's own serves.
    """

    hub_id: str
    revision: str | None
    seen_in: str
    architecture: Architecture
    context: int
    licence: str
    gated: bool  # the licence is accepted on the hub, or contact data given, before it can be fetched
    chat_template: str | None

    @property
    def parameters(self) -> int:
        """Weights of the model, a head that is tied to the embeddings counted once."""
        return self.architecture.parameters


def make_config(row: dict[str, str]) -> dict[str, str | int | bool]:
    """What `config.json` says of the shape, from a line of the table."""
    config: dict[str, str | int | bool] = {key: int(text) for key, text in row.items() if text.isdecimal()}
    return config | {"model_type": row["model_type"], "tie_word_embeddings": row["tie_word_embeddings"] == YES}


def read_table() -> dict[str, dict[str, str]]:
    """The lines of the table by name."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def _make_family(row: dict[str, str]) -> Family:
    """The model of a line of the table."""
    return Family(
        hub_id=row["hub_id"],
        revision=row["revision"] or None,
        seen_in=row["seen_in"],
        architecture=read_architecture(make_config(row)),
        context=int(row["max_position_embeddings"]),
        licence=row["licence"],
        gated=row["gated"] == YES,
        chat_template=row["chat_template"] or None,
    )


FAMILIES = {name: _make_family(row) for name, row in read_table().items()}


def find_family(name: str) -> Family | None:
    """The family of that name, or with that hub id, whatever the case of its letters."""
    wanted = name.casefold()
    by_hub_id = {family.hub_id.casefold(): family for family in FAMILIES.values()}
    return FAMILIES.get(wanted) or by_hub_id.get(wanted)
