"""The CWE catalogue (https://cwe.mitre.org, schema v7) as question-and-answer records."""

import csv
import hashlib
import io
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from typing import BinaryIO

from stages.lib.errors import Stop
from stages.lib.hashing import sha256_value

NAMESPACE = {"c": "http://cwe.mitre.org/cwe-7"}
LICENCE = "LicenseRef-CWE-Terms-of-Use"
CANDIDATES = 4  # the true weakness and three others, so that chance accuracy is 25 %


def read_weaknesses(xml: BinaryIO) -> list[ET.Element]:
    """The `Weakness` elements of a catalogue; `Stop` if the file is not one."""
    try:
        weaknesses = ET.parse(xml).getroot().findall("c:Weaknesses/c:Weakness", NAMESPACE)
    except ET.ParseError as error:
        raise Stop(f"the CWE catalogue is not XML ({error}); check 'dataset' in params.yaml.") from None
    if not weaknesses:
        raise Stop("the CWE catalogue holds no weakness of schema v7; check 'dataset' in params.yaml.")
    return weaknesses


def read_cwe_ids(table: BinaryIO) -> list[str]:
    """The group keys (`CWE-79`) of a CWE view in CSV form, such as the Top 25."""
    rows = list(csv.DictReader(io.TextIOWrapper(table, encoding="utf-8", newline="")))
    if not rows or "CWE-ID" not in rows[0]:
        raise Stop("the table of golden CWE ids has no column 'CWE-ID'; check 'golden_table' in params.yaml.")
    return [f"CWE-{row['CWE-ID']}" for row in rows]


def cwe_records(weaknesses: list[ET.Element], source: str) -> Iterator[dict]:
    """Yield one record a question, in the order of the catalogue.

    A record has id, group (the CWE id), task, instruction, context, response, source, licence and
    deprecated; `id` follows from the content alone, whatever other records there are.
    """
    names = {f"CWE-{w.get('ID')}": w.get("Name") for w in weaknesses if w.get("Status") != "Deprecated"}
    for weakness in weaknesses:
        group = f"CWE-{weakness.get('ID')}"
        shared = {
            "group": group,
            "source": source,
            "licence": LICENCE,
            "deprecated": weakness.get("Status") == "Deprecated",
        }
        questions = questions_about(weakness, f"{group} ({weakness.get('Name')})", names)
        for task, instruction, context, response in questions:
            row = {"task": task, "instruction": instruction, "context": context, "response": response}
            yield {"id": f"{group}-{task}-{sha256_value(row)[:8]}", **row, **shared}


def questions_about(weakness: ET.Element, title: str, names: dict[str, str]) -> Iterator[tuple[str, str, str, str]]:
    """Yield (task, instruction, context, response) for each fact that the catalogue states of a weakness."""
    details = [
        text(weakness.find("c:Description", NAMESPACE)),
        text(weakness.find("c:Extended_Description", NAMESPACE)),
    ]
    yield "explain", f"Explain the weakness {title}.", "", " ".join(filter(None, details))
    for item in weakness.iterfind("c:Potential_Mitigations/c:Mitigation", NAMESPACE):
        phases, strategy = texts(item, "Phase"), texts(item, "Strategy")
        when = f" in the phase {' and '.join(phases)}" if phases else ""
        how = f" by the strategy {strategy[0]}" if strategy else ""
        yield "mitigate", f"How can {title} be mitigated{when}{how}?", "", text(item.find("c:Description", NAMESPACE))
    for item in weakness.iterfind("c:Common_Consequences/c:Consequence", NAMESPACE):
        impact = f"Impact: {', '.join(texts(item, 'Impact'))}. {' '.join(texts(item, 'Note'))}".strip()
        scopes = " and ".join(texts(item, "Scope")).lower()
        yield "consequences", f"What are the consequences of {title} for {scopes}?", "", impact
    for item in weakness.iterfind("c:Detection_Methods/c:Detection_Method", NAMESPACE):
        method = " ".join(texts(item, "Method"))
        yield "detect", f"How can {title} be detected by {method}?", "", text(item.find("c:Description", NAMESPACE))
    group = f"CWE-{weakness.get('ID')}"
    for item in weakness.iterfind("c:Observed_Examples/c:Observed_Example", NAMESPACE):
        cve, report = " ".join(texts(item, "Reference")), text(item.find("c:Description", NAMESPACE))
        question = "Which of the listed weaknesses does this vulnerability report describe?"
        choices = "\n".join(f"- {key}: {names[key]}" for key in candidates(group, report, names))
        yield "classify", question, f"{cve}: {report}\n{choices}", f"{group}: {weakness.get('Name')}"


def candidates(truth: str, salt: str, names: dict[str, str]) -> list[str]:
    """The true key and `CANDIDATES - 1` others, chosen and ordered by a hash of `salt`, so without a position bias."""

    def rank(key: str) -> str:
        return hashlib.sha256(f"{salt}\0{key}".encode()).hexdigest()

    others = sorted((key for key in names if key != truth), key=rank)[: CANDIDATES - 1]
    return sorted([key for key in [truth, *others] if key in names], key=lambda key: rank(f"order\0{key}"))


def text(element: ET.Element | None) -> str:
    """All text below an element, its XHTML markup dropped and white space folded."""
    return "" if element is None else " ".join(" ".join(element.itertext()).split())


def texts(element: ET.Element, tag: str) -> list[str]:
    """The texts of the direct children with this tag, the empty ones left out."""
    return list(filter(None, (text(child) for child in element.iterfind(f"c:{tag}", NAMESPACE))))
