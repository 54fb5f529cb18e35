"""What the values of remote.yaml may look like: durations, sizes, folders, addresses, names of variables."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
_SECONDS = (86400, 3600, 60, 1)
_ADDRESS = re.compile(r"(?:[\w.][\w.+-]*@)?(?:[\w.][\w.-]*|\[?[0-9a-fA-F:]+(?:%\w+)?\]?)")
_SSH_URL = re.compile(r"ssh://(?:[\w.][\w.+-]*@)?(?:[\w.][\w.-]*|\[[0-9a-fA-F:]+\])(?::\d{1,5})?/?")
_BUCKET = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](?:/[^\s?#]*)?")
_OURS: dict[str, str | None] = {  # options of sbatch that keys of remote.yaml set, or the job needs as they are
    "account": "account",
    "cpus-per-task": "cpus",
    "gres": "gres",
    "mem": "memory",
    "partition": "partition",
    "signal": "signal_before",
    "time": "time_limit",
    **dict.fromkeys(("array", "chdir", "error", "job-name", "no-requeue", "open-mode", "output", "requeue", "wrap")),
}


def _parse_duration(value: Any) -> int:
    """Seconds of `24h`, `90m`, `120s`, `2d` or several of them in that order."""
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    seconds = sum(int(part) * unit for part, unit in zip(found.groups(default=0), _SECONDS)) if found else 0
    if seconds <= 0:
        raise ValueError("is no duration; write a number with its unit, such as 24h, 90m or 120s")
    return seconds


def _check_amount(value: str) -> str:
    """Megabytes, gigabytes or terabytes, as Slurm and SkyPilot read them."""
    if not re.fullmatch(r"[1-9][0-9]*[MGT]", value):
        raise ValueError("is no size; write a whole number with its unit, such as 64G")
    return value


def _check_folder(value: str) -> str:
    """A folder on the host: absolute, or below the home there."""
    if not value.startswith(("/", "~/")) or not value.strip("~/") or re.search(r"[\x00-\x1f]", value):
        raise ValueError("is no folder of its own on the host; begin with / or ~/, such as ~/.tunelock/NAME")
    return value.rstrip("/")


def _check_python_name(value: str) -> str:
    """A command that the shell there finds, or an absolute path to it."""
    if value.startswith("~") or ("/" in value and not value.startswith("/")):
        raise ValueError("is no Python that is found from every folder; write its name or its path from / on")
    return value


def _check_address(value: str) -> str:
    """What ssh takes as its destination; never an option, never with a password in it."""
    if not (_ADDRESS.fullmatch(value) or _SSH_URL.fullmatch(value)):
        raise ValueError(
            "is no address for ssh; write what you type after `ssh`, such as me@gpu-box, a Host of ~/.ssh/config, or "
            "ssh://me@gpu-box:2222"
        )
    return value


def _check_variable(value: str) -> str:
    """The name of an environment variable, without a value."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value):
        raise ValueError("is to be the name of an environment variable alone; its value comes from your shell")
    return value


def _check_storage(value: str) -> str:
    if _BUCKET.fullmatch(value) or (value.startswith("/") and value.strip("/")):
        return value.rstrip("/")
    raise ValueError(
        "is no storage; write s3://BUCKET/PATH, a folder that both machines see such as /mnt/shared, or null"
    )


def _check_sbatch_option(value: str) -> str:
    """A long option of sbatch that no key of remote.yaml sets."""
    option = re.match(r"--([a-z-]+)(?:=|$)", value)
    if not option:
        raise ValueError("is no option of sbatch in its long form, such as --qos=long")
    key = _OURS.get(option[1], "")
    if key != "":
        raise ValueError(f"is set by the key `{key}`; write it there" if key else "is set by tunelock; remove it")
    return value


def _number_gpus(value: Any) -> Any:
    """`auto`, or the numbers of the GPUs: a count N becomes 0 to N-1."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return tuple(range(value))
    whole = isinstance(value, list) and all(type(number) is int and number >= 0 for number in value)
    if value != "auto" and (not whole or len(set(value)) < len(value)):
        raise ValueError("is to be auto, a number of GPUs (0 for none), or a list of their numbers such as [0, 2]")
    return tuple(value) if isinstance(value, list) else value


Text = Annotated[str, Field(min_length=1, pattern=r"^[^\x00-\x1f]+$")]
Lines = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=1)]
Duration = Annotated[int, BeforeValidator(_parse_duration)]  # seconds
Size = Annotated[Text, AfterValidator(_check_amount)]
Folder = Annotated[Text, AfterValidator(_check_folder)]
Python = Annotated[Text, AfterValidator(_check_python_name)]
Address = Annotated[Text, AfterValidator(_check_address)]
Storage = Annotated[Text, AfterValidator(_check_storage)]
Gpus = Annotated[Literal["auto"] | tuple[int, ...], BeforeValidator(_number_gpus)]
Variables = Annotated[tuple[Annotated[str, AfterValidator(_check_variable)], ...], Field(strict=False)]
SbatchOptions = Annotated[tuple[Annotated[Text, AfterValidator(_check_sbatch_option)], ...], Field(strict=False)]
SshOptions = Annotated[tuple[Text, ...], Field(strict=False)]
Globs = Annotated[tuple[Text, ...], Field(strict=False)]
