"""Downloads over HTTP from servers that may break off, redirect anywhere, or answer with a web page."""

import ipaddress
import re
import socket
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from tunelock.run.bars import Bar
from tunelock.run.errors import Stop

MAX_BYTES = 64 * 2**30  # as archives.MAX_MEMBER_BYTES
MAX_REDIRECTS = 5
TIMEOUTS = (10, 60)  # seconds until a server takes the connection, and between two blocks
PORTS = {"http": 80, "https": 443}


def download_url(url: str, folder: Path) -> Path:
    """Write the body that `url` answers with to `folder`/content, with a progress bar."""
    from urllib3.exceptions import HTTPError

    name, broken = redact_url(url), False
    with _request_page(url) as response, open(folder / "content", "wb") as out:
        length = response.headers.get("Content-Length", "")
        total = int(length) if length.isdecimal() else None
        with Bar(total=total, unit="B", desc=f"fetch {name.rsplit('/', 1)[-1]}") as bar:
            try:
                for block in response.raw.stream(2**20, decode_content=False):  # the bytes that sha256sum would see
                    if max(total or 0, out.tell() + len(block)) > MAX_BYTES:
                        raise Stop(f"{name} is larger than {MAX_BYTES} bytes; give a smaller file.")
                    bar.update(out.write(block))
            except HTTPError:
                broken = True
        if broken or out.tell() < (total or 0):
            raise Stop(f"{name} broke off after {out.tell()} of {total or 'unknown'} bytes; run it again.")
    return folder / "content"


def _request_page(url: str):
    """The server's answer, redirects followed by hand; `Stop` if it is none with status 200."""
    import requests

    here = url
    try:
        _find_port(url)
        for _ in range(MAX_REDIRECTS + 1):
            headers = {"Accept-Encoding": "identity"}
            response = requests.get(here, headers=headers, stream=True, allow_redirects=False, timeout=TIMEOUTS)
            if not response.is_redirect:
                break
            there = urljoin(here, response.headers["Location"])
            response.close()
            refuse_redirect(url, here, there)
            here = there
    except (requests.RequestException, ValueError) as error:  # their text quotes the address with its secrets
        fault = type(error).__name__
        raise Stop(f"{redact_url(url)} cannot be reached ({fault}); check the address and the network.") from None
    if response.is_redirect:
        raise Stop(f"{redact_url(url)} redirects more than {MAX_REDIRECTS} times; check the address.")
    if response.status_code != 200:
        response.close()
        raise Stop(f"{redact_url(url)}: the server answered with status {response.status_code}; check the address.")
    response.raw.enforce_content_length = False  # it would lose the count of what came
    return response


def refuse_redirect(named: str, here: str, there: str) -> None:
    """Stop where a server sends us from the web to a file, to plain text, or into a network that only we can see."""
    scheme, why = urlsplit(there).scheme, ""
    if scheme not in PORTS:
        why = "which is not on the web"
    elif scheme == "http" and urlsplit(here).scheme == "https":
        why = "which is not encrypted"
    elif _find_port(there) != _find_port(named) and not _is_public_host(*_find_port(there)):
        why = "which is on a private network"
    if why:
        raise Stop(
            f"{redact_url(named)} redirects to {redact_url(there)}, {why}; give that address itself if you trust it."
        )


def _find_port(url: str) -> tuple[str, int]:
    """Host and port of a web address; `ValueError` if it has none."""
    parts = urlsplit(url)
    if not parts.hostname or parts.scheme not in PORTS:
        raise ValueError(url)
    return parts.hostname, parts.port or PORTS[parts.scheme]


def _is_public_host(host: str, port: int) -> bool:
    """Whether all addresses of a host are on the open internet. One that has none is for the request to report."""
    try:
        found = {str(info[4][0]).split("%")[0] for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError):
        return True
    numbers = [ipaddress.ip_address(address) for address in found]
    return all((getattr(number, "ipv4_mapped", None) or number).is_global for number in numbers)


def redact_url(url: str) -> str:
    """A web address without the passwords and tokens that it may carry."""
    head, *secret = re.split(r"[?#]", url, maxsplit=1)
    return re.sub(r"//[^/]*@", "//", head) + "?…" * bool(secret)
