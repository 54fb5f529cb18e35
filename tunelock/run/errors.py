"""The one error that is meant for the person who runs a stage."""


class Stop(Exception):
    """A fault the user can mend: one plain sentence with file, line, value and what to do.

    `tunelock.run.stage` prints it without a traceback and exits with 1; any other exception is our bug
    and keeps its traceback.
    """
