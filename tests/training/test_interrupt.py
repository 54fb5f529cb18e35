"""Training that is interrupted ends with the bits of an uninterrupted run: three lines of `benchmarks.interrupt`."""

import shutil
from signal import SIGKILL, SIGUSR1

import pytest

from benchmarks.interrupt import on_a_bad_disk
from benchmarks.interruption import Moment, interrupted, run_in_peace, stop_on_request, to_all
from benchmarks.meanwhile import flip_a_bit

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def peace(built):
    """What an uninterrupted training in the built project leaves; the project is put back at the end."""
    yield run_in_peace(built)
    built.run("git", "checkout", "-q", "--", ".")
    built.run("dvc", "checkout", "-q", "--force")
    shutil.rmtree(built.folder / ".ckpt", ignore_errors=True)


def test_a_kill_inside_a_save_and_a_damaged_checkpoint_change_no_bit(built, peace):
    third = list(peace.saves)[2]
    _, _, inside, resumed_from, same = interrupted(
        built, peace, Moment(f"save {third}"), to_all(SIGKILL), meanwhile=flip_a_bit
    )
    assert (inside, same) == ("yes", "yes")
    assert resumed_from == "start" or int(resumed_from) < list(peace.saves)[1], "the damaged one was used"


def test_a_full_disk_stops_training_in_plain_words_and_it_goes_on_once_there_is_room(built, peace):
    _, _, inside, resumed_from, same = on_a_bad_disk(built, peace, f"size={peace.checkpoint_bytes * 3 // 2048}k")
    if same.startswith("not tried"):
        pytest.skip(same)
    assert (inside, same) == ("yes", "yes")
    assert int(resumed_from) == min(peace.saves)


def test_a_stop_on_request_ends_with_75_and_goes_on_from_the_step_that_it_was_in(built, peace):
    second, third = list(peace.saves)[1:3]
    _, _, _, resumed_from, same = interrupted(built, peace, Moment(f"saved {second}"), stop_on_request(SIGUSR1))
    assert same == "yes"
    assert second <= int(resumed_from) <= third
