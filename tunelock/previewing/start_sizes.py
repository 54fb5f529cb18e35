"""How large the splits are to be, and what difference they could show."""

import math

from tunelock.previewing.start_limits import Choices
from tunelock.previewing.start_look import SourceLook
from tunelock.run.errors import Stop
from tunelock.splitting.outcome import POWER, measure_smallest_change

CHANGED = 0.2  # share of the answers that are right in one of the two models alone; a fifth is common after tuning
VAL_ROWS, TEST_ROWS, LABELLED_TEST_ROWS, GOLDEN_ROWS = 64, 200, 400, 50
SPARE = 1.25  # rows held out for each that is wanted, for shares by hash vary
LEAST_SHARE = 0.01
MOST_VAL, MOST_TEST, MOST_GOLDEN = 0.1, 0.2, 0.1
FEWEST_GROUPS = 10  # a group for each held-out split, and some to train on
FEW_GROUPS = 400  # with fewer, shares by hash vary too much
WEAK_POINTS, WEAK_DEVIATIONS = 0.1, 0.3  # a test split that shows no less than this is worth a warning
LARGEST_MARGIN = 1.1


def choose_sizes(looks: list[SourceLook], labelled: bool) -> Choices:
    """The ratios and limits of the splits, with what the test split could show; `labelled`: accuracy is measured."""
    choices = Choices()
    groups = sum(_count_groups(look) for look in looks)
    rows = sum(count_usable_rows(look) for look in looks)
    if groups < FEWEST_GROUPS:
        raise Stop(
            f"{groups} group(s) of rows cannot be divided into train, val, test and golden; bring at least "
            f"{FEWEST_GROUPS}, better some hundreds."
        )
    largest = LARGEST_MARGIN * max(look.guess.largest_group * count_usable_rows(look) / max(1, rows) for look in looks)
    wanted = LABELLED_TEST_ROWS if labelled else TEST_ROWS
    test = max(_choose_ratio(wanted, groups, MOST_TEST), round(largest, 3))
    val = max(_choose_ratio(VAL_ROWS, groups, MOST_VAL), round(largest, 3))
    golden = _choose_ratio(GOLDEN_ROWS, groups, MOST_GOLDEN)
    few = groups < FEW_GROUPS
    ratios = {
        "val_ratio": val,
        "test_ratio": test,
        "golden_ratio": golden,
        "split_method": "stratified" if few else "hash",
    }
    choices.add(
        {"golden_groups": None, "golden_where": None, "golden_sha256": None, **ratios},
        f"val_ratio {val:g}, test_ratio {test:g}, golden_ratio {golden:g} of about {groups:,} groups; "
        + (
            f"stratified, for {groups:,} groups are too few for even shares by hash"
            if few
            else "by hash, so new rows move no old ones"
        ),
    )
    held = min(wanted, round(test * rows), round(test * groups))
    choices.add(
        {"max_test_samples": wanted, "max_val_samples": VAL_ROWS},
        _say_effect(held, labelled),
    )
    _warn_of_weak_test(choices, held, labelled)
    return choices


def count_usable_rows(look: SourceLook) -> int:
    """The rows of a source that are records and no exact copies, about."""
    return max(1, round(look.rows * (1 - look.share_left_out)) - look.table.copies)


def _count_groups(look: SourceLook) -> int:
    """What is divided: groups, or questions where no column says what belongs together."""
    return min(look.guess.groups or look.rows, count_usable_rows(look))


def _choose_ratio(wanted: int, groups: int, most: float) -> float:
    """The share of the groups that gives the rows wanted, within limits."""
    return round(min(most, max(LEAST_SHARE, SPARE * wanted / groups)), 3)


def _measure_points(rows: int) -> float:
    """The smallest change in accuracy that so many test rows show: McNemar's test with CHANGED discordant rows."""
    return POWER * math.sqrt(CHANGED / max(1, rows))


def _say_effect(rows: int, labelled: bool) -> str:
    """What the test split could show."""
    if labelled:
        return f"about {rows} test groups show a change in accuracy from {100 * _measure_points(rows):.0f} points on"
    size = measure_smallest_change(rows)
    return f"about {rows} test groups show a change of the loss from {size:.2f} standard deviations of a row on"


def _warn_of_weak_test(choices: Choices, rows: int, labelled: bool) -> None:
    weak = _measure_points(rows) > WEAK_POINTS if labelled else measure_smallest_change(rows) > WEAK_DEVIATIONS
    if weak:
        need = CHANGED * (POWER / WEAK_POINTS) ** 2 if labelled else (POWER / WEAK_DEVIATIONS) ** 2
        choices.warnings.append(
            f"the data is small: {_say_effect(rows, labelled)}; a smaller gain will read as `no gain`. About "
            f"{math.ceil(need / MOST_TEST):,} groups would show {'10 points' if labelled else '0.3'}"
        )
