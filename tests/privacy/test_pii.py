"""Personal data and secrets: what is found, what only looks like it, and masks that hold.

Tokens are put together from halves, so that no scanner takes this file for a leak.
"""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunelock.privacy.contacts import LONGEST_MASK
from tunelock.privacy.pii import KINDS, MASKS, find_pii, mask_pii

BODY = "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
PEM = "-----BEGIN RSA PRIVATE" + " KEY-----"
TOKENS = [
    "AK" + "IAQWERTYUIOP234567",
    "gh" + "p_" + BODY,
    "gl" + "pat-" + BODY[:20],
    "xo" + "xb-123456789012-abcdefGHIJKL",
    "sk_" + "live_" + BODY[:24],
    "sk-" + "ant-api03-" + BODY,
    "sk-" + "proj-" + BODY,
    "hf" + "_" + BODY[:34],
    "npm" + "_" + BODY,
    "AI" + "za" + BODY[:35],
    "eyJ" + "hbGciOiJIUzI1NiJ9." + "eyJ" + "zdWIiOiIxMjM0In0.dBjftJeZ4CVP-mB92K27uhbUJU1p1r",
    f"{PEM}\n{BODY}{BODY}\n-----END RSA PRIVATE KEY-----",
    f"{PEM}\n{BODY}{BODY}",
]


def masked(text: str) -> str:
    findings = find_pii(text, KINDS)
    check(text, findings)
    return mask_pii(text, findings)


def check(text: str, findings: list) -> None:
    """Sorted, apart, within the text, and nothing left to find once masked."""
    places = [place for finding in findings for place in finding[1:]]
    assert places == sorted(places)
    assert all(0 <= f.start < f.end <= len(text) and f.kind in KINDS for f in findings)
    assert find_pii(mask_pii(text, findings), KINDS) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a@b.co", "[EMAIL]"),
        ("<john.doe+x@acme.co.uk>.", "<[EMAIL]>."),
        ("请联系zhang@qq.com谢谢", "请联系[EMAIL]谢谢"),
        ("a@b.com:word", "[EMAIL]:word"),
        ("+14155552671", "[PHONE]"),
        ("+44 20 7946 0018.", "[PHONE]."),
        ("+1 (415) 555-2671 2024-10-12", "[PHONE] 2024-10-12"),
        ("Tel: 020 7946 0018", "Tel: [PHONE]"),
        ("call (212) 555-0123", "call [PHONE]"),
        ("212-555-0123", "[PHONE]"),
        ("1-800-555-0199", "[PHONE]"),
        ("Call 1 (800) 555-0199 now", "Call [PHONE] now"),
        ("4111111111111111", "[CARD]"),
        ("4111-1111-1111-1111", "[CARD]"),
        ("3782 822463 10005", "[CARD]"),
        ("4111 1111 1111 1111 12/27", "[CARD] 12/27"),
        ("DE89 3704 0044 0532 0130 00 IS MINE", "[IBAN] IS MINE"),
        ("GB29NWBK60161331926819", "[IBAN]"),
        ("the address 8.8.8.8", "the address [IP]"),
        ("IPs 8.8.8.8, 9.9.9.9 and 1.1.1.1", "IPs [IP], [IP] and [IP]"),
        ("http://8.8.8.8/", "http://[IP]/"),
        ("8.8.8.8:53", "[IP]:53"),
        ("from 218.92.0.31", "from [IP]"),
        ("Host 8.8.4.12 was attacked", "Host [IP] was attacked"),
        ("The attacker at 8.8.4.12 tried it", "The attacker at [IP] tried it"),
        ("traffic from 8.8.4.12", "traffic from [IP]"),
        ("we banned 8.8.4.12", "we banned [IP]"),
        ("8.8.4.12 is unreachable", "[IP] is unreachable"),
        ("2606:4700:4700::1111", "[IP]"),
        ("My SSN is 536-90-4399.", "My SSN is [NATIONAL]."),
        ("social security number: 536904399", "social security number: [NATIONAL]"),
        ("DNI 54362315-K", "DNI [NATIONAL]"),
        ("CPF 390.533.447-05", "CPF [NATIONAL]"),
        ("RCCMNL83S18D969H", "[NATIONAL]"),
        ("hetu 131052-308T", "hetu [NATIONAL]"),
        ("PESEL: 44051401359", "PESEL: [NATIONAL]"),
        ("BSN 1112.22.333", "BSN [NATIONAL]"),
        ("NHS number 943 476 5870", "NHS number [NATIONAL]"),
        ("Aadhaar 2341 2341 2346", "Aadhaar [NATIONAL]"),
        ("https://joe:hunter22@db", "https://[SECRET]@db"),
        *((f"key={token} ", "key=[SECRET] ") for token in TOKENS[:-2]),
        (TOKENS[-2], "-----[SECRET]-----"),
        (TOKENS[-1], "-----[SECRET]"),
    ],
)
def test_what_is_found_is_masked(text, expected):
    assert masked(text) == expected
    assert find_pii(text, []) == []


@pytest.mark.parametrize(
    "text",
    [
        "a@b",
        "a@example.com, b@mail.example.org, c@site.test, d@localhost",
        "git@github.com:owner/name",
        "icon@2x.png",
        "package@1.2.3",
        "+1 2024-10-12 10:11",
        "3+14155552671",
        "2019-03-04 12:00:01, 01/02/2003",
        "ISBN 978-0-306-40615-7",
        "CVE-2020-12345678",
        "$1,000,000.00 or 1 000 000 000",
        "id 212-555-0123-9",
        "020 7946 0018",
        "4111111111111112",
        "4444 4444 4444 4444",
        "0.4111111111111111",
        "1234 5678 4111 1111 1111 1111",
        "9111111111111113",
        "DE89 3704 0044 0532 0130 01",
        "1-800-555-019",
        "3-1-800-555-0199",
        "000-12-3456, 666-12-3456 and 987-65-4321",
        "536-90-4399-1",
        "54362315-A",
        "44051401359",
        "PESEL: 44051401358",
        "the sum is 111222333",
        "a host with Frob 8.8.4.12",
        "version 2.4.0.1",
        "Server 2.4.0.1",
        "before 11.2.202.223",
        "115.1.2.3 and earlier",
        "the address in release 5.5.5.5",
        "Chrome/115.0.0.0",
        "OID 1.3.6.1.4.1",
        "8.8.8.256 is no address",
        "address 127.0.0.1, 0.0.0.0, 192.168.1.1, 10.1.2.3 or 203.0.113.7",
        "::1, 2001:db8::1, fe80::1",
        "12:30:45, 00:1b:44:11:3a:b7, std::dead::beef",
        "http://user:password@example.com/",
        "gh" + "p_" + "x" * 36,
        "x" + "gh" + "p_" + BODY,
        "sk-learn-something-long-identifier-names",
        "files with 'BEGIN RSA PRIVATE KEY'",
        f"{PEM}\n...\n-----END RSA PRIVATE KEY-----",
    ],
)
def test_what_only_looks_like_it_is_left(text):
    assert find_pii(text, KINDS) == []


def test_only_the_kinds_asked_for_are_found():
    text = "a@b.co +14155552671"
    assert mask_pii(text, find_pii(text, {"phone"})) == "a@b.co [PHONE]"
    assert [finding.kind for finding in find_pii(text, KINDS)] == ["email", "phone"]


def test_of_two_that_overlap_the_longer_stays():
    assert masked("http://joe:hunter22@mail.acme.org") == "http://joe:[EMAIL]"
    assert mask_pii("https://joe:hunter22@db", find_pii("https://joe:hunter22@db", ["secret"])) == "https://[SECRET]@db"


def test_what_a_mask_uncovers_is_found_too():
    text = "ES91 2100 0418 4502 0005 1332tel: 020 7946 0018"
    assert masked(text) == "[IBAN]tel: [PHONE]"


NUMBERS = [
    "536-90-4399",
    "PESEL 44051401359",
    "1-800-555-0199",
    "+14155552671",
    "tel: 020 7946 0018",
    "212-555-0123",
    "4111 1111 1111 1111",
    "DE89 3704 0044 0532 0130 00",
]
HOSTS = ["a@b.co", "8.8.8.8", "218.92.0.31", "2606:4700::1111", "address ", "version ", "://", ":80", "[IP]"]
PIECES = st.sampled_from([*NUMBERS, *HOSTS, *TOKENS, *" ,-.+/[]@\n1a"])


@settings(max_examples=150, derandomize=True, deadline=None)
@given(st.lists(PIECES, max_size=7).map("".join))
def test_findings_are_sorted_apart_and_masked_for_good(text):
    once = masked(text)
    assert mask_pii(once, find_pii(once, KINDS)) == once


@settings(max_examples=100, derandomize=True, deadline=None)
@given(st.text(st.characters()) | st.text("0123456789+-.:@/ aAxX[]()", max_size=80))
def test_any_text_is_searched(text):
    check(text, find_pii(text, KINDS))


def test_what_stands_before_a_number_is_looked_at_for_as_long_as_any_mask_is():
    assert max(map(len, MASKS)) == LONGEST_MASK


@pytest.mark.parametrize("text", MASKS)
def test_a_mask_is_never_found(text):
    assert find_pii(f"tel: {text} address {text}{text}:80", KINDS) == []


@pytest.mark.parametrize(
    "text",
    [
        *"1@+(A",
        "a.",
        "a@",
        "1-",
        "1.",
        "AA00 ",
        "2000:",
        "8.8.8.8 ",
        "eyJ",
        "sk-",
        "sk-A0 ",
        "://a:",
        "aws key ",
        "SSN a ",
        "12-",
        PEM,
    ],
)
def test_a_long_hostile_text_takes_no_time(text):
    start = time.process_time()
    find_pii(text * (100_000 // len(text)), KINDS)
    assert time.process_time() - start < 1  # measured: below 0.15 s
