"""Commit against commit: the comment and the gate."""
