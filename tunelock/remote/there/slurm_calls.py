"""Slurm's commands, called so that they speak plainly, and missing ones told."""

import os
import re
import shutil
import subprocess

from tunelock.remote.there.refusal import Refused

_SECONDS = 60  # until a command of Slurm that does not answer counts as broken


def run_slurm(*command: str, given: str | None = None, environment: dict[str, str] | None = None) -> str:
    """The output of a command of Slurm.

    Raises:
        Refused: it is not there, or says no; the sentence is the last line that it said.
    """
    done = call_slurm(*command, given=given, environment=environment)
    if done.returncode:
        raise Refused(f"`{command[0]}` failed there: {find_last_line(done)}")
    return done.stdout


def call_slurm(
    *command: str, given: str | None = None, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command of Slurm, whatever comes of it. Raises `Refused` where there is none or it does not answer."""
    if not shutil.which(command[0]):
        raise Refused(
            f"there is no `{command[0]}` on the PATH that ssh finds there; take the login node of the cluster as "
            "`address` in remote.yaml, or put Slurm's folder on the PATH in ~/.bashrc there."
        )
    env = os.environ | {"LC_ALL": "C", "SLURM_TIME_FORMAT": "standard"} | (environment or {})
    try:
        return subprocess.run(
            command, input=given or "", capture_output=True, text=True, errors="replace", env=env, timeout=_SECONDS,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise Refused(f"`{command[0]}` did not answer within {_SECONDS} s there; try again later.") from None


def find_last_line(done: subprocess.CompletedProcess[str]) -> str:
    """The last line that a command said, without its own name."""
    lines = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
    return re.sub(r"^\w+: (?:error: )?", "", lines[-1]) if lines else f"exit code {done.returncode} and no word"
