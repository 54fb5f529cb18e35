"""Write overrides, given as JSON on stdin, into the files of params, as `dvc exp run -S` does; print which files.

It needs DVC, so it runs in the job's environment.
"""

import json
import sys

from dvc.utils.cli_parse import to_path_overrides
from dvc.utils.hydra import apply_overrides


def _set_params(overrides: list[str]) -> list[str]:
    """The files that were written."""
    by_file = to_path_overrides(overrides)
    for path, settings in by_file.items():
        apply_overrides(path, settings)
    return list(by_file)


if __name__ == "__main__":
    print(json.dumps(_set_params(json.load(sys.stdin))))
