"""What `tunelock start` makes of tables from programs and countries that its author does not know."""

import random
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.previewing.test_start import ROWS, guess, make_rows, write_sentence
from tunelock.previewing.start_labels import choose_patterns
from tunelock.previewing.start_names import KEYS, has_word
from tunelock.previewing.start_project import look_at_paths
from tunelock.run.errors import Stop


@pytest.mark.parametrize("name", ["Kundennr", "KUNDENNUMMER", "customerid", "Vertragsnr", "user_id", "顧客"])
def test_a_customer_is_a_group_however_its_name_is_written(name):
    rows = [
        {name: 1000 + number % 30, "Frage": row["question"], "Antwort": row["answer"]}
        for number, row in enumerate(make_rows("faq"))
    ]
    assert guess(rows).entry["group"] == f"{{{name}}}"


@pytest.mark.parametrize("name", ["paid", "valid", "piano", "casino", "humid", "void"])
def test_a_word_that_happens_to_end_like_a_number_is_none(name):
    assert not has_word(name, KEYS)


def test_who_wrote_the_answers_is_no_group():
    rows = [{**row, "agent_id": f"a{number % 20}"} for number, row in enumerate(make_rows("faq"))]
    assert guess(rows).entry["group"] == "{customer_id}"


@pytest.mark.parametrize(
    "asked, said", [("السؤال", "الجواب"), ("質問", "回答"), ("Anfrage", "Lösung"), ("query", "resolution")]
)
def test_question_and_answer_are_known_by_name(asked, said):
    rows = [{said: row["answer"], asked: row["question"]} for row in make_rows("faq")]
    found = guess(rows)
    assert found.doubts == []
    assert found.entry["columns"] == {"instruction": f"{{{asked}}}", "response": f"{{{said}}}"}


def test_values_that_json_has_not_are_read_as_ingest_reads_them(tmp_path: Path):
    """Dates, decimals, bytes and lists of dates, as a database or pandas writes them into Parquet."""
    dice = random.Random(1)
    rows = [
        {
            "question": f"How do I {write_sentence(dice)}",
            "answer": write_sentence(dice),
            "opened": datetime(2024, 1, 1 + number % 28, 12),
            "day": date(2024, 1, 1 + number % 28),
            "clock": time(number % 24),
            "price": Decimal("12.50"),
            "share": float("inf") if number else float("nan"),
            "picture": b"\xff\xd8",
            "visits": [{"on": date(2024, 1, 1)}],
        }
        for number in range(ROWS)
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "cases.parquet")
    [look] = look_at_paths([tmp_path / "cases.parquet"], lambda *_: "").looks
    assert len(look.records) == ROWS and not look.left_out


def test_a_table_whose_answers_hold_html_is_warned_of(tmp_path: Path):
    rows = [{**row, "answer": f"<p>{row['answer']}</p>"} for row in make_rows("faq")]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "faq.parquet")
    [look] = look_at_paths([tmp_path / "faq.parquet"], lambda *_: "").looks
    assert [warning for warning in look.guess.warnings if f"{len(rows)} of {len(rows)} answers hold HTML" in warning]


@pytest.mark.parametrize("answer", ["Red", "red"])
def test_answers_in_another_case_than_their_options_are_warned_of(tmp_path: Path, answer: str):
    rows = [{"question": f"{row['question']}\n- Red\n- Blue", "answer": answer} for row in make_rows("faq")]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "colours.parquet")
    choices = choose_patterns(look_at_paths([tmp_path / "colours.parquet"], lambda *_: "").looks)
    assert choices.values["choice_patterns"] == ({"chat": "^- (.+)$"} if answer == "Red" else None)
    assert ["in case alone" in warning for warning in choices.warnings] == [True] * (answer == "red")


def test_a_score_of_the_answer_is_not_the_answer():
    rows = [
        {**row, "score_answer": number / 7, "answer_rating": "8 of 10"} for number, row in enumerate(make_rows("faq"))
    ]
    found = guess(rows)
    assert found.entry["format"] == "qa" and {"score_answer", "answer_rating"} <= {*found.entry["ignore_columns"]}


def test_of_preferences_the_chosen_conversation_is_learnt():
    rows = [
        {
            "chosen": [{"role": "user", "content": row["question"]}, {"role": "assistant", "content": row["answer"]}],
            "rejected": [{"role": "user", "content": row["question"]}, {"role": "assistant", "content": "No."}],
            "score_chosen": 8.0,
        }
        for row in make_rows("faq")
    ]
    found = guess(rows)
    assert found.entry == {"format": "chatml", "ignore_columns": ["rejected", "score_chosen"]}
    assert any(reason.startswith("`chosen` is the conversation") for reason in found.reasons)


def test_conversations_under_another_name_are_named_for_what_they_are():
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    with pytest.raises(Stop, match=r"`response` holds whole conversations.*name it `messages`"):
        guess([{"question": row["question"], "response": turns} for row in make_rows("faq")])


def test_texts_in_objects_are_found_by_their_paths():
    """As the sets of translations on the Hugging Face hub have them."""
    rows = [
        {"id": number, "meta": {"page": number}, "translation": {"de": row["question"], "en": row["answer"]}}
        for number, row in enumerate(make_rows("faq"))
    ]
    found = guess(rows)
    assert found.entry == {
        "columns": {"instruction": "{translation.de}", "response": "{translation.en}"},
        "ignore_columns": ["id", "meta"],
    }
    [doubt] = found.doubts
    assert doubt.choices == ["translation.de", "translation.en"]


def test_the_only_text_is_called_the_question_and_no_context():
    said = [reason for reason in guess(make_rows("classes")).reasons if reason.startswith("`text`")]
    assert said == ["`text` is the only text beside the answer, so it is the question"]
