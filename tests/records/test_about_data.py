"""The page about the data: what a person wrote comes back as it was, and it speaks of its own sources alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunelock.records.about_data import AboutData, format_about_data, parse_about_data, read_about_data
from tunelock.run.errors import Stop

LINES = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1)
OWN = {"own": {"path": "data/raw/own.csv"}}


@given(st.builds(AboutData, LINES, st.none() | LINES, st.booleans(), st.none() | st.lists(LINES, min_size=1), LINES))
def test_what_is_written_is_read_again(about):
    assert parse_about_data(format_about_data(about)) == about


def test_a_page_without_keys_is_prose():
    assert parse_about_data("# Mine\n\nTickets.\n\n---\n\nMore.\n") == AboutData(
        prose="# Mine\n\nTickets.\n\n---\n\nMore."
    )


def test_a_page_about_other_sources_says_nothing_of_these(tmp_path):
    page = tmp_path / "README.md"
    page.write_text("---\ntitle: Weaknesses\nnotice: true\ndescribes: [wheel:cwe2]\n---\nNo person's data.\n")
    assert read_about_data(OWN, str(page)) == AboutData()
    assert read_about_data({"cwe": {"path": "wheel:cwe2"}}, str(page)).title == "Weaknesses"


def test_no_page_says_nothing(tmp_path):
    assert read_about_data(OWN, str(tmp_path / "README.md")) == AboutData()


def test_windows_line_ends_are_read():
    assert parse_about_data("\ufeff---\r\ntitle: Mine\r\n---\r\nText.\r\n") == AboutData(title="Mine", prose="Text.")


@pytest.mark.parametrize(("head", "says"), [("titel: x", "no key 'titel'"), ("title: [", "not YAML")])
def test_wrong_keys_stop(head, says):
    with pytest.raises(Stop, match=says):
        parse_about_data(f"---\n{head}\n---\nText.\n")
