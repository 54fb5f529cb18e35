"""What the host's Python or its disk cannot do, as one sentence with what to do."""

import errno

from tunelock.remote.hosts import Host
from tunelock.remote.ssh_client import find_address

_FULL = {
    errno.ENOSPC: "the disk there is full",
    errno.EDQUOT: "your quota there is used up",
    errno.EFBIG: "a file may not become so large there (`ulimit -f`)",
}
_CLOSED = {
    errno.EACCES: "you may not write there",
    errno.EPERM: "you may not write there",
    errno.EROFS: "that disk is read-only",
}
_MOST = 6  # Pythons that are named
_SICK = (errno.EIO, errno.ESTALE)


def name_host(host: Host, sentence: str) -> str:
    """The sentence behind the host's name and address."""
    where = f" ({find_address(host)})" if find_address(host) not in ("", host.name) else ""
    return f"{host.name}{where}: {sentence}"


def explain_python(host: Host, version: str, pythons: list[str]) -> str:
    """That `python` of a host is missing (no version) or too old, and which others there are."""
    fault = f"is Python {version} there, and 3.11 is needed" if version else "is not there"
    found = f"there are {', '.join(pythons[:_MOST])}" if pythons else "no other Python 3 was found"
    todo = f"Set `python` of {host.name} in remote.yaml to the path of a CPython 3.11, or install one"
    return name_host(host, f"`{host.python}` {fault}; {found}. {todo} (`uv python install 3.11`).")


def explain_silence(host: Host, seconds: int) -> str:
    """That a login hangs."""
    return name_host(
        host, f"it takes the login, but `{host.python}` there says nothing for {seconds} s. The machine may hang, or "
        "its home or a login script may; run the same command again later.",
    )  # fmt: skip


def explain_disk(host: Host, number: int, error: str, path: str) -> str:
    """The sentence for an error of the host's file system: its errno, the words for it, the path that it is about."""
    another = f"set another `folder` of {host.name} in remote.yaml"
    if number in _FULL:
        return name_host(host, f"{_FULL[number]} ({path}), and nothing half was kept; free some, or {another}.")
    if number in _CLOSED:
        return name_host(host, f"{_CLOSED[number]} ({path}: {error}); {another}.")
    if number in _SICK:
        return name_host(host, f"the file system there is out of order ({path}: {error}); try later, or {another}.")
    return name_host(host, f"{path} there: {error}; if that lies below its `folder`, {another}.")
