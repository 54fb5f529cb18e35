"""The library behind the stages, and the command `tunelock`. It knows no stage.

A folder here is a room; its `__init__.py` says what is in it.
"""
