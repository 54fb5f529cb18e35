"""One value has one form, whatever file it stands in; one table is the same records from each of them."""

import math
import unicodedata
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from tunelock.reading.rows import Unfit
from tunelock.reading.values import fill_key, fill_template, write_value
from tunelock.records.record import fold_group

NAN = float("nan")
MULLER = [unicodedata.normalize(form, "Müller") for form in ("NFC", "NFD")]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("as it  is ", "as it  is "), ("12.0", "12.0"), ("True", "True"), (12, "12"), (12.0, "12"), (-0.0, "0"),
        (12.5, "12.5"), (1e300, "1e+300"), (True, "true"), (False, "false"), (None, None), (NAN, None),
        (Decimal("12.00"), "12"), (Decimal("12.50"), "12.50"), (Decimal("NaN"), None),
        (date(2024, 1, 31), "2024-01-31"), (datetime(2024, 1, 31), "2024-01-31"),
        (datetime(2024, 1, 31, 12, 30), "2024-01-31 12:30:00"), (b"caf\xc3\xa9", "café"),
        (datetime(2024, 1, 31, 12, 30, 0, 500000, UTC), "2024-01-31 12:30:00.5+00:00"),
    ],
)  # fmt: skip
def test_a_value_is_written_one_way_whatever_its_type_and_texts_stay(value, text):
    assert write_value(value) == text


@pytest.mark.parametrize("value", [["a"], {"a": 1}, b"\xff", math.inf])
def test_what_is_no_text_is_unfit(value):
    with pytest.raises(Unfit, match=r"not_text|infinity"):
        write_value(value)


@pytest.mark.parametrize(
    "values",
    [
        ("12", 12, 12.0, "12.0", "12.00", Decimal("12.00"), " 12 "), ("true", True, "True", "TRUE"), MULLER,
        ("Acme Inc", "Acme  Inc", "Acme\u00a0Inc", " Acme Inc\n"), ("12.5", 12.5, Decimal("12.5")), ("007",),
        ("2024-01-31", date(2024, 1, 31), datetime(2024, 1, 31), "2024-01-31T00:00:00.000", "2024-01-31 00:00:00"),
        ("2024-01-31 12:30:00", datetime(2024, 1, 31, 12, 30), "2024-01-31T12:30:00.000"), ("1.10",), ("v1.0",),
        ("1999-11-11 12:11:11", "1999-11-11T12:11:11", datetime(1999, 11, 11, 12, 11, 11)),
    ],
)  # fmt: skip
def test_one_thing_has_one_key(values):
    assert {fill_key("{k}", {"k": value}, "missing_group") for value in values} == {values[0]}


def test_keys_that_differ_stay_apart():
    values = ["12", "012", "12.5", "-12", "1.10", "1.1", "Acme", "Acme Inc", "AcmeInc", "no", "nano", "None", "2024"]
    assert len({fill_key("{k}", {"k": value}, "missing_task") for value in values}) == len(values)


@pytest.mark.parametrize("value", [None, "", " \u00a0", NAN, "nan", "NaN", "<NA>", "NaT", Decimal("NaN")])
@pytest.mark.parametrize("template", ["{k}", "{a}-{k}", "{k}{a}"])
def test_a_key_without_one_of_its_values_is_unfit_and_names_the_column(value, template):
    for columns in ({"k": value, "a": "b"}, {"a": "b"}):  # many writers of JSON leave nulls out
        with pytest.raises(Unfit, match=r"^missing_task 'k'$"):
            fill_key(template, columns, "missing_task")


def test_groups_are_compared_whatever_their_case_their_width_and_the_zeros_of_a_decimal():
    for spellings in (("Acme Inc", "ACME Inc", "ａｃｍｅ inc"), ("12.5", "12.50"), ("Straße", "STRASSE")):
        assert len(set(map(fold_group, spellings))) == 1
    assert len(set(map(fold_group, ("12", "120", "1.2", "CWE-79", "CWE-790", "v1.0", "v1")))) == 7


def test_a_template_is_filled_with_text_and_numbers_and_a_hole_between_blanks_is_empty():
    assert fill_template("{a} and {b c}: {e}", {"a": "x{b c}", "b c": 1.5, "e": 0}) == "x{b c} and 1.5: 0"
    assert fill_template("{a}\n{d}", {"a": "x", "d": None}) == "x\n"
    assert fill_template("constant", {}) == "constant"


@pytest.mark.parametrize(
    ("columns", "reason"),
    [({}, "missing_column 'a'"), ({"a": ["b"]}, "not_text 'a'"), ({"a": NAN}, "missing_value 'a'")],
)
def test_a_template_that_cannot_be_filled_is_unfit(columns, reason):
    with pytest.raises(Unfit, match=f"^{reason}$"):
        fill_template("({a})", columns)
