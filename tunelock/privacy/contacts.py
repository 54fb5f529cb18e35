"""Mail addresses, phone numbers, payment cards and bank accounts: a pattern proposes, a library decides."""

import re
from collections.abc import Collection, Iterator

from phonenumbers import Leniency, PhoneNumberMatcher
from stdnum import iban, luhn

ALNUM = frozenset("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
REGIONS = ("US", "GB", "DE", "FR", "ES", "IT", "NL", "AU", "IN")  # whose national forms are tried behind a cue
AFTER_MASK = re.compile(r"\[[A-Z]+\]\Z")
LONGEST_MASK = len("[NATIONAL]")
BEFORE_NUMBER, AFTER_NUMBER = r"(?<![\w.+/$-])", r"(?![\w-]|\.[0-9])"  # so that it is no part of something longer

# `re` skips to a literal or a class that a pattern starts with; hence the look-behinds stand after the first digit.
EMAIL = re.compile(
    r"(?<![A-Za-z0-9_%+-])[A-Za-z0-9_][A-Za-z0-9._%+-]{0,63}"
    r"(?P<host>@(?!\dx\.)(?:[A-Za-z0-9-]{1,63}\.){1,9}[A-Za-z]{2,24})(?![A-Za-z0-9_-])"  # icon@2x.png is a picture
)
NOBODY = re.compile(r"(?i)@(?:[\w-]{1,63}\.){0,9}(?:example(?:\.(?:com|org|net))?|test|invalid|localhost)(?!\.?[\w-])")
ABROAD = re.compile(r"\+[0-9(][0-9 ()./\u00a0-]{5,22}[0-9]")
LONG_RUN = re.compile(r"[0-9](?:[ ()./-]{0,2}[0-9]){6}")
AT_HOME = re.compile(
    r"\b(?:tel|telephone|phone|mobile|cell|cellphone|fax|whatsapp)(?: number| no)?[.:]{0,2} ?"
    r"(?P<cued>[(0-9][0-9 ()./-]{6,18}[0-9])"
    rf"|{BEFORE_NUMBER}(?P<nanp>(?:1-|1 (?=\())?"
    rf"(?:\([2-9][0-9]{{2}}\) ?|[2-9][0-9]{{2}}-)[2-9][0-9]{{2}}-[0-9]{{4}}){AFTER_NUMBER}",
    re.I,
)
CARD = re.compile(  # a neighbouring group of four digits makes it a row of a table
    r"[0-9](?<![\w.+/-][0-9])(?<![0-9]{4}[ -][0-9])(?:[0-9]{12,18}|[0-9]{3}(?:[ -][0-9]{4}){3}(?:[ -][0-9]{3})?"
    r"|[0-9]{3}[ -][0-9]{6}[ -][0-9]{4,5})(?![ -][0-9]{4}(?![0-9])|[\w+/-]|\.[0-9])"
)
NETWORK = re.compile(r"4.{12}(?:...){0,2}|(?:5[1-5]|2[2-7]|35).{14}|3[47].{13}|3[068].{12}|6(?:[245]|011).{12,17}")
IBAN = re.compile(r"[A-Z](?<![A-Za-z0-9][A-Z])[A-Z][0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?(?![0-9])")


def find_emails(text: str) -> Iterator[tuple[int, int]]:
    """Mailboxes at public domains; `git@host` is an account that no person reads."""
    for found in EMAIL.finditer(text) if "@" in text else ():
        if not NOBODY.match(text, found.start("host")) and not found[0].startswith("git@"):
            yield found.span()


def find_phones(text: str) -> Iterator[tuple[int, int]]:
    """Numbers in the form +NN, and national ones behind a word such as `tel` or in the American form 212-555-0123."""
    for found in ABROAD.finditer(text) if "+" in text else ():
        if (
            not ALNUM.intersection(text[max(found.start() - 1, 0) : found.start()])
            and text[found.end() : found.end() + 1] != "+"
        ):
            whole = list(_find_phone(text, found.span(), (None,)))
            before_space = (found.start(), max(text.rfind(" ", *found.span()), found.start()))  # a date may follow
            yield from whole or _find_phone(text, before_space, (None,))
    for found in AT_HOME.finditer(text) if LONG_RUN.search(text) else ():
        yield from _find_phone(text, found.span(found.lastgroup), ("US",) if found["nanp"] else REGIONS)


def _find_phone(text: str, span: tuple[int, int], regions: Collection[str | None]) -> Iterator[tuple[int, int]]:
    """The first number in the span that is valid, and grouped as usual, in one of the regions."""
    start, end = span
    for region in regions:
        for found in PhoneNumberMatcher(text[start:end], region, Leniency.STRICT_GROUPING):
            if not ALNUM.intersection(text[start + found.end : start + found.end + 1]):
                yield start + found.start, start + found.end
                return


def find_cards(text: str) -> Iterator[tuple[int, int]]:
    """Numbers in a card network's range and length that pass Luhn's check."""
    for found in CARD.finditer(text):
        digits = re.sub("[ -]", "", found[0])
        before = text[: max(found.start() - 1, 0)][-LONGEST_MASK:]
        after_mask = AFTER_MASK.search(before)  # where a group of digits stood
        if NETWORK.fullmatch(digits) and len(set(digits)) > 1 and luhn.is_valid(digits) and not after_mask:
            yield found.span()


def find_ibans(text: str) -> Iterator[tuple[int, int]]:
    """Account numbers of a country's length and form with the right check digits; capital letters only."""
    for found in IBAN.finditer(text):
        start, end = found.span()
        while end - start > 14:  # a word in capitals may follow the number
            if iban.is_valid(text[start:end]):
                yield start, end
                break
            end = text.rfind(" ", start, end)
