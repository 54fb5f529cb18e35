"""The tokens that stage base added to the vocabulary; their embeddings are new, so they have to be trained."""

from pathlib import Path

from tunelock.run.files import read_json

ADDED_TOKENS = "added_token_ids.json"  # in a base folder: {"ids": [...]}


def read_added_tokens(folder: Path | str) -> list[int]:
    """Their ids; none where the base folder does not name any."""
    file = Path(folder, ADDED_TOKENS)
    return read_json(file)["ids"] if file.exists() else []
