"""The CWE catalogue (https://cwe.mitre.org, schema v7) as rows of questions and answers."""

import hashlib
import json
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from tunelock.reading.rows import Fault, Row, quote_row
from tunelock.run.errors import Stop

NAMESPACE = {"c": "http://cwe.mitre.org/cwe-7"}
CANDIDATES = 4  # the true weakness and three others, so that chance accuracy is 25 %


def _read_weaknesses(xml: BinaryIO, name: str) -> list[ET.Element]:
    """The `Weakness` elements of a catalogue; `Stop` if the file is not one."""
    try:
        weaknesses = ET.parse(xml).getroot().findall("c:Weaknesses/c:Weakness", NAMESPACE)
    except (ET.ParseError, LookupError, ValueError) as error:  # the latter two at unknown encodings
        raise Stop(f"{name} is not XML ({error}); check the path of its source in params.yaml.") from None
    if not weaknesses:
        raise Stop(f"{name} holds no weakness of CWE's schema v7, the only XML that is read; convert it to JSON lines.")
    return weaknesses


def read_cwe_rows(xml: BinaryIO, name: str) -> Iterator[Row | Fault]:
    """Yield a row a question, in the order of the catalogue, numbered from 1; deprecated entries are dropped.

    The columns are instruction, context, response, task and group (the CWE id).
    """
    weaknesses = _read_weaknesses(xml, name)
    names = {f"CWE-{w.get('ID')}": w.get("Name") for w in weaknesses if w.get("Status") != "Deprecated"}
    number = 0
    for weakness in weaknesses:
        group = f"CWE-{weakness.get('ID')}"
        for question in _ask_about(weakness, f"{group} ({weakness.get('Name')})", names):
            number += 1
            columns = {"group": group, **question._asdict()}
            if weakness.get("Status") == "Deprecated":
                yield Fault(number, "deprecated", quote_row(json.dumps(columns)), status="dropped")
            else:
                yield Row(number, columns)


class _Question(NamedTuple):
    task: str
    instruction: str
    context: str
    response: str


def _ask_about(weakness: ET.Element, title: str, names: dict[str, str]) -> Iterator[_Question]:
    """Yield a question for each fact that the catalogue states of a weakness."""
    details = [
        _text_of(weakness.find("c:Description", NAMESPACE)),
        _text_of(weakness.find("c:Extended_Description", NAMESPACE)),
    ]
    yield _Question("explain", f"Explain the weakness {title}.", "", " ".join(filter(None, details)))
    for item in weakness.iterfind("c:Potential_Mitigations/c:Mitigation", NAMESPACE):
        phases, strategy = _texts_of(item, "Phase"), _texts_of(item, "Strategy")
        when = f" in the phase {' and '.join(phases)}" if phases else ""
        how = f" by the strategy {strategy[0]}" if strategy else ""
        yield _Question(
            "mitigate",
            f"How can {title} be mitigated{when}{how}?",
            "",
            _text_of(item.find("c:Description", NAMESPACE)),
        )
    for item in weakness.iterfind("c:Common_Consequences/c:Consequence", NAMESPACE):
        impact = f"Impact: {', '.join(_texts_of(item, 'Impact'))}. {' '.join(_texts_of(item, 'Note'))}".strip()
        scopes = " and ".join(_texts_of(item, "Scope")).lower()
        yield _Question("consequences", f"What are the consequences of {title} for {scopes}?", "", impact)
    for item in weakness.iterfind("c:Detection_Methods/c:Detection_Method", NAMESPACE):
        method = " ".join(_texts_of(item, "Method"))
        yield _Question(
            "detect", f"How can {title} be detected by {method}?", "", _text_of(item.find("c:Description", NAMESPACE))
        )
    group = f"CWE-{weakness.get('ID')}"
    for item in weakness.iterfind("c:Observed_Examples/c:Observed_Example", NAMESPACE):
        cve, report = " ".join(_texts_of(item, "Reference")), _text_of(item.find("c:Description", NAMESPACE))
        question = "Which of the listed weaknesses does this vulnerability report describe?"
        choices = "\n".join(f"- {key}: {names[key]}" for key in pick_candidates(group, report, names))
        yield _Question("classify", question, f"{cve}: {report}\n{choices}", f"{group}: {weakness.get('Name')}")


def pick_candidates(truth: str, salt: str, names: dict[str, str]) -> list[str]:
    """The true key and `CANDIDATES - 1` others, chosen and ordered by a hash of `salt`, so without a position bias."""

    def rank_key(key: str) -> str:
        return hashlib.sha256(f"{salt}\0{key}".encode()).hexdigest()

    others = sorted((key for key in names if key != truth), key=rank_key)[: CANDIDATES - 1]
    return sorted([key for key in [truth, *others] if key in names], key=lambda key: rank_key(f"order\0{key}"))


def _text_of(element: ET.Element | None) -> str:
    """All text below an element, its XHTML markup dropped and white space folded."""
    return "" if element is None else " ".join(" ".join(element.itertext()).split())


def _texts_of(element: ET.Element, tag: str) -> list[str]:
    """The texts of the direct children with this tag, the empty ones left out."""
    return list(filter(None, (_text_of(child) for child in element.iterfind(f"c:{tag}", NAMESPACE))))
