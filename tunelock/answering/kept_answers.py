"""Answers on disk, by model, prompts and settings: an interrupted stage goes on, a repeated one computes nothing.

What was computed together is kept together: the padding is part of the bits. An entry's name is the digest of all
that its content follows from, so nothing ever has to be declared stale.
"""

import inspect
import json
import os
from collections.abc import Callable
from pathlib import Path

import transformers

from tunelock.answering.decoding import Answers
from tunelock.answering.grouping import group_similar
from tunelock.model.modeling import describe_hardware
from tunelock.run.files import write_json
from tunelock.run.hashing import hash_files, sha256_file, sha256_value
from tunelock.run.scratch import locate_checkpoints

LIMIT = 256 * 2**20  # bytes; above it the entries that were used least recently go


class KeptAnswers:
    """Answers of batches below a folder. `setting` is all that they follow from beside their prompts.

    A batch that is there is read and not computed; one that is damaged, or no answer to these prompts, is computed
    again. Where the folder cannot be written nothing is kept and nothing fails.
    """

    def __init__(self, folder: Path, setting: dict, limit: int = LIMIT):
        self.folder, self.setting, self.limit = folder, setting, limit

    def __call__(self, prompts: list[list[int]], compute: Callable[[], Answers]) -> Answers:
        key = sha256_value({"setting": self.setting, "prompts": prompts})
        path = self.folder / f"{key}.json"
        found = _read_entry(path, len(prompts))
        if found:
            os.utime(path)
            return found
        found = compute()
        try:
            write_json(path, {"answers": found._asdict(), "sha256": sha256_value(found._asdict())})
            drop_oldest_entries(self.folder, self.limit)
        except OSError:  # a full disk, or another process that writes the same entry
            pass
        return found


def _read_entry(path: Path, count: int) -> Answers | None:
    """The answers of an entry that is whole and has `count` of them, or None."""
    try:
        entry = json.loads(path.read_text())
        answers = Answers(**entry["answers"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    whole = entry.get("sha256") == sha256_value(entry["answers"])
    return answers if whole and len(answers.tokens) == count else None


def drop_oldest_entries(folder: Path, limit: int) -> None:
    """Remove the entries that were used least recently until the others take no more than `limit` bytes."""
    entries = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    total = 0
    for path in entries:
        total += path.stat().st_size
        if total > limit:
            path.unlink(missing_ok=True)


def open_kept_answers(folder: Path | str, settings: dict) -> KeptAnswers:
    """Those of the model in `folder` under these settings, by this very code, these versions and this hardware."""
    setting = {
        "model": hash_files(folder),
        "settings": settings,
        "code": [sha256_file(inspect.getfile(part)) for part in (Answers, group_similar)],
        "transformers": transformers.__version__,
        "hardware": describe_hardware(),
    }
    return KeptAnswers(locate_checkpoints("generations", ""), setting)
