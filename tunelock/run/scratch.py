"""Where a stage keeps what is no out: checkpoints, answers that may be needed again."""

import os
from pathlib import Path


def locate_checkpoints(stage: str, key: str) -> Path:
    """Where the checkpoints of the run with this key live.

    Outside the stage's outs, which DVC deletes before a run, and in the main clone even when an experiment
    runs in a temporary one, so that it resumes there too.
    """
    return Path(os.environ.get("DVC_ROOT", ".")) / ".ckpt" / stage / key
