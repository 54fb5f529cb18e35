"""Numbers by which a state knows a person, by country: a form or the number's name proposes, python-stdnum decides."""

import re
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from typing import NamedTuple

from tunelock.privacy.contacts import AFTER_NUMBER, BEFORE_NUMBER


class _National(NamedTuple):
    """A number of one country: its module in stdnum, its form, and the names without which the form says too little.

    Behind a name one or two words may stand ("BSN is", "PESEL number:"). Without names the form alone proposes.
    """

    module: str
    form: str
    names: str = ""


NUMBERS = (
    _National("us.ssn", r"\d{3}-\d{2}-\d{4}"),
    _National("us.ssn", r"\d{9}|\d{3} \d{2} \d{4}", "SSN|social security"),
    _National("br.cpf", r"\d{3}\.\d{3}\.\d{3}-\d{2}"),
    _National("br.cpf", r"\d{11}", "CPF"),
    _National("es.dni", r"\d{8}-?[A-Z]"),
    _National("es.nie", r"[XYZ]-?\d{7}-?[A-Z]"),
    _National("it.codicefiscale", r"[A-Z]{6}\d{2}[A-Z]\d{2}[A-Z]\d{3}[A-Z]"),
    _National("fi.hetu", r"\d{6}[-+A]\d{3}[0-9A-Y]"),
    _National("cn.ric", r"\d{17}[0-9X]"),
    _National("fr.nir", r"[12] ?\d{2} ?\d{2} ?\d[0-9AB] ?\d{3} ?\d{3} ?\d{2}", "NIR|INSEE|s[ée]curit[ée] sociale"),
    _National("gb.nhs", r"\d{3}[ -]?\d{3}[ -]?\d{4}", "NHS"),
    _National("de.idnr", r"\d{2} ?\d{3} ?\d{3} ?\d{3}", "Steuer-?ID|IdNr|Steueridentifikationsnummer"),
    _National("nl.bsn", r"\d{9}|\d{4}\.\d{2}\.\d{3}", "BSN|burgerservicenummer"),
    _National("be.nn", r"\d{2}\.?\d{2}\.?\d{2}-?\d{3}\.?\d{2}", "NN|rijksregisternummer|registre national"),
    _National("pl.pesel", r"\d{11}", "PESEL"),
    _National("se.personnummer", r"(?:\d{2})?\d{6}[-+]?\d{4}", "personnummer|personal identity number"),
    _National("dk.cpr", r"\d{6}-?\d{4}", "CPR"),
    _National("ca.sin", r"\d{3}[ -]?\d{3}[ -]?\d{3}", "SIN|social insurance"),
    _National("au.tfn", r"\d{3} ?\d{3} ?\d{2,3}", "TFN|tax file"),
    _National("in_.aadhaar", r"\d{4} ?\d{4} ?\d{4}", "Aadhaar|UIDAI"),
)  # fmt: skip
ANY_FORM = re.compile(f"{BEFORE_NUMBER}(?:{'|'.join(number.form for number in NUMBERS)}){AFTER_NUMBER}", re.ASCII)
FEWEST_DIGITS = 7  # that one of the forms has; to count the digits of a text is ten times faster than the search


def find_national_numbers(text: str) -> Iterator[tuple[int, int]]:
    """Numbers in the form of a country whose check digits, or ranges where there are none, are right."""
    digits = sum(map(text.count, "0123456789"))
    for number in NUMBERS if digits >= FEWEST_DIGITS and ANY_FORM.search(text) else ():
        for found in _compile_number(number).finditer(text):
            if _load_check(number.module)(found["number"]):
                yield found.span("number")


@cache
def _compile_number(number: _National) -> re.Pattern:
    lead = rf"(?i:\b(?:{number.names}))(?:[ .:#(]{{0,2}}[A-Za-z]{{1,8}}){{0,2}}[ .:#(]{{1,3}}" if number.names else ""
    return re.compile(f"{lead}{BEFORE_NUMBER}(?P<number>{number.form}){AFTER_NUMBER}", re.ASCII)


@cache
def _load_check(module: str) -> Callable[[str], bool]:
    return import_module(f"stdnum.{module}").is_valid
