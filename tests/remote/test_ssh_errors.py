"""What a person reads when a host cannot be reached, by the real ssh and sshd: one sentence, with what to do."""

import os
import socket
import sys

import pytest

from tunelock.remote import connection, ssh_client
from tunelock.remote.connection import connect
from tunelock.remote.host_models import LocalHost, SkyHost, SshHost
from tunelock.remote.ssh_errors import Ending, explain_git, explain_ssh
from tunelock.run.errors import Stop

BOX = SshHost(name="box", engine="ssh", address="me@gpu-box")


def refusal(sshd, address="box", options=(), **entry) -> str:
    """The sentence with which a request to that host is refused."""
    entry = {"python": sys.executable, "folder": "~/tl"} | entry
    host = SshHost(name="box", engine="ssh", address=address, ssh=("-F", str(sshd.ssh_config), *options), **entry)
    with pytest.raises(Stop) as stop, connect(host, batch=True) as to_host:
        to_host.ask("prepare")
    said = str(stop.value)
    assert "\n" not in said and said.startswith("box") and said.endswith((".", "?"))
    return said


@pytest.mark.parametrize(
    ("address", "sentences"),
    [
        ("closed", ["box (closed): 127.0.0.1 refuses connections on port", "Is the machine up"]),
        ("unknown", ["its host key is not known here, so nothing was sent", "unknown`, compare the fingerprint"]),
        ("changed", ["its host key is not the one that is known here, so nothing was sent", "is now SHA256:",
                     'ssh-keygen -f "', "only if so"]),
        ("locked", ["@127.0.0.1 is not let in (by publickey)", "locked` has to work without a password"]),
        ("nosuchuser@box", ["nosuchuser@127.0.0.1 is not let in (by publickey)", "or has no such user"]),
    ],
)  # fmt: skip
def test_a_host_that_lets_nobody_in_is_explained(sshd, address, sentences):
    said = refusal(sshd, address)
    assert all(sentence in said for sentence in sentences), said


@pytest.mark.parametrize("address", ["unknown", "changed"])
def test_no_key_of_a_host_is_ever_accepted_by_us(sshd, address):
    before = {path.name: path.read_bytes() for path in sshd.folder.glob("*known_hosts")}
    said = refusal(sshd, address)
    assert {path.name: path.read_bytes() for path in sshd.folder.glob("*known_hosts")} == before
    assert "StrictHostKeyChecking" not in said and "keyscan" not in said


def test_a_name_that_nobody_knows_is_explained(sshd):
    said = refusal(sshd, options=("-o", "HostName=nowhere.invalid"))
    assert "no machine is called 'nowhere.invalid'" in said or "the name 'nowhere.invalid' cannot be looked up" in said


def test_a_machine_that_takes_connections_and_is_silent_is_given_up(sshd, monkeypatch):
    monkeypatch.setattr(ssh_client, "CONNECT_TIMEOUT", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        said = refusal(sshd, options=("-o", f"Port={silent.getsockname()[1]}"))
    assert "does not answer within" in said


def test_a_login_that_hangs_is_given_up(sshd, monkeypatch):
    monkeypatch.setattr(connection, "ANSWER", 1)
    assert "says nothing for 1 s" in refusal(sshd, options=sshd.add_login("hanging", "exec sleep 20"))


def test_what_ssh_does_not_take_is_named(sshd):
    assert "does not take its configuration (command-line: line 0: Bad" in refusal(sshd, options=("-o", "Bogus=1"))
    assert "have no host key type in common" in refusal(sshd, options=("-o", "HostKeyAlgorithms=ssh-rsa"))


def test_without_a_python_there_those_that_are_there_are_named(sshd):
    folder = sshd.home / ".local/bin"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "python3.11").touch()
    said = refusal(sshd, python="python3.99")
    assert "`python3.99` is not there; there are " in said
    assert "/home/.local/bin/python3.11" in said
    assert "Set `python` of box in remote.yaml" in said


def test_an_old_python_is_told_by_its_version(sshd, tmp_path):
    old = tmp_path / "python"
    old.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "import sys; sys.version_info = (3, 6, 15); $2"\n')
    old.chmod(0o755)
    assert f"`{old}` is Python 3.6.15 there, and 3.11 is needed; there are " in refusal(sshd, python=str(old))


def test_a_login_that_runs_nothing_is_quoted(sshd):
    shell = "echo 'This account is closed since May.'; exit 1"
    assert "and no answer: This account is closed since May." in refusal(sshd, options=sshd.add_login("closed", shell))


@pytest.mark.parametrize("folder", ["/proc/tunelock", "/etc/passwd/tunelock"])
def test_a_folder_that_cannot_be_made_is_named(sshd, folder):
    said = refusal(sshd, folder=folder)
    assert folder in said
    assert "set another `folder` of box" in said


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_folder_of_somebody_else_is_named(sshd):
    assert "you may not write there (/usr/tunelock" in refusal(sshd, folder="/usr/tunelock")


def test_a_disk_that_is_full_is_named_and_nothing_half_is_kept(sshd):
    options = sshd.add_login("full", 'ulimit -f 4; trap "" XFSZ; exec sh -c "$SSH_ORIGINAL_COMMAND"')  # 2 kB a file
    assert "a file may not become so large there (`ulimit -f`)" in refusal(sshd, options=options, folder="~/full")
    assert list((sshd.home / "full/code").iterdir()) == []


def test_a_shell_that_prints_at_login_is_passed_over(sshd):
    options = sshd.add_login("loud", "echo Welcome; printf 'no end> '; exec sh -c \"$SSH_ORIGINAL_COMMAND\"")
    host = SshHost(name="box", engine="ssh", address="box", ssh=options, python=sys.executable, folder="~/loud")
    with connect(host, batch=True) as to_host:
        root = to_host.ask("prepare")["root"]
        with pytest.raises(Stop, match="git could not look, for the shell there prints text at login"):
            to_host.call_git("look", "ls-remote", to_host.name_repository(root))


def test_a_git_that_is_missing_there_is_told(sshd):
    options = sshd.add_login("bare", 'PATH=/nowhere; exec /bin/sh -c "$SSH_ORIGINAL_COMMAND"')
    assert "git is not found there" in refusal(sshd, options=options)


def test_without_ssh_here_its_package_is_named(sshd, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Stop, match="`ssh` is not installed here; install it"), connect(BOX):
        pass


def test_a_python_that_is_missing_on_this_machine_is_told(tmp_path):
    host = LocalHost(name="here", engine="local", python="python3.99", folder=str(tmp_path))
    with pytest.raises(Stop, match=r"^here: `python3.99` is not there"), connect(host) as to_host:
        to_host.ask("prepare")


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ("ssh: Could not resolve hostname gpu-box: Temporary failure in name resolution", "cannot be looked up"),
        ("ssh: connect to host 10.0.0.9 port 22: Connection timed out", "does not answer within 20 s"),
        ("ssh: connect to host 10.0.0.9 port 22: No route to host", "cannot be reached from the network"),
        ("Received disconnect from 10.0.0.9: Too many authentication failures", "IdentitiesOnly yes"),
        ("Bad owner or permissions on /home/a/.ssh/config", "(Bad owner or permissions on /home/a/.ssh/config)"),
        ("channel 0: x\nstdio forwarding failed\nConnection closed by UNKNOWN port 1", "the jump host"),
        ("kex_exchange_identification: Connection closed by remote host", "hung up before the login"),
        ("Warning: Permanently added 'x'\nsomething new\n** WARNING: old", "ssh failed (something new)"),
        ("", "ssh failed (it says nothing); try `ssh me@gpu-box`"),
    ],
)  # fmt: skip
def test_what_ssh_says_is_put_into_a_sentence(said, sentence):
    assert sentence in explain_ssh(BOX, Ending(255, said), list)


def test_a_rented_machine_that_is_not_up_is_no_wrong_name():
    host = SkyHost(name="cloud", engine="sky")
    said = f"ssh: Could not resolve hostname {host.address}: Name or service not known"
    assert "its machine is not up: `tunelock remote submit` rents it" in explain_ssh(host, Ending(255, said), list)
    assert not ssh_client.is_up(host) and ssh_client.is_up(BOX)


@pytest.mark.parametrize(
    ("ending", "sentence"),
    [
        (Ending(255, "client_loop: send disconnect: Broken pipe", started=True), "the connection broke off; run"),
        (Ending(255, "Timeout, server gpu-box not responding.", started=True), "the connection broke off; run"),
        (Ending(137, "", started=True), "our code was killed there; is its memory full? Run the same"),
        (Ending(1, "Traceback:\nKeyError: 'x'", started=True), "our code ended there with exit code 1 and no answer"),
        (Ending(127, "zsh:1: command not found: python3.11"), "`python3.11` is not there; no other"),
        (Ending(1, "python3.11: Command not found."), "`python3.11` is not there; no other"),
        (Ending(127, "fish: Unknown command: python3.11"), "`python3.11` is not there; no other"),
    ],
)  # fmt: skip
def test_what_the_host_does_is_put_into_a_sentence(ending, sentence):
    assert sentence in explain_ssh(BOX, ending, list)


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ("ssh: connect to host gpu-box port 22: Connection refused\nfatal: Could not read from remote repository.\n\n"
         "Please make sure you have the correct access rights\nand the repository exists.", "gpu-box refuses"),
        ("fatal: '/x/repo.git' does not appear to be a git repository\nfatal: Could not read", "was removed meanwhile"),
        ("error: unpack failed: unable to write\nremote: fatal: No space left on device", "Is the disk of"),
        ("client_loop: send disconnect: Broken pipe\nfatal: the remote end hung up unexpectedly", "broke off; run the"),
        ("error: failed to push some refs to 'x'", "git could not send the workspace: error: failed to push"),
    ],
)  # fmt: skip
def test_what_git_says_is_put_into_a_sentence(said, sentence):
    assert sentence in explain_git(BOX, said, "send the workspace")
