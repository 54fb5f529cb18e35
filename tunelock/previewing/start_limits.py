"""Limits of the cleaning by what the answers are: their lengths, their languages, the rules that fit them."""

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tunelock.cleaning.alignment import ANSWER_RULES, detect_language
from tunelock.cleaning.record_rules import TELLING
from tunelock.previewing.start_files import CHUNK_CHARS
from tunelock.previewing.start_look import SourceLook
from tunelock.records.record import Record, is_text, question_of, reference_of, whole_text_of

USUAL_SHORTEST = 20  # characters; params.yaml says why
RARE = 0.01  # share of the rows of a source that a rule may cost
FOREIGN = 0.005  # share of rows that may seem to be in another language
TOLD = 0.5  # share of rows whose language must show
MIXED = 4  # with so many languages, there is none to filter by
HEADROOM = 1.25  # times the longest answer that is there, for rows to come
OUTLIER = 2  # times the length of 999 in 1,000 answers; longer ones are more likely broken than long
SEEN_FOR_LANGUAGE = 1500  # rows of a source


@dataclass(slots=True)
class Choices:
    """Values for params.yaml, each with a sentence that says why, and warnings."""

    values: dict[str, Any] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def add(self, values: dict[str, Any], reason: str) -> None:
        """Values with their reason."""
        self.values |= values
        self.reasons.append(reason)


def choose_limits(looks: list[SourceLook]) -> Choices:
    """The limits of `clean` and ingest's share for these sources."""
    choices = Choices()
    _choose_answer_lengths(choices, looks)
    _choose_languages(choices, looks)
    _choose_answer_rules(choices, looks)
    _choose_share(choices, looks)
    return choices


def _choose_answer_lengths(choices: Choices, looks: list[SourceLook]) -> None:
    shortest, longest, middle = [], [], []
    for look in looks:
        lengths = sorted(len(reference_of(record).strip()) for record in look.records)
        shortest.append(1 if look.guess.labels else lengths[0])
        outlier = OUTLIER * take_quantile(lengths, 0.999)
        longest.append(min(max(lengths[-1], _find_longest(look)), outlier))
        middle.append(f"{take_quantile(lengths, 0.5):,}/{take_quantile(lengths, 0.99):,}/{lengths[-1]:,}")
    least = max(1, min(USUAL_SHORTEST, *shortest))
    most = _round_up(math.ceil(HEADROOM * max(longest)))
    if any(is_text(record) for look in looks for record in look.records[:1]):
        most = max(most, CHUNK_CHARS)
    of = ", ".join(f"{look.name} {figures}" for look, figures in zip(looks, middle))
    why = "answers are labels" if any(look.guess.labels for look in looks) else "answers as short as that are there"
    why = why if least < USUAL_SHORTEST else "hardly an answer is shorter"
    choices.add(
        {"min_response_chars": least, "max_response_chars": most},
        f"min_response_chars {least} ({why}), max_response_chars {most:,}: answers have (median/99 %/longest) {of}",
    )


def _find_longest(look: SourceLook) -> int:
    """The longest answer of all rows, where the answer is one column."""
    template = (look.guess.entry.get("columns") or {}).get("response", "")
    column = look.table.columns.get(template.strip("{}"))
    return column.longest if column else 0


def take_quantile(ordered: list[int], share: float) -> int:
    """The smallest value that at least `share` of the values do not exceed (nearest rank)."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def _round_up(value: int) -> int:
    """To two digits, upwards."""
    step = 10 ** max(0, len(str(value)) - 2)
    return math.ceil(value / step) * step


def _choose_languages(choices: Choices, looks: list[SourceLook]) -> None:
    """Languages that nearly all rows of every source are in; null where they cannot be told or are many."""
    seen: Counter[str] = Counter()
    total = 0
    for look in looks:
        for record in look.records[:SEEN_FOR_LANGUAGE]:
            total += 1
            seen[detect_language(whole_text_of(record)[:TELLING]) or ""] += 1
    told = total - seen.pop("", 0)
    main = [code for code, count in seen.most_common() if count >= 0.03 * told]
    listed = ", ".join(f"{code} {count / total:.0%}" for code, count in seen.most_common(4))
    foreign = 1 - sum(seen[code] for code in main) / max(1, told)
    if told < TOLD * total:
        choices.add({"languages": None}, f"languages null: the language shows in only {told / total:.0%} of the rows")
    elif len(main) >= MIXED or foreign > FOREIGN:
        choices.add({"languages": None}, f"languages null, so none is dropped: it is mixed or unsure here ({listed})")
    else:
        choices.add(
            {"languages": main}, f"languages {', '.join(main)}: found in {1 - foreign:.1%} of the rows that tell"
        )


def _choose_answer_rules(choices: Choices, looks: list[SourceLook]) -> None:
    """The rules about answers that cost no source more than a few of its rows."""
    kept, off = [], []
    for name, is_broken in ANSWER_RULES.items():
        shares = [_count_broken(look.records, is_broken) / max(1, len(look.records)) for look in looks]
        if max(shares) <= RARE:
            kept.append(name)
        else:
            off.append(f"{name} would drop {max(shares):.0%}")
    reason = f"alignment_rules {', '.join(kept) or 'none'}"
    choices.add(
        {"alignment_rules": kept}, f"{reason}; off: {', '.join(off)}" if off else f"{reason}: they cost few rows"
    )


def _count_broken(records: list[Record], is_broken: Any) -> int:
    asked = [record for record in records if not is_text(record)]
    return sum(is_broken(question_of(record), reference_of(record)) for record in asked)


def _choose_share(choices: Choices, looks: list[SourceLook]) -> None:
    """Where more rows than usual are no record, ingest is not to stop at what was said here."""
    for look in looks:
        if look.left_out or look.table.faults:
            counts = Counter(look.left_out) + look.table.faults
            listed = ", ".join(f"{reason}: {count:,}" for reason, count in counts.most_common(5))
            text = f"{look.name}: {look.share_left_out:.1%} of the rows seen are no record and are set aside ({listed})"
            choices.warnings.append(text)
    largest = max(look.share_left_out for look in looks)
    if largest > 0.04:
        share = min(0.99, round(1.2 * largest + 0.01, 2))
        choices.add(
            {"max_set_aside_share": share}, f"max_set_aside_share {share}: {largest:.1%} of the rows are no record"
        )
