"""A Slurm of our own with one node, on loopback alone: its config and the three daemons."""

import os
import pwd
import secrets
import socket
from pathlib import Path

from tests.remote.private_sshd import find_program

# GPUs are counted, not there: two files that exist stand in for them (a path with a space is not taken there).
# The node claims eight CPUs and 64 GB on any machine, so that the same jobs fit.
# A job that is put back in the queue waits until its credential has run out: `cred_expire`, 5 s at least.
# https://slurm.schedmd.com/slurm.conf.html
CONFIG = """\
ClusterName=tunelock
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={daemon}
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
AuthType=auth/munge
AuthInfo="socket={folder}/munge.socket,cred_expire=5"
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation="{folder}/slurm_state"
SlurmdSpoolDir="{folder}/slurm_spool"
SlurmctldPidFile="{folder}/slurmctld.pid"
SlurmdPidFile="{folder}/slurmd.pid"
SlurmctldLogFile="{folder}/slurmctld.log"
SlurmdLogFile="{folder}/slurmd.log"
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
GresTypes=gpu
MpiDefault=none
MailProg=/bin/true
ReturnToService=2
JobRequeue=1
KillWait=5
SchedulerParameters=bf_interval=1,sched_interval=1,sched_min_interval=0,batch_sched_delay=0
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 RealMemory=64000 Gres=gpu:2
PartitionName=gpu Nodes={host} Default=YES MaxTime=1-00:00:00
PartitionName=short Nodes={host} MaxTime=1
PartitionName=closed Nodes={host} MaxTime=1-00:00:00 State=DOWN
"""
GPUS = "Name=gpu File=/dev/null\nName=gpu File=/dev/zero\n"


def write_slurm(folder: Path, controller: int, daemon: int) -> None:
    """Write slurm.conf, gres.conf and munge's key; the ports are the controller's and the node's."""
    for name in ("slurm_state", "slurm_spool"):
        (folder / name).mkdir(exist_ok=True)
    host, user = socket.gethostname().split(".")[0], pwd.getpwuid(os.getuid()).pw_name
    text = CONFIG.format(folder=folder, host=host, user=user, controller=controller, daemon=daemon)
    (folder / "slurm.conf").write_text(text)
    (folder / "gres.conf").write_text(GPUS)
    key = folder / "munge.key"
    if not key.exists():
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(128))


def slurm_commands(folder: Path) -> dict[str, list[str]]:
    """The daemons and how they are started, in this order."""
    files = {"key-file": "munge.key", "socket": "munge.socket", "pid-file": "munged.pid", "log-file": "munged.log"}
    files["seed-file"] = "munged.seed"
    munge = [f"--{option}={folder}/{file}" for option, file in files.items()]
    return {
        "munged": [find_program("munged"), "--force", "--foreground", *munge],
        "slurmctld": [find_program("slurmctld"), "-D", "-f", f"{folder}/slurm.conf"],
        "slurmd": [find_program("slurmd"), "-D", "-f", f"{folder}/slurm.conf"],
    }
