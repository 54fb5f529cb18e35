"""Cleaning: each record is mended, kept, dropped or set aside for a stated reason, and none is lost from the books."""

import json
import shutil
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stages import clean as module
from tunelock.cleaning.judgement import WITHHELD, Judgement, judge_record
from tunelock.cleaning.ledger import BOOKS, Ledger
from tunelock.cleaning.record_rules import RuleParams
from tunelock.records import parallel
from tunelock.records.parallel import cut_chunks
from tunelock.records.record import make_messages, make_record
from tunelock.run.errors import Stop
from tunelock.run.files import format_json_line

PARAMS = {
    "repair_text": True,
    "min_response_chars": 3,
    "max_response_chars": 200,
    "max_record_tokens": None,
    "languages": ["en"],
    "alignment_rules": ["echo", "refusal", "too_short_for_question", "wrong_script"],
    "pii": {"email": "mask", "phone": "mask", "card": "mask", "iban": "mask", "ip": "flag", "secret": "drop"},
    "near_duplicate_threshold": 0.8,
    "conflicting_answers": "set_aside",
    "max_dropped_share": 1.0,
    "sources": {},
}
MAIL, IP, SECRET = "jo.doe@acme-mail.com", "185.199.108.153", "ghp_16C7e42F292c6912E7710c838347Ae178B4a"
ASKED = "What should a user of this programme do next?"
GERMAN = "Wenn der Benutzer die Eingabe nicht prüft, kann ein Angreifer beliebige Befehle auf dem Rechner ausführen."


def chat(answer: str = "Because it is so.", question: str = ASKED, line: int = 1, source: str = "mine") -> dict:
    return make_record(make_messages(question, "", answer), source, "data/raw/a.jsonl", line, "chat", None, "MIT")


def text(content: str, line: int = 1) -> dict:
    messages = [{"role": "text", "content": content}]
    return make_record(messages, "mine", "data/raw/a.txt", line, "text", "data/raw/a.txt", None)


def fault(line: int, reason: str = "not_json", raw: str = "{", source: str = "mine") -> dict:
    """A row that ingest set aside."""
    row = {"source": source, "file": "data/raw/a.jsonl", "line": line, "raw": raw}
    return {**row, "reason": reason, "status": "set_aside"}


def judged(record: dict, **changes) -> Judgement:
    values = {key: value for key, value in (PARAMS | changes).items() if key in RuleParams._fields}
    return judge_record(record, RuleParams(**values, **({} if "tokenizer" in changes else {"tokenizer": ""})))


# ---- the rules of one record ---------------------------------------------------------------------


def padded(answer: str) -> dict:
    return {
        **chat(),
        "messages": [{"role": "user", "content": ASKED}, {"role": "assistant", "content": f" {answer}\n"}],
    }


def asked_long(answer: str) -> dict:
    return chat(answer, "Explain at length what happened then. " + "The server wrote one line to its log. " * 40)


@pytest.mark.parametrize(
    ("unfit", "near_miss", "status", "reason", "off"),
    [
        (chat("No"), chat("Yes"), "dropped", "too_short", {"min_response_chars": 1}),
        (padded("No"), padded("Yes"), "dropped", "too_short", {"min_response_chars": 1}),
        (chat("x" * 201), chat("x" * 200), "dropped", "too_long", {"max_response_chars": 201}),
        (chat(GERMAN), chat("Danke", "Wie geht es?"), "dropped", "language", {"languages": None}),
        (chat(GERMAN, GERMAN[:99]), chat(), "dropped", "language", {"languages": ["en", "de"]}),
        (chat(ASKED), chat(ASKED + " Stop, then start it again."), "dropped", "echo", {"alignment_rules": ["refusal"]}),
        (
            chat("I'm sorry, but I cannot assist with that."),
            chat("The user cannot assist with that."),
            "dropped", "refusal", {"alignment_rules": ["echo"]},
        ),
        (
            asked_long("7"), asked_long("The log filled the disk."), "dropped", "too_short_for_question",
            {"alignment_rules": []},
        ),
        (
            chat("Это предложение написано кириллицей."), chat("Это"), "dropped", "wrong_script",
            {"alignment_rules": []},
        ),
        (chat("half \ud83d"), chat("whole 😀"), "set_aside", "bad_encoding", None),
        (chat("lost \ufffd"), chat("found ?"), "set_aside", "bad_encoding", None),
        (chat("why", "lost \ufffd"), chat("why", "found ?"), "set_aside", "bad_encoding", None),
        (chat("\x00\x07"), chat("\x00yes\x07"), "set_aside", "empty_answer", None),
        (chat("yes", "\ufeff"), chat("yes", "\ufeffwhy"), "set_aside", "empty_turn", None),
        (chat(f"Use {SECRET} now."), chat("Use ghp_xxxxxxxx now."), "dropped", "pii_secret", {"pii": {}}),
        (text("x"), text("xyz"), "dropped", "too_short", {"min_response_chars": 1}),
    ],
)  # fmt: skip
def test_each_rule_takes_its_smallest_record_and_no_other(unfit, near_miss, status, reason, off):
    few = {"min_response_chars": 1} if reason == "too_short_for_question" else {"languages": None}
    few = {} if reason == "language" else few
    assert judged(unfit, **few)[1:3] == (status, reason)
    assert judged(near_miss, **few)[1:3] == ("kept", "")
    if off:
        assert judged(unfit, **(few | off))[1:3] == ("kept", "")


def test_raw_texts_pass_the_rules_of_conversations():
    for content in (ASKED, "I'm sorry, but I cannot assist with that.", "Three words only"):
        assert judged(text(content)) == (text(content), "kept", "", (), (), None)


def test_a_conversation_of_several_turns_passes_and_one_that_mending_empties_does_not():
    messages = [*make_messages("Why?", "", "Because.", "Be brief."), *make_messages("And then?", "", "Nothing more.")]
    record = make_record(messages, "mine", "a", 1, "chat", None, None)
    assert judged(record).status == "kept"
    messages[3] = {"role": "user", "content": "\x00"}
    assert judged({**record, "messages": messages})[1:3] == ("set_aside", "empty_turn")


def test_tokens_are_those_of_the_base_models_tokenizer(tiny_model, tokenizer):
    path, record = str(tiny_model / "tokenizer.json"), chat("Tokenisation isn't counting words.")
    size = len(tokenizer.encode(f"{ASKED}\n\nTokenisation isn't counting words.", add_special_tokens=False))
    assert judged(record, max_record_tokens=size, tokenizer=path).status == "kept"
    assert judged(record, max_record_tokens=size - 1, tokenizer=path)[1:3] == ("dropped", "too_many_tokens")


def test_without_a_limit_no_tokenizer_is_read():
    assert judged(chat(), tokenizer="no/such/file").status == "kept"


# ---- repairs and personal data -------------------------------------------------------------------


def test_a_repair_is_named_and_what_stood_before_is_kept():
    verdict = judged(chat("A cafÃ©\r\nin town."))
    assert verdict.record["messages"][-1]["content"] == "A café\nin town."
    assert verdict.repairs == ("mojibake", "line_ends")
    assert verdict.before[-1]["content"] == "A cafÃ©\r\nin town."


def test_repairs_can_be_switched_off_and_those_of_the_reader_are_told_all_the_same():
    assert judged(chat("A cafÃ© in town."), repair_text=False).record["messages"][-1]["content"] == "A cafÃ© in town."
    verdict = judged({**chat(), "repairs": ["bom"]}, repair_text=False)
    assert verdict.repairs == ("bom",)
    assert "repairs" not in verdict.record


@pytest.mark.parametrize(
    ("action", "said", "status", "flags"),
    [
        ("mask", "Write to [EMAIL] now.", "kept", None),
        ("drop", "Write to [EMAIL] now.", "dropped", None),
        ("flag", f"Write to {MAIL} now.", "kept", ["email"]),
        ("off", f"Write to {MAIL} now.", "kept", None),
    ],
)
def test_personal_data_is_masked_dropped_flagged_or_let_be(action, said, status, flags):
    verdict = judged(chat(f"Write to {MAIL} now."), pii={"email": action})
    assert verdict.record["messages"][-1]["content"] == said
    assert verdict[1:3] == (status, "pii_email" if action == "drop" else "")
    assert verdict.record.get("flags") == flags
    assert verdict.found == (() if action == "off" else (("email", 1, 9, 9 + len(MAIL)),))


def test_offsets_are_those_of_the_mended_text():
    verdict = judged(chat(f"A cafÃ©: {MAIL}"), pii={"email": "mask"})
    [(_, _, start, end)] = verdict.found
    assert f"A café: {MAIL}"[start:end] == MAIL


def test_what_only_a_repair_makes_visible_is_not_kept_from_before_it():
    verdict = judged(chat("Write to jo.doe@acme\x00-mail.com now."))
    assert verdict.record["messages"][-1]["content"] == "Write to [EMAIL] now."
    assert [message["content"] for message in verdict.before] == [ASKED, WITHHELD]


# ---- the stage -----------------------------------------------------------------------------------


class Result(dict):
    """The rows of each output file by its name, and the funnel."""

    def __init__(self, folder: Path):
        super().__init__(
            {n: [json.loads(line) for line in (folder / f"{n}.jsonl").read_bytes().splitlines()] for n in BOOKS}
        )
        self.bytes = b"".join(file.read_bytes() for file in folder.iterdir())
        self.funnel = json.loads(Path("metrics/data.json").read_text())


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run the stage on these records and rows that ingest set aside."""
    monkeypatch.chdir(tmp_path)
    entry = {"cmd": "x", "deps": ["data/records"], "params": [*PARAMS]}
    Path("dvc.yaml").write_text(json.dumps({"stages": {"clean": entry}}))
    Path("data/records").mkdir(parents=True)

    def run(records: list[dict], faults: list[dict] = (), lost: int = 0, **params) -> Result:
        counts = Counter(row["source"] for row in (*records, *faults))
        Path("params.yaml").write_text(json.dumps(PARAMS | params))
        Path("data/records/records.jsonl").write_bytes(b"".join(map(format_json_line, records)))
        Path("data/records/set_aside.jsonl").write_bytes(b"".join(map(format_json_line, faults)))
        sizes = {name: {"rows": count + lost} for name, count in counts.items()} or {"mine": {"rows": lost}}
        Path("data/records/counts.json").write_text(json.dumps(sizes))
        module.main()
        return Result(Path("data/clean"))

    return run


def test_every_row_goes_to_one_book_and_the_ledger_says_where(run):
    rows = [
        chat("Because of the rain.", line=1),
        chat("BECAUSE of the rain.", line=2),
        chat("No", line=3),
        chat("lost \ufffd", "Where is it?", line=4),
        chat("The first of two answers.", "Which one?", line=5),
        chat("Another one of them.", "Which one?", line=6),
        chat("A cafÃ© in the town.", "Where shall we meet?", line=7),
        text("A raw text of some words.", line=8),
    ]
    found = run(rows, [fault(9), fault(10, "deprecated") | {"status": "dropped"}])
    ledger = {row["line"]: (row["status"], row.get("rule")) for row in found["ledger"]}
    first, second = sorted((1, 2), key=lambda line: rows[line - 1]["id"][-16:])
    assert ledger == {
        first: ("kept", None),
        second: ("dropped", "duplicate"),
        3: ("dropped", "too_short"),
        4: ("set_aside", "bad_encoding"),
        5: ("set_aside", "conflicting_answers"),
        6: ("set_aside", "conflicting_answers"),
        7: ("kept", None),
        8: ("kept", None),
        9: ("set_aside", "not_json"),
        10: ("dropped", "deprecated"),
    }
    assert all(row["file"].startswith("data/raw/a.") and row["source"] == "mine" for row in found["ledger"])
    by_line = {row["line"]: row for row in found["ledger"]}
    assert by_line[second]["because"] == rows[first - 1]["id"]
    assert by_line[5]["because"] == rows[5]["id"]
    assert by_line[6]["because"] == rows[4]["id"]
    assert [row["line"] for row in found["records"]] == [line for line in range(1, 9) if ledger[line][0] == "kept"]
    assert {row["line"]: row["reason"] for row in found["dropped"] + found["set_aside"]} == {
        line: rule for line, (_, rule) in ledger.items() if rule
    }


def test_the_funnel_counts_by_source_reason_and_repair(run):
    found = run(
        [
            chat("A cafÃ© in the town."),
            chat("No", "Is it?", source="other"),
            chat(f"Write to {MAIL} or {IP}.", "To whom?", source="other"),
        ],
        [fault(1, source="other"), fault(2, "empty_answer", source="other")],
    ).funnel
    assert found["sources"]["mine"] == {
        "rows": 1, "kept": 1, "repaired": 1, "repairs": {"mojibake": 1}, "dropped": {}, "set_aside": {}, "pii": {},
    }  # fmt: skip
    other = found["sources"]["other"]
    assert other["dropped"] == {"too_short": 1}
    assert other["set_aside"] == {"empty_answer": 1, "not_json": 1}
    assert other["pii"] == {"email": 1, "ip": 1}
    assert (found["total"]["rows"], found["total"]["kept"], found["tasks"]) == (5, 2, {"chat": 2})


def test_before_and_after_of_a_repair_are_kept_even_of_a_row_that_goes(run):
    found = run([chat("A cafÃ© in the town.", line=1), chat("\ufeffNo", "Is it?", line=2)])
    changes = {
        row["line"]: (row["repairs"], row["before"][-1]["content"], row["after"][-1]["content"])
        for row in found["repaired"]
    }
    assert changes == {
        1: (["mojibake"], "A cafÃ© in the town.", "A café in the town."),
        2: (["control_characters"], "\ufeffNo", "No"),
    }
    assert found.funnel["total"]["repaired"] == 2


@pytest.mark.parametrize("action", ["mask", "drop"])
@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("email", MAIL), ("phone", "+44 20 7946 1234"), ("card", "4111 1111 1111 1111"),
        ("iban", "GB33BUKB20201555555555"), ("ip", IP), ("national", "536-22-8726"), ("secret", SECRET),
    ],
)  # fmt: skip
def test_the_value_of_personal_data_is_in_no_output(run, action, kind, value):
    rows = [
        chat(f"Take {value} for it.", line=1),
        chat(f"CafÃ©: {value} is it.", "And the repaired one?", line=2),
        chat(f"{value}; " * 30, "And a dropped one?", line=3),
        chat(f"lost \ufffd {value}", "And one set aside?", line=4),
        chat("An ordinary answer.", f"Who is it, {value} perhaps?", line=5),
        chat("An ordinary row stays.", "What remains?", line=6),
    ]
    found = run(rows, [fault(7, raw=f'{{"text": "{value}"')], pii={kind: action}, languages=None, alignment_rules=[])
    assert value.encode() not in found.bytes
    assert {row["line"] for row in found["pii"]} == {1, 2, 3, 4, 5, 7}
    assert {row["kind"] for row in found["pii"]} == {kind}
    first = next(row for row in found["pii"] if row["line"] == 1)
    assert (first["message"], first["start"], first["end"]) == (1, 5, 5 + len(value))
    assert found.funnel["total"]["pii"] == {kind: len(found["pii"])}
    assert {row["line"] for row in found["records"]} == ({1, 2, 5, 6} if action == "mask" else {6})


def test_rows_that_masking_makes_equal_are_duplicates(run):
    found = run([chat("Write to jo@acme-mail.com now."), chat("Write to mo@acme-mail.com now.", line=2)])
    assert found.funnel["total"]["dropped"] == {"duplicate": 1}


def test_near_duplicates_above_a_share_are_warned_of(run, capsys):
    said = "The wind that blows over the wide sea brings the rain to the hills."
    asked = "Where does all the rain come from that falls on the hills behind the wide sea, dear "
    rows = [chat(said, f"{asked}{name}?", n) for n, name in enumerate(["Ann", "Ben", "Cleo", "Dan", "Eve"])]
    found = run(rows, conflicting_answers="keep")
    assert found.funnel["total"]["dropped"] == {"near_duplicate": 4}
    assert "warning: 4 of 5 rows of 'mine' are near-duplicates" in capsys.readouterr().err
    assert run(rows, conflicting_answers="keep", near_duplicate_threshold=None).funnel["total"]["kept"] == 5


def test_exact_copies_above_a_share_are_warned_of(run, capsys):
    rows = [chat(f"Because of reason {n}.", f"Why is it so in the case {n}?", n) for n in range(8)]
    assert run([*rows, rows[0] | {"line": 9}]).funnel["total"]["dropped"] == {"duplicate": 1}
    assert "warning: 1 of 9 rows of 'mine' are exact copies of others" in capsys.readouterr().err
    run([*rows, chat("Quite another.", "What else?", 9), *rows[:1]])
    assert "warning" not in capsys.readouterr().err


def test_answers_that_hold_html_are_warned_of(run, capsys):
    rows = [chat(f"<p>Because of reason {n}.</p>", f"Why is it so in the case {n}?", n) for n in range(8)]
    assert run(rows).funnel["total"]["kept"] == 8
    assert "warning: source 'mine': 8 of 8 answers hold HTML such as <p>" in capsys.readouterr().err


# ---- what is lost is told ------------------------------------------------------------------------


def asked(number: int, answer: str, source: str = "mine") -> dict:
    return chat(answer, f"What happens in the case of {'abcdefghijklmnopqrstuvwxyz'[number] * 5}?", number + 1, source)


def test_rows_that_rules_drop_are_shown_with_the_param_and_a_row(run, capsys):
    rows = [asked(n, "No" if n < 2 else f"Because of {n}.") for n in range(20)]
    run([*rows, asked(20, f"Use {SECRET} now.")], max_dropped_share=0.2)
    lines = capsys.readouterr().err.splitlines()
    place = lines.index("left out of 'mine': 3 of 21 rows (14.3 %)")
    assert lines[place + 2].split() == ["too_short", "2", "9.5", "%", "min_response_chars:", "3"]
    assert lines[place + 3].strip().startswith(f"e.g. {rows[0]['id']}, data/raw/a.jsonl:1: What happens")
    assert lines[place + 4].split() == ["pii_secret", "1", "4.8", "%", "pii:", "secret:", "drop"]


def test_above_a_share_the_rules_stop_with_the_table_and_the_rows_stand_in_the_books(run):
    rows = [asked(n, "No" if n < 3 else f"Because of {n}.") for n in range(20)]
    assert run(rows, max_dropped_share=0.15).funnel["total"]["dropped"] == {"too_short": 3}
    with pytest.raises(SystemExit, match=r"3 of 20 rows of source 'mine' .* max_dropped_share 0\.14") as stop:
        run(rows, max_dropped_share=0.14)
    assert "min_response_chars: 3" in str(stop.value) and f"{rows[0]['id']}, data/raw/a.jsonl:1" in str(stop.value)
    assert len(Result(Path("data/clean"))["dropped"]) == 3


def test_a_small_source_that_loses_its_rows_is_not_hidden_by_a_large_one(run):
    rows = [asked(n, f"Because of {n}.") for n in range(20)] + [asked(n, "No", "other") for n in (20, 21)]
    with pytest.raises(SystemExit, match="2 of 2 rows of source 'other'"):
        run(rows, max_dropped_share=0.5)


def test_copies_do_not_count_as_lost(run):
    found = run([chat(line=line) for line in range(1, 20)], max_dropped_share=0.0)
    assert found.funnel["total"]["dropped"] == {"duplicate": 18}


def test_of_identical_rows_one_stays_and_a_single_row_stays(run):
    found = run([chat(line=line) for line in range(1, 8)])
    assert [row["line"] for row in found["records"]] == [1]
    assert found.funnel["total"]["dropped"] == {"duplicate": 6}
    assert run([chat()]).funnel["total"]["kept"] == 1


def test_a_token_limit_takes_the_tokenizer_of_the_base_model(run, tiny_model):
    Path("models/base").mkdir(parents=True)
    shutil.copy(tiny_model / "tokenizer.json", "models/base")
    found = run([chat("So."), chat("Because of the rain. " * 5, "Why then?", line=2)], max_record_tokens=15)
    assert found.funnel["total"]["dropped"] == {"too_many_tokens": 1}


@pytest.mark.parametrize(
    ("records", "faults", "told"),
    [([], [], "of 0: "), ([chat("No")], [fault(2)], '"too_short": 1'), ([], [fault(1)], '"not_json": 1')],
    ids=["no row came in", "all dropped", "all set aside"],
)
def test_nothing_left_stops_with_the_funnel_and_leaves_no_output(run, records, faults, told):
    with pytest.raises(SystemExit, match=r"clean: no row is left .*loosen the rules") as stop:
        run(records, faults)
    assert told in str(stop.value)
    assert not Path("data/clean").exists()
    assert not Path("data/clean.partial").exists()


@pytest.mark.parametrize("lost", [1, -1], ids=["lost", "booked twice"])
def test_a_row_that_is_lost_or_invented_stops(run, lost):
    with pytest.raises(SystemExit, match=f"source 'mine' had {2 + lost} rows, but 2 are in the ledger"):
        run([chat()], [fault(2)], lost=lost)
    assert not Path("data/clean").exists()


def test_a_row_of_a_source_that_was_not_ingested_stops(tmp_path):
    with ExitStack() as files:
        ledger = Ledger(tmp_path, files)
        ledger.keep_record(chat(source="strange"))
        with pytest.raises(Stop, match="source 'strange' had 0 rows, but 1"):
            ledger.sum_up({})


@given(st.lists(st.binary(max_size=9).map(lambda line: line.replace(b"\n", b"")), max_size=9), st.integers(1, 30))
def test_the_pieces_of_a_file_hold_each_line_once_and_whole(tmp_path_factory, lines, size):
    file = tmp_path_factory.getbasetemp() / "lines"
    file.write_bytes(b"".join(line + b"\n" for line in lines))
    pieces = [file.read_bytes()[start:stop] for start, stop in cut_chunks(file, size)]
    assert b"".join(pieces) == file.read_bytes()
    assert all(piece.endswith(b"\n") for piece in pieces)


def test_several_processes_keep_the_order_of_the_lines(tmp_path, monkeypatch):
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b"".join(format_json_line(chat(f"{number}\u2028\r{number}")) for number in range(40)))
    lines = file.read_bytes().split(b"\n")[:-1]
    monkeypatch.setattr(parallel, "cut_chunks", lambda path: cut_chunks(path, 300))
    monkeypatch.setattr(parallel.os, "cpu_count", lambda: 2)
    found = list(parallel.map_lines(list, file, "test"))
    assert len(found) > 8
    assert [line for piece in found for line in piece] == [line + b"\n" for line in lines]


CONTENT = st.one_of(
    st.text(max_size=40),
    st.sampled_from(
        ["yes", "no", "No.", "a cafÃ©", "\ufeff", "lost \ufffd", "\ud83d", MAIL, f"{SECRET} is it", GERMAN]
    ),
)
PAIRS = st.lists(st.tuples(CONTENT, CONTENT, st.sampled_from(["one", "two"]), st.booleans()), max_size=25)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(PAIRS, st.integers(0, 3), st.sampled_from(["set_aside", "keep"]), st.sampled_from([None, 0.8]))
def test_every_row_of_every_source_is_accounted_for(run, pairs, faults, conflicting, threshold):
    rows = [
        text(answer, line) | {"source": source, "id": f"{source}-{line:016x}"} if is_text
        else chat(answer, question, line, source)
        for line, (question, answer, source, is_text) in enumerate(pairs)
    ]  # fmt: skip
    rows.append(chat("This row is always kept.", "Which row is this one?", len(pairs), "one"))
    aside = [fault(len(rows) + number, source="two") for number in range(faults)]
    found = run(rows, aside, conflicting_answers=conflicting, near_duplicate_threshold=threshold)
    ledger = Counter((row["source"], row["line"]) for row in found["ledger"])
    assert ledger == Counter((row["source"], row["line"]) for row in rows + aside)
    for source, seen in found.funnel.items():
        if source in ("one", "two"):
            assert seen["rows"] == sum(row["source"] == source for row in rows + aside)
            assert seen["rows"] == seen["kept"] + sum(seen["dropped"].values()) + sum(seen["set_aside"].values())
    for row in found["ledger"]:
        assert row["file"]
        assert row["status"] == "kept" or row["rule"]
    for status, book in (("kept", "records"), ("dropped", "dropped"), ("set_aside", "set_aside")):
        places = [(row["source"], row["line"]) for row in found["ledger"] if row["status"] == status]
        assert sorted(places) == sorted((row["source"], row["line"]) for row in found[book])
    assert MAIL.encode() not in found.bytes
    assert SECRET.encode() not in found.bytes
