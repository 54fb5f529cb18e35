"""remote.yaml: the machines that runs may go to. One model an engine; a sentence below each key says what it is."""

import re
import sys
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tunelock.remote.host_fields import (
    Address,
    Count,
    Duration,
    Folder,
    Globs,
    Gpus,
    Lines,
    Python,
    SbatchOptions,
    Size,
    SshOptions,
    Storage,
    Text,
    Variables,
)

_HOUR = 3600  # seconds


class _Frozen(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, use_attribute_docstrings=True)


class Host(_Frozen):
    """A machine by its name in remote.yaml.

    Durations are seconds here; `~/` in paths is the home on that machine.
    """

    name: Annotated[str, Field(exclude=True)]
    engine: str
    """How jobs are started: local, ssh, slurm or sky."""
    folder: Folder = Field(default_factory=lambda: f"~/.tunelock/{Path.cwd().name}")
    """Where jobs, environments and the cache lie on the host; on a cluster every node must see it and it needs room."""
    python: Python = "python3.11"
    """The CPython 3.11 of the host, by name or path."""
    time_limit: Duration = 24 * _HOUR
    """After this long a job writes a checkpoint and stops, by itself."""
    signal_before: Duration = 120
    """How long before the time limit the job is told to write its checkpoint."""
    storage: Storage | None = None
    """Where data and results pass: null for your ssh, s3://BUCKET/PATH, or a folder that both machines see."""
    venv: Folder | None = None
    """A virtual environment on the host to use as it is; null makes one from the lock file, once for each lock."""
    setup: Lines | None = None
    """Shell lines run before each job, such as `module load cuda`."""
    environment: Variables = ()
    """Names of variables that a job gets from your shell, such as HF_TOKEN; their values are written nowhere."""

    @model_validator(mode="after")
    def _leave_time_to_run(self) -> "Host":
        if self.signal_before >= self.time_limit:
            raise ValueError("signal_before is not below time_limit, so a job would stop before it starts")
        return self


class LocalHost(Host):
    """This machine, by the same way as a remote one."""

    engine: Literal["local"]
    python: Python = sys.executable
    """The CPython 3.11 to make environments with, by name or path; by default the one that runs this."""
    gpus: Gpus = "auto"
    """GPUs that jobs may take, one each: auto for all, 0 for none, N for the first N, or a list such as [0, 2]."""


class SshHost(Host):
    """A machine that you reach by ssh, without a queue of its own."""

    engine: Literal["ssh"]
    address: Address
    """What you type after `ssh`: me@gpu-box, a Host of ~/.ssh/config, or ssh://me@gpu-box:2222."""
    ssh: SshOptions = ()
    """More options of ssh, such as ["-J", "gateway"]; ~/.ssh/config is the better place for them."""
    gpus: Gpus = "auto"
    """GPUs that jobs may take, one each: auto for all, 0 for none, N for the first N, or a list such as [0, 2]."""


class SlurmHost(Host):
    """A cluster whose login node you reach by ssh."""

    engine: Literal["slurm"]
    address: Address
    """The login node, as you type it after `ssh`."""
    ssh: SshOptions = ()
    """More options of ssh, such as ["-J", "gateway"]; ~/.ssh/config is the better place for them."""
    partition: Text | None = None
    """The partition; null for the cluster's default."""
    account: Text | None = None
    """The account that is charged; null for your default one."""
    gres: Text | None = "gpu:1"
    """What a job asks for beside CPUs and memory, such as gpu:a100:1; null for nothing."""
    cpus: Count = 4
    """CPU cores of a job."""
    memory: Size | None = "32G"
    """Memory of a job, such as 64G; null for the cluster's default, which may be a whole node."""
    sbatch: SbatchOptions = ()
    """More options of sbatch in their long form, such as --qos=long."""


class SkyHost(Host):
    """A rented machine that SkyPilot starts and ends; the clouds are those that `sky check` finds."""

    engine: Literal["sky"]
    accelerators: Text | None = "L4:1"
    """The GPU and how many, such as A100:1; null for none."""
    cloud: Text | None = None
    """The cloud, such as aws; null for the cheapest one you have."""
    region: Text | None = None
    """The region; null for the cheapest one."""
    use_spot: bool = False
    """Whether to take a cheaper machine that its cloud may take away, with the jobs and checkpoints on it."""
    disk_size: Size = "100G"
    """The disk of the machine."""
    idle: Duration = 600
    """The machine is stopped or ended after this long without a job or an ssh session."""
    when_idle: Literal["stop", "down"] = "stop"
    """`stop` keeps the disk with what you have not pulled, and `sky start` wakes it; `down` ends everything."""
    keep_failed: Duration = 1800
    """A machine whose job failed is kept this long, so that you can look at it."""
    ssh: SshOptions = ()
    """More options of ssh."""

    @property
    def address(self) -> str:
        """The cluster's name, which SkyPilot makes a Host of ssh."""
        words = re.findall(r"[a-z0-9]+", f"{Path.cwd().name} {self.name}".lower())
        return "-".join(["tunelock", *(word for word in words if word != "tunelock")])

    @model_validator(mode="after")
    def _end_spot_machines(self) -> "SkyHost":
        if self.use_spot and self.when_idle == "stop":
            raise ValueError("use_spot needs `when_idle: down`, for a spot machine cannot be stopped")
        return self


class Hosts(_Frozen):
    """All of remote.yaml."""

    hosts: dict[str, Host]
    """The machines by name; what may stand below a name depends on its `engine`."""
    max_file_mb: Count = 10
    """A changed or untracked file above this many megabytes is not sent with the code but refused by name."""
    allow: Globs = ()
    """Files that go along although they look like secrets, as globs such as tests/keys/*.pem."""


ENGINES: dict[str, type[Host]] = {"local": LocalHost, "ssh": SshHost, "slurm": SlurmHost, "sky": SkyHost}
