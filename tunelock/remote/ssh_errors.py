"""What ssh, git or the Python there say when they cannot do their work, as one sentence with what to do."""

import re
from collections.abc import Callable
from typing import NamedTuple

from tunelock.remote.host_errors import explain_python, name_host
from tunelock.remote.hosts import Host
from tunelock.remote.ssh_client import CONNECT_TIMEOUT, find_address, write_by_hand

AGAIN = "run the same command again, it goes on from where it was"
_FAILED = 255  # the exit code of ssh itself
_GONE = re.compile(r"does not appear to be a git repository|does not exist|not a git repository")
_BROKEN = re.compile(r"closed by remote host|Broken pipe|unexpected disconnect|early EOF|hung up|Connection reset")
_FULL = re.compile(r"No space left|quota exceeded|unable to write|File too large", re.IGNORECASE)
_KILLED = (-9, 137)
_NO_PROGRAM = (126, 127)  # of a shell that cannot start one
_NO_FAULT = ("**", "Warning:", "@")  # how lines begin that do not say why
_NOT_FOUND = re.compile(r"not found|no such file|unknown command|is not executable", re.IGNORECASE)


class Ending(NamedTuple):
    """How a call ended: exit code, standard error, what the shell there printed, whether our code answered before."""

    code: int
    said: str
    printed: str = ""
    started: bool = False


# What ssh says, and what that means. {0}, {1} are the groups of the pattern.
_RULES = [
    (r"REMOTE HOST IDENTIFICATION HAS CHANGED",
     "its host key is not the one that is known here, so nothing was sent: it was installed anew, or somebody stands "
     "between you and it. Ask who runs it whether its key is now {fingerprint}; only if so, forget the old one by "
     "`{forget}` and log in once by `{by_hand}`."),
    (r"Host key verification failed",
     "its host key is not known here, so nothing was sent. Log in once by `{by_hand}`, compare the fingerprint "
     "that ssh shows with what those who run it say, and accept it."),
    (r"Could not resolve hostname ([^:\s]+): Temporary failure",
     "the name '{0}' cannot be looked up; is this machine on a network, and a VPN on if it needs one?"),
    (r"Could not resolve hostname ([^:\s]+)",
     "no machine is called '{0}'; mend `address` of {name} in remote.yaml or its Host in ~/.ssh/config, or switch on "
     "the VPN that knows it."),
    (r"connect to host (\S+) port (\d+): Connection refused",
     "{0} refuses connections on port {1}: no ssh server listens there. Is the machine up, and the port in `address` "
     "(ssh://USER@MACHINE:PORT) right?"),
    (r"timed out during banner exchange",
     "it takes connections but does not answer within {seconds} s; it may be overloaded or hang. Try `{by_hand}`."),
    (r"(?:Connection|Operation) timed out",
     "it does not answer within {seconds} s; is it up, and is it reached from here without a VPN or a jump host? "
     "Try `{by_hand}`."),
    (r"No route to host|Network is unreachable",
     "it cannot be reached from the network that this machine is on; is a VPN or a jump host needed? Try `{by_hand}`."),
    (r"Too many authentication failures",
     "your ssh offered so many keys that the host hung up; name the right one by `IdentityFile` with "
     "`IdentitiesOnly yes` for this Host in ~/.ssh/config."),
    (r"(\S+): Permission denied \(([^)]*)\)",
     "{0} is not let in (by {1}): the host takes none of your keys for this user, or has no such user. `{by_hand}` "
     "has to work without a password first: `ssh-copy-id` brings one there, `ssh-add` unlocks one with a passphrase."),
    (r"([^\n]*(?:Bad owner or permissions|Bad configuration option|Can't open user config|bad config)[^\n]*)",
     "ssh does not take its configuration ({0}); mend ~/.ssh/config, or `ssh` of {name} in remote.yaml."),
    (r"no matching ([^\n]*?) found",
     "your ssh and the host have no {0} in common, so one of them is too old; ask who runs the host."),
    (r"stdio forwarding failed|Connection closed by UNKNOWN port",
     "the jump host on the way lets the connection through to nothing; try `{by_hand}`."),
    (r"kex_exchange_identification|Connection (?:closed|reset) by \S+ port",
     "the host hung up before the login: it has too many connections, or bars your address for a while. Wait a minute, "
     "then try `{by_hand}`."),
    (r"Could not chdir to home directory (\S+?):",
     "your home there, {0}, is missing; ask who runs the host, or set `folder` of {name} in remote.yaml to a folder "
     "that is there."),
]  # fmt: skip


def explain_ssh(host: Host, ending: Ending, list_pythons: Callable[[], list[str]], again: str = AGAIN) -> str:
    """The sentence for a call that ended without a whole answer.

    `list_pythons` looks for the Pythons of the host; `again` is what to do after a break.
    """
    if ending.started and ending.code == _FAILED:
        return name_host(host, f"the connection broke off; {again}.")
    if not ending.started and ending.code != _FAILED and _lacks_python(host, ending):
        return explain_python(host, "", list_pythons())
    if not ending.started and (known := _recognise(host, ending.said)):
        return name_host(host, known)
    return name_host(host, _quote_end(host, ending, again))


def _quote_end(host: Host, ending: Ending, again: str) -> str:
    """What no rule knows, in the words of ssh or of the host."""
    if ending.code == _FAILED and find_address(host):
        return f"ssh failed ({_pick_line(ending.said)}); try `{write_by_hand(host)}`."
    who = "our code" if ending.started else f"`{host.python}`"
    if ending.code in _KILLED:
        return f"{who} was killed there; is its memory full? {again[0].upper()}{again[1:]}."
    heard = _pick_line(ending.said if ending.said.strip() else ending.printed)
    return f"{who} ended there with exit code {ending.code} and no answer: {heard}."


def explain_git(host: Host, said: str, work: str) -> str:
    """The sentence for a git that could not reach the host's repository; `work` is what it was to do, as a verb."""
    known = _recognise(host, said)
    if known:
        return name_host(host, known)
    if "bad line length character" in said or "protocol error" in said:
        return name_host(
            host, f"git could not {work}, for the shell there prints text at login: `{write_by_hand(host)} true` has "
            "to print nothing. Let ~/.bashrc (or ~/.cshrc, config.fish) there print in interactive shells alone.",
        )  # fmt: skip
    if _GONE.search(said):
        return name_host(host, f"its folder {host.folder} was removed meanwhile; {AGAIN}.")
    if _BROKEN.search(said) and not _FULL.search(said):
        return name_host(host, f"the connection broke off; {AGAIN}.")
    full = f" Is the disk of {host.folder} full?" if _FULL.search(said) else ""
    return name_host(host, f"git could not {work}: {_pick_line(said)}.{full}")


def _recognise(host: Host, said: str) -> str | None:
    """The sentence of the first rule that fits."""
    if host.engine == "sky" and "Could not resolve hostname" in said:
        return "its machine is not up: `tunelock remote submit` rents it, `sky start` wakes one that is stopped."
    for pattern, sentence in _RULES:
        if found := re.search(pattern, said):
            fingerprint = re.search(r"SHA256:[\w+/=]+?(?=\.?\s)", said)
            forget = re.search(r"ssh-keygen .*-R .*", said)
            return sentence.format(
                *found.groups(), name=host.name, by_hand=write_by_hand(host), seconds=CONNECT_TIMEOUT,
                fingerprint=fingerprint[0] if fingerprint else "another one",
                forget=forget[0].strip() if forget else "ssh-keygen -R MACHINE",
            )  # fmt: skip
    return None


def _lacks_python(host: Host, ending: Ending) -> bool:
    """Whether the shell there found no program called as `python` says."""
    if ending.started:
        return False
    name = host.python.rpartition("/")[2]
    lines = f"{ending.said}\n{ending.printed}".splitlines()
    told = any(name in line and _NOT_FOUND.search(line) for line in lines)
    return told or (ending.code in _NO_PROGRAM and not told)


def _pick_line(said: str) -> str:
    """The line of an output that tells most: the first `fatal:` or `error:`, else the last that is no warning."""
    lines = [line.strip() for line in said.splitlines() if line.strip() and not line.startswith(_NO_FAULT)]
    faults = [line for line in lines if re.match(r"(?:remote: )?(?:fatal|error):", line)]
    chosen = faults[0] if faults else lines[-1] if lines else "it says nothing"
    return chosen.removeprefix("remote: ").rstrip(".")
