"""The first call on the host, from the zip: `job FOLDER` works at a job, `serve FOLDER` answers one request on stdin."""

import sys


def main() -> None:
    verb, path = sys.argv[1:]
    if verb == "job":
        from tunelock.remote.there.job import main as work

        work(path)
    else:
        from tunelock.remote.there.agent import serve

        serve(path)
