"""Engine `sky`: SkyPilot rents the machine and ends it; everything else goes over ssh, as to any machine.

SkyPilot gets one thin task. Its `setup` brings Python and git, its `run` calls our job script to hold the machine while
jobs are alive. The jobs themselves are started over ssh, so that no variable of theirs passes SkyPilot, which would
write it into a file there. SkyPilot makes a key of its own for the machine; none of yours goes there.
"""

import json
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tunelock.remote.host_models import Host, SkyHost
from tunelock.run.errors import Stop

_GIGABYTES = {"G": 1, "T": 1024}
_TASK = """\
# Made by tunelock from the host `{name}` of remote.yaml.
name: {cluster}
resources:
{resources}
  autostop:
    idle_minutes: {idle}
    down: {down}
    wait_for: jobs_and_ssh
setup: |
  export PATH="$HOME/.local/bin:$PATH"
  root=$(command -v sudo || true)
  command -v git > /dev/null || {{ $root apt-get update -q && $root apt-get install -yq git; }}
  command -v {python} > /dev/null || {{
    uv python install 3.11 && $root ln -sf "$(uv python find 3.11)" /usr/local/bin/python3.11
  }}
run: |
  code=$(ls -t {folder}/code/*.zip 2> /dev/null | head -n 1)
  [ -z "$code" ] || exec {python} "$code" hold {folder} {keep}
"""


def write_task(host: SkyHost) -> str:
    """The task of SkyPilot for a host, as YAML."""
    known = {
        "accelerators": host.accelerators,
        "infra": _name_infra(host),
        "use_spot": host.use_spot,
        "disk_size": _count_gigabytes(host.disk_size),
    }
    return _TASK.format(
        name=host.name, cluster=host.address, python=shlex.quote(host.python), folder=_quote_folder(host.folder),
        resources="\n".join(f"  {key}: {json.dumps(value)}" for key, value in known.items() if value is not None),
        idle=_count_minutes(host.idle), down=str(host.when_idle == "down").lower(), keep=host.keep_failed,
    )  # fmt: skip


def build_launch(host: SkyHost, task: Path) -> list[str]:
    """The command that rents the machine, starts a stopped one, or finds it running."""
    return ["sky", "launch", "--yes", "--detach-run", "--cluster", host.address, str(task)]


def build_hold(host: SkyHost, task: Path) -> list[str]:
    """The command that holds the machine while jobs are alive; SkyPilot's idle time starts when it ends."""
    return ["sky", "exec", "--detach-run", host.address, str(task)]


def build_release(host: SkyHost) -> list[str]:
    """The command that no longer holds the machine, such as after `cancel`."""
    return ["sky", "cancel", "--yes", "--all", host.address]


def build_down(host: SkyHost) -> list[str]:
    """The command that ends the machine and its disk: nothing of it is paid any longer."""
    return ["sky", "down", "--yes", host.address]


@contextmanager
def keep_rented(host: Host) -> Iterator[None]:
    """Have a host of SkyPilot up for a block that submits jobs, and held from then on while they are alive.

    The first time takes minutes. Of another engine nothing is done.

    Raises:
        Stop: SkyPilot is not installed, could not rent the machine, or could not start a job there.
    """
    if not isinstance(host, SkyHost):
        yield
        return
    _run_sky(host, build_launch, "`sky check` says which clouds you may use.")
    yield
    minutes = _count_minutes(host.idle)
    _run_sky(host, build_hold, f"The jobs run, but the machine ends after {minutes} min as if idle; `cancel` them.")


def _run_sky(host: SkyHost, build: Callable[[SkyHost, Path], list[str]], advice: str) -> None:
    if not shutil.which("sky"):
        raise Stop(
            "`sky` is not installed here; `pipx install 'skypilot[aws]'` or your cloud's name, then `sky check`."
        )
    with tempfile.TemporaryDirectory() as folder:
        task = Path(folder) / "task.yaml"
        task.write_text(write_task(host), encoding="utf-8")
        command = build(host, task)
        if subprocess.run(command, check=False).returncode:
            raise Stop(f"`{shlex.join(command[:2])}` failed for {host.name}; SkyPilot says why above. {advice}")


def _name_infra(host: SkyHost) -> str | None:
    """SkyPilot's cloud/region, with a star for any cloud."""
    if host.region:
        return f"{host.cloud or '*'}/{host.region}"
    return host.cloud


def _count_gigabytes(size: str) -> int:
    return int(size[:-1]) * _GIGABYTES[size[-1]]


def _count_minutes(seconds: int) -> int:
    return -(-seconds // 60)


def _quote_folder(folder: str) -> str:
    """A folder for the shell there, where `~/` is the home."""
    return f'"$HOME"/{shlex.quote(folder[2:])}' if folder.startswith("~/") else shlex.quote(folder)
