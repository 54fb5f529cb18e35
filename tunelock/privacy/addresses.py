"""IP addresses in prose that is full of version numbers."""

import ipaddress
import re
from collections.abc import Iterator

CONTEXT = 40  # characters before a dotted number in which a word may say what it is
IPV4 = re.compile(
    r"[0-9](?<![\w.+-][0-9])(?<![^/]/[0-9])[0-9]{0,2}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}(?![\w-]|\.[0-9])"
)
IPV6 = re.compile(r"[23][0-9A-Fa-f]{3}(?<![\w:.].{4}):(?:[0-9A-Fa-f]{0,4}:){1,6}[0-9A-Fa-f]{0,4}(?![\w:])")
CUE = re.compile(  # the last one before a dotted number counts
    r"(?P<address>\b(?:ips?|ipv4|addr|address|addresses|ping|traceroute|ssh|telnet|subnet|nameserver)\b|://\Z|@\Z"
    r"|\b(?:hosts?|hostname|attackers?|gateway|machine|(?:traffic|requests?|logins?|connections?) (?:from|to))"
    r"(?: is| at|:)? \Z"
    r"|\b(?:attacked|banned|blocked|scanned|pinged) \Z"
    r"|\[IP\](?:[\s,;&]|and|or|to){1,6}\Z)"
    r"|(?P<version>\b(?:v|ver|versions?|before|through|prior|releases?|build|firmware|updates?|patch|than|until|since)\b|<)",
    re.I,
)
SAME_STRETCH = re.compile(r"(?:\[IP\]|@)?[^0-9@\[\]]*\Z")
SERVICE = re.compile(
    r":[0-9]{1,5}\b|/[0-9]{1,2}\b| port [0-9]| - \S{1,32} \["
    r"| (?:was|is|has been) (?:attacked|banned|blocked|scanned|down|offline|unreachable|reachable)\b"
)
LATER = re.compile(r"\+|,? (?:and|or) (?:earlier|prior|later|below|above|newer|older|before)\b", re.I)


def find_addresses(text: str) -> Iterator[tuple[int, int]]:
    """Public IP addresses; a dotted quad must not look like a version."""
    last = 0
    for found in IPV4.finditer(text):
        start, end = found.span()
        lead = ("[IP]" if last else "") + text[max(last, start - CONTEXT) : start]
        if _is_public_address(found[0]) and _is_no_version(found[0], lead, text[end : end + CONTEXT]):
            yield start, end
            last = end
    for found in IPV6.finditer(text) if ":" in text else ():
        if _is_public_address(found[0]):
            yield found.span()


def _is_public_address(address: str) -> bool:
    """True for an address of one host on the Internet."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return parsed.is_global and not parsed.is_multicast


def _is_no_version(quad: str, lead: str, tail: str) -> bool:
    """Whether the words around a dotted quad, or a first number that few versions reach, make it an address."""
    cues = list(CUE.finditer(SAME_STRETCH.search(lead)[0]))
    if LATER.match(tail) or quad.endswith(".0") or (cues and cues[-1]["version"]):
        return False
    return bool(cues) or bool(SERVICE.match(tail)) or int(quad.partition(".")[0]) >= 100
