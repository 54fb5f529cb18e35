"""`python -m tunelock`, which the launcher `tunelock` runs in the repository that you stand in."""

from tunelock.commands.application import application

if __name__ == "__main__":
    application(prog_name="tunelock")
