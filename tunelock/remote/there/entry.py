"""The first call on the host, from the zip: `job FOLDER` works at a job, `serve FOLDER` answers one request on stdin,
`hold FOLDER SECONDS` returns when no job is alive and none failed within so many seconds.
"""

import sys
from pathlib import Path


def main() -> None:
    verb, path, *more = sys.argv[1:]
    if verb == "job":
        from tunelock.remote.there.job import main as work

        work(path)
    elif verb == "hold":
        from tunelock.remote.there.holding import hold_machine

        hold_machine(Path(path), float(more[0]))
    else:
        from tunelock.remote.there.agent import serve

        serve(path)
