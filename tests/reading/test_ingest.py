"""Sources become records with an account of every row; the catalogue of weaknesses; preview and convert."""

import io
import json
import os
import re
import shlex
import subprocess
import sys
import unicodedata
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from stages import ingest
from tests.command_line import run_tunelock, unwrapped
from tests.conftest import ROOT
from tunelock.reading.cwe import CANDIDATES, pick_candidates, read_cwe_rows
from tunelock.reading.pieces import cut_text
from tunelock.reading.reading import Source, read_source
from tunelock.reading.rows import Fault, Row
from tunelock.run.errors import Stop
from tunelock.run.params import load_yaml

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


def catalogue(*weaknesses: str) -> bytes:
    return (
        '<?xml version="1.0" encoding="UTF-8"?><Weakness_Catalog xmlns="http://cwe.mitre.org/cwe-7" '
        'xmlns:xhtml="http://www.w3.org/1999/xhtml"><Weaknesses>'
        f"{''.join(weaknesses)}</Weaknesses></Weakness_Catalog>"
    ).encode()


def rows_of(*weaknesses: str) -> list[Row | Fault]:
    return list(read_cwe_rows(io.BytesIO(catalogue(*weaknesses)), "cwe.xml"))


def asked(task: str, number: int = 0) -> tuple[str, str, str]:
    """Instruction, context and response of one row about cross-site scripting."""
    rows = [row.columns for row in rows_of(XSS, OLD) if isinstance(row, Row)]
    columns = [columns for columns in rows if columns["task"] == task][number]
    return columns["instruction"], columns["context"], columns["response"]


def test_a_description_is_explained_with_its_markup_folded():
    title, _, answer = asked("explain")
    assert title == "Explain the weakness CWE-79 (Cross-site Scripting)."
    assert answer == "Input reaches a page. It is not escaped. ever"


def test_a_mitigation_names_its_phases_and_strategy_where_it_has_them():
    question, _, answer = asked("mitigate")
    assert "in the phase Implementation and Design by the strategy Output Encoding?" in question
    assert answer == "Escape <all> output."
    assert asked("mitigate", 1) == ("How can CWE-79 (Cross-site Scripting) be mitigated?", "", "Use a framework.")


def test_a_consequence_joins_scopes_impacts_and_note():
    question, _, answer = asked("consequences")
    assert question.endswith("for integrity and confidentiality?")
    assert answer == "Impact: Read Files, Run Code. Cookies leak."


def test_a_detection_method_is_asked_for_by_name():
    question, _, answer = asked("detect")
    assert question == "How can CWE-79 (Cross-site Scripting) be detected by Fuzzing?"
    assert answer == "Send quotes."


def test_an_observed_example_is_to_be_classified_among_candidates():
    [columns] = [row.columns for row in rows_of(XSS, OTHERS) if row.columns["task"] == "classify"]
    report, *choices = columns["context"].splitlines()
    assert report == "CVE-2020-1: A forum shows posts unescaped."
    assert columns["response"] == "CWE-79: Cross-site Scripting"
    assert f"- {columns['response']}" in choices
    assert len(set(choices)) == CANDIDATES
    assert "CWE-79" not in columns["instruction"] + report


def test_every_fact_is_one_numbered_row_and_the_deprecated_are_dropped():
    rows = rows_of(OLD, XSS)
    assert [row.line for row in rows] == [1, 2, 3, 4, 5, 6, 7]
    assert rows[0][1:2] + rows[0][3:] == ("deprecated", "dropped") and "Do not use." in rows[0].raw
    tasks = [row.columns["task"] for row in rows[1:]]
    assert tasks == ["explain", "mitigate", "mitigate", "consequences", "detect", "classify"]
    assert {row.columns["group"] for row in rows[1:]} == {"CWE-79"}


def test_rows_do_not_depend_on_the_order_of_the_catalogue_or_on_deprecated_entries():
    def about_xss(*weaknesses):
        return [r.columns for r in rows_of(*weaknesses) if isinstance(r, Row) and r.columns["group"] == "CWE-79"]

    assert about_xss(XSS, OLD, OTHERS) == about_xss(OTHERS, XSS)


NAMES = {f"CWE-{n}": f"Weakness {n}" for n in range(40)}


def test_candidates_hold_the_truth_and_are_the_same_each_time_in_any_order_of_the_catalogue():
    for salt in map(str, range(50)):
        found = pick_candidates("CWE-7", salt, NAMES)
        assert "CWE-7" in found
        assert len(set(found)) == CANDIDATES
        assert found == pick_candidates("CWE-7", salt, dict(reversed(NAMES.items())))


def test_the_other_candidates_are_drawn_from_all_weaknesses():
    drawn = Counter(key for salt in range(800) for key in pick_candidates("CWE-7", str(salt), NAMES))
    assert drawn.pop("CWE-7") == 800
    assert drawn.keys() == NAMES.keys() - {"CWE-7"}
    assert max(drawn.values()) < 2 * min(drawn.values())


def test_few_weaknesses_give_few_candidates_and_deprecated_ones_none():
    assert asked("classify")[1].splitlines()[1:] == ["- CWE-79: Cross-site Scripting"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (catalogue(XSS)[:-5], "is not XML"),
        (b"<html><body>Not found</body></html>", "holds no weakness"),
        (catalogue(), "holds no weakness"),
        (catalogue(XSS).replace(b"cwe-7", b"cwe-6"), "holds no weakness"),
    ],
    ids=["cut short", "HTML", "no weakness", "another schema"],
)
def test_a_file_that_is_no_catalogue_stops(content, words):
    with pytest.raises(Stop, match=f"cwe.xml {words}"):
        list(read_cwe_rows(io.BytesIO(content), "cwe.xml"))


@pytest.fixture(scope="module")
def real() -> list[dict]:
    """What the pinned catalogue becomes."""
    return list(read_source("cwe", Source(**load_yaml(ROOT / "params.yaml")["sources"]["cwe"])))


def test_the_real_catalogue_is_all_there_with_unique_ids(real):
    assert Counter(row.get("reason", "record") for row in real) == {"record": 7500, "deprecated": 25}
    records = [row for row in real if "status" not in row]
    assert len({row["id"] for row in records}) == 7500
    assert len({row["group"] for row in records}) == 938
    assert Counter(row["task"] for row in records) == {
        "classify": 2967, "mitigate": 1699, "consequences": 1169, "explain": 938, "detect": 727,
    }  # fmt: skip
    assert [row["line"] for row in real] == list(range(1, 7526))


def test_the_right_choice_is_at_each_of_the_four_places_equally_often(real):
    places = Counter()
    for row in real:
        if row.get("task") == "classify":
            question, answer = (message["content"] for message in row["messages"])
            choices = [line.strip() for line in question.splitlines()[-CANDIDATES:]]
            places[choices.index(f"- {answer}")] += 1
    assert sum(places.values()) == 2967
    assert all(650 < places[place] < 834 for place in range(CANDIDATES)), places  # 742 each, within 4 sigma


# ---- the stage ----

PAIRS = [("Why?", "Because."), ("How?", "Like this."), ("When?", "Now.")]


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    """A folder with data/raw; returns a writer of its params."""
    monkeypatch.chdir(tmp_path)
    Path("data/raw").mkdir(parents=True)
    Path("dvc.yaml").write_text("stages: {ingest: {cmd: x, params: [sources, max_set_aside_share]}}\n")

    def write(share: float = 0.0, max_turns: int | None = None, **sources: dict) -> None:
        values = {"sources": sources, "max_set_aside_share": share, "system_prompt": None, "max_length": 40}
        values |= {"max_turns": max_turns}
        Path("params.yaml").write_text(json.dumps(values))

    return write


def put(name: str, rows: list) -> str:
    """JSON lines in data/raw, a string as it is."""
    lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    Path("data/raw", name).write_text("".join(f"{line}\n" for line in lines))
    return f"data/raw/{name}"


def qa(pairs=PAIRS, **more) -> list[dict]:
    return [{"question": question, "answer": answer, **more} for question, answer in pairs]


def written(name: str) -> list[dict]:
    return [json.loads(line) for line in Path("data/records", name).read_text().splitlines()]


def test_every_row_of_every_source_is_written_once_and_counted(project, capsys):
    bad = ["{", {"question": "Why?", "answer": ""}]
    project(
        share=0.5,
        mine={"path": put("a.jsonl", [*qa(), *bad]), "licence": "CC0-1.0"},
        cwe={"path": str(Path("data/raw/cwe.xml")), "task": "{task}", "group": "{group}"},
    )
    Path("data/raw/cwe.xml").write_bytes(catalogue(OLD, XSS))
    ingest.main()
    counts = json.loads(Path("data/records/counts.json").read_text())
    assert counts == {
        "cwe": {"rows": 7, "records": 6, "dropped_deprecated": 1},
        "mine": {"rows": 5, "records": 3, "set_aside_empty_answer": 1, "set_aside_not_json": 1},
    }
    records, aside = written("records.jsonl"), written("set_aside.jsonl")
    assert len(records) == 9 and len(aside) == 3
    assert [(row["source"], row["file"], row["line"], row["reason"], row["status"]) for row in aside] == [
        ("cwe", "data/raw/cwe.xml", 1, "deprecated", "dropped"),
        ("mine", "data/raw/a.jsonl", 4, "not_json", "set_aside"),
        ("mine", "data/raw/a.jsonl", 5, "empty_answer", "set_aside"),
    ]
    assert json.loads(aside[2]["raw"]) == bad[1]
    assert records[-1].items() >= {"task": "chat", "line": 3, "licence": "CC0-1.0"}.items()
    told = capsys.readouterr().err
    assert "mine: 3 records of 5 rows" in told and "no record of 'mine': 2 of 5 rows (40.0 %)" in told
    assert re.search(r"not_json +1 +20\.0 % +max_set_aside_share: 0\.5 .*\n +e\.g\. data/raw/a\.jsonl:4: {", told)
    assert re.search(r"deprecated +1 +14\.3 % +no param", told)


def test_too_many_rows_set_aside_stop_and_dropped_ones_do_not(project):
    Path("data/raw/cwe.xml").write_bytes(catalogue(OLD, XSS))
    source = {"path": put("a.jsonl", [*qa(), "{"])}
    project(share=0.25, mine=source, cwe={"path": "data/raw/cwe.xml"})
    ingest.main()
    project(share=0.24, mine=source)
    with pytest.raises(SystemExit, match=re.escape("1 of 4 rows of source 'mine' were set aside (not_json: 1)")):
        ingest.main()


def test_a_file_that_stops_leaves_nothing_half_written(project):
    Path("data/raw/b.csv").write_text('question,answer\nWhy?,"Because.\n')
    project(a={"path": put("a.jsonl", qa())}, b={"path": "data/raw/b.csv"})
    with pytest.raises(SystemExit, match=r"ingest: data/raw/b.csv:2: .*close its quotes"):
        ingest.main()
    assert [path.name for path in Path("data").iterdir()] == ["raw"]


def records_of(path: str, **source) -> list[dict]:
    return list(read_source("mine", Source(path, **source)))


def test_ids_do_not_depend_on_the_order_the_file_or_the_format():
    first = records_of(put("a.jsonl", qa()))
    again = records_of(put("b.jsonl", reversed(qa())))
    alpaca = records_of(put("c.jsonl", [{"instruction": q, "output": a} for q, a in PAIRS]))
    ids = {row["id"] for row in first}
    assert len(ids) == 3
    assert ids == {row["id"] for row in again} == {row["id"] for row in alpaca}


def test_task_and_group_are_filled_from_columns_and_change_the_id():
    path = put("a.jsonl", qa(kind="why", doc=7))
    plain, filled = records_of(path), records_of(path, task="{kind}", group="doc {doc}")
    assert {(row["task"], row["group"]) for row in filled} == {("why", "doc 7")}
    ids = [{row["id"] for row in records_of(path, **more)} for more in ({"task": "{kind}"}, {"group": "{doc}"})]
    assert len(set().union(*ids, {row["id"] for row in plain + filled})) == 12


@pytest.mark.parametrize("doc", [None, "", " "], ids=["null", "empty", "blank"])
def test_a_row_without_a_value_for_its_group_stops(doc):
    path = put("a.jsonl", [*qa(doc="a"), *qa(doc=doc)])
    words = "data/raw/a.jsonl:4: no value for the group '{doc}', as the column 'doc' is empty; fill the column"
    with pytest.raises(Stop, match=re.escape(words)):
        records_of(path, group="{doc}")


def test_a_row_without_the_column_of_its_group_stops_and_without_that_of_its_task_is_set_aside():
    path = put("a.jsonl", [*qa(), *qa(doc="a")])
    with pytest.raises(Stop, match=r"a.jsonl:1: no value for the group '{doc}', as the column 'doc' is not there"):
        records_of(path, group="{doc}")
    assert [row.get("reason") for row in records_of(path, task="{doc}")] == ["missing_task 'doc'"] * 3 + [None] * 3


def test_columns_map_any_table_and_a_row_without_one_is_set_aside():
    path = put("a.jsonl", [{"q": "Why?", "a": "Because.", "n": 5}, {"q": "Why?"}, {"q": "Why?", "a": ["So."], "n": 6}])
    found = records_of(path, columns={"instruction": "{q}", "response": "{a} ({n})"})
    assert found[0]["messages"][1]["content"] == "Because. (5)"
    assert [row.get("reason") for row in found] == [None, "missing_column 'a'", None]
    assert found[2]["messages"][1]["content"] == "So. (6)"


LONG_TEXT = "One two three. Four five.\nSix seven.\n\n" * 20 + "Unbroken" * 9


def test_a_long_text_is_cut_into_pieces_of_one_group_whatever_its_file():
    path = put("a.jsonl", [{"text": LONG_TEXT}, {"text": "Short.\n\n Kept as it is. "}])
    found = records_of(path, chunk_chars=50)
    *pieces, short = found
    texts = [row["messages"][0]["content"] for row in pieces]
    assert len(pieces) > 10 and "".join("".join(texts).split()) == "".join(LONG_TEXT.split())
    assert max(map(len, texts)) <= 50 and texts[-1] == ("Unbroken" * 9)[50:]
    assert len({row["group"] for row in pieces}) == 1 and {row["line"] for row in pieces} == {1}
    assert short["messages"][0]["content"] == "Short.\n\n Kept as it is. " and short["group"] != pieces[0]["group"]


def test_a_text_is_cut_at_paragraphs_before_lines_sentences_and_words():
    assert cut_text("a a.\n\nb. b\nb", 9) == ["a a.", "b. b\nb"]
    assert cut_text("a a. b", 5) == ["a a.", "b"]
    assert cut_text("a a\nb b", 5) == ["a a", "b b"]
    assert cut_text("aa bb cc", 5) == ["aa bb", "cc"]
    assert cut_text("aa bb cc", 8) == ["aa bb cc"]
    assert cut_text("aabbcc", 4) == ["aabb", "cc"]


SENTENCES = {
    "Chinese": "雨停了以后,街上慢慢有了行人。孩子们跑出来踩水!",
    "Japanese": "雨がやむと、町に人が戻った。「そうか。」と言った。",
    "Thai": "เมื่อฝนหยุดตกผู้คนก็ออกมาเดินบนถนน", "Lao": "ເມື່ອຝົນຢຸດຕົກຜູ້ຄົນກໍອອກມາຍ່າງຕາມຖະໜົນ", "Khmer": "ពេលភ្លៀងឈប់មនុស្សចេញមកដើរលេង។",
    "Burmese": "မိုးတိတ်သောအခါလူများထွက်လာကြသည်။", "Tibetan": "ཆར་པ་ཆད་རྗེས་མི་རྣམས་ཕྱིར་ཐོན་བྱུང་།",
    "Hindi": "बारिश रुकने पर लोग बाहर आए।", "Urdu": "بارش رکنے پر لوگ باہر آئے۔", "base64": "aGVsbG8gd29ybGQ",
}  # fmt: skip


@pytest.mark.parametrize("script", SENTENCES)
def test_a_text_of_any_script_is_cut_to_the_size_and_none_of_it_is_lost(script):
    text = SENTENCES[script] * 100
    pieces = cut_text(text, 300)
    assert max(map(len, pieces)) <= 300 and len(pieces) <= 1.3 * len(text) / 300 + 1
    assert "".join("".join(pieces).split()) == "".join(text.split())
    assert not [
        piece for piece in pieces if unicodedata.category(piece[0]).startswith("M")
    ]  # no sign without its letter
    if SENTENCES[script][-1] in "。!།။។۔":
        assert {piece[-1] for piece in pieces} <= set("。!།။។۔」")


def test_the_answers_of_weight_0_reach_the_records_and_faulty_weights_are_set_aside():
    said = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because.", "weight": 0}]
    last = [{"role": "user", "content": "Really?"}, {"role": "assistant", "content": "Yes.", "weight": 1}]
    found = records_of(put("a.jsonl", [{"messages": said + last}, {"messages": said}]))
    assert [message.get("weight") for message in found[0]["messages"]] == [None, 0, None, None]
    assert found[1]["reason"] == "nothing_to_learn"


def test_a_declared_format_is_kept_to():
    path = put("a.jsonl", [*qa(), {"text": "Once."}])
    assert [row.get("reason") for row in records_of(path, format="text")] == ["other_format"] * 3 + [None]


# ---- preview and convert ----

TOOLS = [
    {"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "I shall ask."},
    {"role": "tool", "content": "four"}, {"role": "assistant", "content": "It is 4."},
]  # fmt: skip


def previewed(tiny_model, path: str, *more: str) -> str:
    done = run_tunelock("preview", path, "--model", tiny_model, *more)
    assert done.exit_code == 0
    return done.stdout


def test_preview_shows_format_counts_three_records_and_what_is_learnt(project, tiny_model):
    project()
    out = previewed(tiny_model, put("a.jsonl", [*qa(), *qa(), "{"]))
    assert "data/raw/a.jsonl: qa\n7 rows read: 6 records, 1 left out\n    not_json: 1\n" in out
    assert re.findall(r"--- data/raw/a.jsonl, row (\d), task chat", out) == ["1", "2", "3"]
    assert re.findall("⟦(.*?)⟧", out) == [f"{answer}<|im_end|>" for _, answer in PAIRS]
    assert "Why?" in re.sub("⟦.*?⟧", "", out)


def test_preview_of_several_turns_supervises_each_answer_and_not_the_tool(project, tiny_model):
    project()
    out = previewed(tiny_model, put("a.jsonl", [{"messages": TOOLS}]))
    assert re.findall("⟦(.*?)⟧", out) == ["I shall ask.<|im_end|>", "It is 4.<|im_end|>"]
    assert "four" in re.sub("⟦.*?⟧", "", out)


def test_preview_shows_what_weights_and_max_turns_leave_to_learn_from(project, tiny_model):
    project(max_turns=1)
    asked = [{"role": role, "content": f"{role} {n}"} for n in range(3) for role in ("user", "assistant")]
    asked[5]["weight"] = 0
    out = previewed(tiny_model, put("a.jsonl", [{"messages": asked}]))
    assert re.findall("⟦(.*?)⟧", out) == ["assistant 1<|im_end|>"]
    assert "turns left out by max_turns: 1" in out and "user 0" not in out and "user 2" not in out


def test_preview_of_a_raw_text_supervises_all_of_it(project, tiny_model):
    project()
    Path("data/raw/a.txt").write_text("Once upon a time. " * 20)
    out = previewed(tiny_model, "data/raw/a.txt")
    assert "data/raw/a.txt: text" in out and "task text, group data/raw/a.txt" in out
    [learnt] = re.findall(r"⟦(.*)⟧", out)
    assert learnt.startswith("Once upon a time.") and "longer than max_length 40" in out


def test_preview_maps_columns_looks_outside_data_raw_and_lists_tokens(project, tiny_model):
    project()
    Path("other.csv").write_text("f;a\nWhy?;Because.\n")
    mapping = json.dumps({"instruction": "{f}", "response": "{a}"})
    out = previewed(tiny_model, "other.csv", "--delimiter", ";", "--columns", mapping, "--tokens")
    assert "other.csv: mapped by columns" in out
    assert re.search(r'\d+ \* "Because"', out) and re.search(r'\d+   "Why"', out)


def test_preview_without_a_tokenizer_shows_messages_and_says_how_to_get_one(project):
    project()
    done = run_tunelock("preview", put("a.jsonl", qa()), "--model", "nowhere")
    assert '"content": "Because."' in done.stdout and "dvc repro base" in unwrapped(done.stderr)


def test_preview_gives_a_script_the_same_as_json(project, tiny_model):
    project()
    found = json.loads(previewed(tiny_model, put("a.jsonl", [*qa(), "{"]), "--json"))
    assert found["formats"] == {"data/raw/a.jsonl": "qa"}
    assert (found["records"], found["left_out"]) == (3, {"not_json": 1})
    assert [example["messages"][1]["content"] for example in found["examples"]] == [answer for _, answer in PAIRS]
    assert all(0 < example["supervised_tokens"] < example["tokens"] for example in found["examples"])


def test_preview_of_what_cannot_be_read_stops_or_says_so(project, tiny_model):
    project()
    done = run_tunelock("preview", put("a.jsonl", ["{"]), "--model", str(tiny_model))
    assert "no row can be read" in done.stdout and done.exit_code == 1
    assert "no row of data/raw/a.jsonl becomes a record" in done.stderr
    done = run_tunelock("preview", "data/raw/b.jsonl")
    assert done.exit_code == 1 and done.stderr.startswith("tunelock preview: data/raw/b.jsonl is missing")
    done = run_tunelock("preview", "data/raw/a.jsonl", "--columns", '["{f}"]')
    assert done.exit_code == 2 and "give a mapping of texts" in unwrapped(done.stderr)
    done = run_tunelock("preview", "data/raw/a.jsonl", "--columns", '{"instuction": "{f}"}')
    assert done.exit_code == 2 and "'instuction' is not among instruction, context" in unwrapped(done.stderr)
    done = run_tunelock("preview", "data/raw/a.jsonl", "--format", "alpca")
    assert done.exit_code == 2 and "'alpca' is not among alpaca, chatml" in unwrapped(done.stderr)


def converted(path: str, to: str, *more: str) -> tuple[list[dict], str]:
    """The rows that come out, and what is said on stderr apart from the progress bar."""
    done = run_tunelock("convert", path, "--to", to, *more)
    assert done.exit_code == 0
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr.rpartition("\r")[2]


def test_convert_goes_round_through_every_format_of_single_questions():
    rows = qa()
    for number, to in enumerate(["chatml", "sharegpt", "alpaca", "instruction", "completion", "qa"]):
        rows, _ = converted(put(f"{number}.jsonl", rows), to)
        assert len(rows) == len(PAIRS)
    assert rows == qa()


def test_convert_keeps_turns_and_tools_and_says_what_it_left_out():
    path = put("a.jsonl", [{"messages": TOOLS}, {"messages": TOOLS[:2]}, "{"])
    turned, err = converted(path, "sharegpt")
    assert "left out: 1 not_json" in err
    back, err = converted(put("b.jsonl", turned), "chatml")
    assert back == [{"messages": TOOLS}, {"messages": TOOLS[:2]}] and "left out" not in err
    single, err = converted(path, "alpaca")
    assert single == [{"instruction": "2+2?", "input": "", "output": "I shall ask."}]
    assert "left out: 1 does_not_fit, 1 not_json" in err


def test_convert_reads_any_table_in_any_encoding():
    Path("other.csv").write_text("f;a\nGröße?;Groß 😀.\n", encoding="utf-16")
    mapping = json.dumps({"instruction": "{f}", "response": "{a}"})
    options = ["--delimiter", ";", "--encoding", "utf-16", "--columns", mapping]
    rows, _ = converted("other.csv", "qa", *options)
    assert rows == [{"question": "Größe?", "answer": "Groß 😀."}]


def test_convert_into_a_pipe_that_closes_ends_quietly():
    path = put("a.jsonl", qa() * 20_000)
    command = f"set -o pipefail; {shlex.quote(sys.executable)} -m tunelock convert {path} --to chatml | head -n 1"
    done = subprocess.run(
        ["bash", "-c", command], env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)["messages"][1]["content"] == "Because."
    assert "BrokenPipe" not in unwrapped(done.stderr)


def test_convert_of_what_cannot_be_read_stops():
    done = run_tunelock("convert", "other.jsonl", "--to", "qa")
    assert done.exit_code == 1 and done.stderr.startswith("tunelock convert: other.jsonl is missing")


def test_each_file_of_a_source_has_its_own_format():
    put("a.jsonl", qa())
    put("b.jsonl", [{"text": "Once."}])
    found = defaultdict(set)
    for row in records_of("data/raw"):
        found[row["file"]].add(row["task"])
    assert found == {"data/raw/a.jsonl": {"chat"}, "data/raw/b.jsonl": {"text"}}
