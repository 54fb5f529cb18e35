"""The CWE catalogue becomes records: every fact once, the same whatever stands beside it."""

import hashlib
import io
import json
import re
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from stages import ingest
from stages.lib.cwe import CANDIDATES, candidates, cwe_records, read_cwe_ids, read_weaknesses
from stages.lib.errors import Stop

XSS = """
<Weakness ID="79" Name="Cross-site Scripting" Status="Stable">
  <Description>Input reaches
     a page.</Description>
  <Extended_Description><xhtml:p>It is <xhtml:b>not</xhtml:b> escaped.</xhtml:p><xhtml:ul><xhtml:li>ever</xhtml:li>
  </xhtml:ul></Extended_Description>
  <Potential_Mitigations>
    <Mitigation><Phase>Implementation</Phase><Phase>Design</Phase><Strategy>Output Encoding</Strategy>
      <Description><xhtml:p>Escape &lt;all&gt; output.</xhtml:p></Description></Mitigation>
    <Mitigation><Description>Use a framework.</Description></Mitigation>
  </Potential_Mitigations>
  <Common_Consequences><Consequence><Scope>Integrity</Scope><Scope>Confidentiality</Scope><Impact>Read Files</Impact>
    <Impact>Run Code</Impact><Note>Cookies leak.</Note></Consequence></Common_Consequences>
  <Detection_Methods><Detection_Method><Method>Fuzzing</Method><Description>Send quotes.</Description>
    </Detection_Method></Detection_Methods>
  <Observed_Examples><Observed_Example><Reference>CVE-2020-1</Reference><Description>A forum shows posts unescaped.
    </Description></Observed_Example></Observed_Examples>
</Weakness>"""
OLD = '<Weakness ID="1" Name="Old One" Status="Deprecated"><Description>Do not use.</Description></Weakness>'
OTHERS = "".join(
    f'<Weakness ID="{n}" Name="Weakness {n}" Status="Draft"><Description>Text {n}.</Description></Weakness>'
    for n in range(100, 140)
)
SOURCE = "wheel:tiny==1.0/cwe.xml"


def catalogue(*weaknesses: str) -> bytes:
    return (
        '<?xml version="1.0" encoding="UTF-8"?><Weakness_Catalog xmlns="http://cwe.mitre.org/cwe-7" '
        'xmlns:xhtml="http://www.w3.org/1999/xhtml"><Weaknesses>'
        f"{''.join(weaknesses)}</Weaknesses></Weakness_Catalog>"
    ).encode()


def records_of(*weaknesses: str) -> list[dict]:
    return list(cwe_records(read_weaknesses(io.BytesIO(catalogue(*weaknesses))), SOURCE))


def question(task: str, number: int = 0) -> tuple[str, str, str]:
    """Instruction, context and response of one record about cross-site scripting."""
    record = [record for record in records_of(XSS, OLD) if record["task"] == task][number]
    return record["instruction"], record["context"], record["response"]


def test_a_description_is_explained_with_its_markup_folded():
    title, _, answer = question("explain")
    assert title == "Explain the weakness CWE-79 (Cross-site Scripting)."
    assert answer == "Input reaches a page. It is not escaped. ever"


def test_a_mitigation_names_its_phases_and_strategy_where_it_has_them():
    asked, _, answer = question("mitigate")
    assert "in the phase Implementation and Design by the strategy Output Encoding?" in asked
    assert answer == "Escape <all> output."
    assert question("mitigate", 1) == ("How can CWE-79 (Cross-site Scripting) be mitigated?", "", "Use a framework.")


def test_a_consequence_joins_scopes_impacts_and_note():
    asked, _, answer = question("consequences")
    assert asked.endswith("for integrity and confidentiality?")
    assert answer == "Impact: Read Files, Run Code. Cookies leak."


def test_a_detection_method_is_asked_for_by_name():
    asked, _, answer = question("detect")
    assert asked == "How can CWE-79 (Cross-site Scripting) be detected by Fuzzing?"
    assert answer == "Send quotes."


def test_an_observed_example_is_to_be_classified_among_candidates():
    record = next(record for record in records_of(XSS, OLD, OTHERS) if record["task"] == "classify")
    report, *choices = record["context"].splitlines()
    assert report == "CVE-2020-1: A forum shows posts unescaped."
    assert record["response"] == "CWE-79: Cross-site Scripting"
    assert f"- {record['response']}" in choices
    assert len(set(choices)) == CANDIDATES
    assert "CWE-79" not in record["instruction"] + report


def test_every_fact_is_one_record_and_the_deprecated_are_marked():
    records = records_of(XSS, OLD)
    tasks = Counter(record["task"] for record in records if record["group"] == "CWE-79")
    assert tasks == {"explain": 1, "mitigate": 2, "consequences": 1, "detect": 1, "classify": 1}
    assert {record["group"] for record in records if record["deprecated"]} == {"CWE-1"}
    assert all(record["source"] == SOURCE and record["licence"] for record in records)


def test_ids_are_unique_and_name_group_and_task():
    records = records_of(XSS, OLD, OTHERS)
    assert len({record["id"] for record in records}) == len(records)
    assert all(record["id"].startswith(f"{record['group']}-{record['task']}-") for record in records)


def test_records_do_not_depend_on_the_order_of_the_catalogue_or_on_deprecated_entries():
    def about_xss(*weaknesses):
        return [record for record in records_of(*weaknesses) if record["group"] == "CWE-79"]

    assert about_xss(XSS, OLD, OTHERS) == about_xss(OTHERS, XSS)


def test_a_new_weakness_changes_no_other_record_but_the_candidates_it_joins():
    alone = [record for record in records_of(XSS) if record["task"] != "classify"]
    assert [record for record in records_of(XSS, OTHERS) if record in alone] == alone


def test_an_id_changes_with_the_text_it_stands_for():
    before, after = records_of(XSS), records_of(XSS.replace("Send quotes", "Send tags"))
    changed = [old["task"] for old, new in zip(before, after, strict=True) if old["id"] != new["id"]]
    assert changed == ["detect"]


NAMES = {f"CWE-{n}": f"Weakness {n}" for n in range(40)}


def test_candidates_hold_the_truth_and_are_the_same_each_time_in_any_order_of_the_catalogue():
    for salt in map(str, range(50)):
        found = candidates("CWE-7", salt, NAMES)
        assert "CWE-7" in found
        assert len(set(found)) == CANDIDATES
        assert found == candidates("CWE-7", salt, dict(reversed(NAMES.items())))


def test_the_truth_is_at_every_place_of_the_list_equally_often():
    places = Counter(candidates("CWE-7", str(salt), NAMES).index("CWE-7") for salt in range(800))
    assert all(150 < places[place] < 250 for place in range(CANDIDATES)), places  # 200 each, within 4 sigma


def test_the_other_candidates_are_drawn_from_all_weaknesses():
    drawn = Counter(key for salt in range(800) for key in candidates("CWE-7", str(salt), NAMES))
    assert drawn.pop("CWE-7") == 800
    assert drawn.keys() == NAMES.keys() - {"CWE-7"}
    assert max(drawn.values()) < 2 * min(drawn.values())


def test_few_weaknesses_give_few_candidates_and_deprecated_ones_none():
    record = next(record for record in records_of(XSS, OLD) if record["task"] == "classify")
    assert record["context"].splitlines()[1:] == ["- CWE-79: Cross-site Scripting"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (catalogue(XSS)[:-5], "is not XML"),
        (b"", "is not XML"),
        (b"<html><body>Not found</body></html>", "holds no weakness"),
        (catalogue(), "holds no weakness"),
        (catalogue(XSS).replace(b"cwe-7", b"cwe-6"), "holds no weakness"),
    ],
    ids=["cut short", "empty", "HTML", "no weakness", "another schema"],
)
def test_a_file_that_is_no_catalogue_stops(content, words):
    with pytest.raises(Stop, match=words):
        read_weaknesses(io.BytesIO(content))


def test_golden_groups_are_read_from_a_table():
    table = b'CWE-ID,Name\n79,"a, b"\n89,c\n'
    assert read_cwe_ids(io.BytesIO(table)) == ["CWE-79", "CWE-89"]


@pytest.mark.parametrize("table", [b"", b"CWE-ID,Name\n", b"ID,Name\n79,a\n"], ids=["empty", "no row", "other column"])
def test_a_table_without_golden_ids_stops(table):
    with pytest.raises(Stop, match="golden_table"):
        read_cwe_ids(io.BytesIO(table))


def put_wheel_in_cache(cache: Path, **members: bytes) -> str:
    """A wheel as `fetch_wheel` keeps it; returns its sha256."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("_", "."), content)
    sha256 = hashlib.sha256(packed.getvalue()).hexdigest()
    (cache / sha256).mkdir(parents=True)
    (cache / sha256 / "tiny-1.0-py3-none-any.whl").write_bytes(packed.getvalue())
    return sha256


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder whose params name a tiny wheel that is in the cache."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TUNELOCK_CACHE", str(tmp_path / "cache"))
    Path("dvc.yaml").write_text("stages: {ingest: {cmd: x, params: [dataset, dataset_revision, golden_table]}}\n")

    def write(**members: bytes) -> None:
        sha256 = put_wheel_in_cache(tmp_path / "cache", **members)
        Path("params.yaml").write_text(f'dataset: {SOURCE}\ndataset_revision: "{sha256}"\ngolden_table: top.csv\n')

    return write


def test_ingest_writes_records_and_golden_groups_and_says_how_many(project, capsys):
    project(cwe_xml=catalogue(XSS, OLD), top_csv=b"CWE-ID\n79\n")
    ingest.main()
    lines = Path("data/raw/records.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == records_of(XSS, OLD)
    assert json.loads(Path("data/raw/golden_groups.json").read_text()) == ["CWE-79"]
    assert capsys.readouterr().out == f"{len(lines)} records, 1 golden groups\n"


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"cwe_xml": b"<broken", "top_csv": b"CWE-ID\n79\n"}, "the CWE catalogue is not XML"),
        ({"cwe_xml": catalogue(XSS), "top_csv": b"nothing\n"}, "no column 'CWE-ID'"),
        ({"cwe_xml": catalogue(XSS)}, "has no member 'top.csv'"),
    ],
    ids=["broken catalogue", "broken table", "no table"],
)
def test_ingest_stops_at_a_bad_source_and_writes_nothing(project, members, words):
    project(**members)
    with pytest.raises(SystemExit, match=re.escape(words)):
        ingest.main()
    assert not Path("data").exists()
