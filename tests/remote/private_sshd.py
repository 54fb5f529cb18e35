"""An sshd of our own on a loopback port: its key, its users' keys, and the config by which `ssh -F` finds it."""

import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

SERVER = """\
ListenAddress 127.0.0.1
Port {port}
PidFile none
HostKey "{folder}/host_key"
AuthorizedKeysFile "{folder}/key.pub" "{folder}/more_keys"
PubkeyAuthentication yes
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
PrintMotd no
MaxStartups 100
Subsystem sftp internal-sftp
SetEnv {environment}
"""
# `box` and `cluster` are the same machine; the others are what goes wrong.
CLIENT = """\
# Used by: ssh -F THIS_FILE box
Host closed
    Port {closed}
Host unknown
    UserKnownHostsFile "{folder}/no_known_hosts"
Host changed
    UserKnownHostsFile "{folder}/other_known_hosts"
Host locked
    IdentityFile "{folder}/other_key"
Host * !locked
    IdentityFile "{folder}/key"
Host *
    HostName 127.0.0.1
    Port {port}
    User {user}
    IdentityAgent none
    IdentitiesOnly yes
    PreferredAuthentications publickey
    UserKnownHostsFile "{folder}/known_hosts"
    GlobalKnownHostsFile /dev/null
    HostKeyAlias tunelock-tests
    StrictHostKeyChecking yes
    UpdateHostKeys no
    LogLevel ERROR
"""
KNOWN_HOSTS = {"known_hosts": "host_key", "other_known_hosts": "other_key"}


def write_keys(folder: Path) -> None:
    """Make the host's key, the user's key and another one that nothing accepts, and say which the host has."""
    for name in ("host_key", "key", "other_key"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "tunelock tests", "-f", folder / name], check=True
        )
    for file, key in KNOWN_HOSTS.items():
        public = (folder / f"{key}.pub").read_text().split()
        (folder / file).write_text(f"tunelock-tests {public[0]} {public[1]}\n")


def make_environment(folder: Path) -> dict[str, str]:
    """What a session finds: a home of its own, so that no test writes to the real one, and our Slurm."""
    python = Path(sys.executable).resolve().parent
    path = f"{python}:/usr/local/bin:/usr/bin:/bin"
    return {"HOME": f"{folder}/home", "PATH": path, "SLURM_CONF": f"{folder}/slurm.conf"}


def write_sshd(folder: Path, port: int, closed: int) -> None:
    """Write sshd's config, the keys, and `ssh_config` for those who connect."""
    (folder / "home").mkdir(exist_ok=True)
    if not (folder / "key").exists():
        write_keys(folder)
    pairs = [f'"{name}={value}"' for name, value in make_environment(folder).items()]
    config = folder / "sshd_config"
    config.write_text(SERVER.format(port=port, folder=folder, environment=" ".join(pairs)))
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # root's sshd asks for it; Debian's service makes it
    shown = subprocess.run([find_sshd(), "-T", "-f", config], capture_output=True, text=True, check=False)
    assert shown.returncode == 0, f"sshd does not take its config:\n{shown.stderr}"
    if "persourcepenalties" in shown.stdout:  # from OpenSSH 9.8 on: a test with a wrong key would lock the next one out
        config.write_text(config.read_text() + "PerSourcePenalties no\n")
    user = pwd.getpwuid(os.getuid()).pw_name
    (folder / "ssh_config").write_text(CLIENT.format(port=port, closed=closed, folder=folder, user=user))


def find_sshd() -> str:
    """sshd's path; it starts itself again for each connection and so needs the whole path."""
    return find_program("sshd")


def find_program(name: str) -> str:
    """The path of a daemon; Debian keeps those where a user's PATH does not look."""
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/local/sbin:/usr/sbin:/sbin")
    assert found, f"no {name} here; run `make remote-tools` (Debian: apt-get install slurm-wlm munge openssh-server)"
    return found


def sshd_commands(folder: Path) -> dict[str, list[str]]:
    """The daemon and how it is started."""
    return {"sshd": [find_sshd(), "-D", "-f", f"{folder}/sshd_config", "-E", f"{folder}/sshd.log"]}
