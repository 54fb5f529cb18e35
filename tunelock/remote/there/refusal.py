"""The one error of the host's side that is meant for the person at home."""


class Refused(Exception):
    """A plain sentence: what is wrong there, and what to do."""
