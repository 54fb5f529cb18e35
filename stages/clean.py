"""Mend what can be mended, leave out what must not be trained on, and account for every row of every source.

    python -m stages.clean

Reads data/records and the base model's tokenizer.json; writes data/clean/records.jsonl, dropped.jsonl and
set_aside.jsonl (each row with its `reason`), repaired.jsonl (before and after), pii.jsonl (kind and offset, never the
value), ledger.jsonl (one line for each row that any source ever held) and metrics/data.json, the funnel.
"""

import functools
import json
import sys
from contextlib import ExitStack
from pathlib import Path

from tunelock.cleaning.duplicates import COPIES, ID, NONE, SOURCE, Exclusion, find_repetitions
from tunelock.cleaning.ledger import Funnel, Ledger
from tunelock.cleaning.personal_data import hide_pii_of_row
from tunelock.cleaning.record_rules import RULE_PARAMS, RuleParams, describe_rulings
from tunelock.cleaning.survivors import Survivors, cluster_survivors, judge_records
from tunelock.records.left_out import LeftOutTally, format_left_out
from tunelock.records.record import hash_texts
from tunelock.records.templates import Literals, list_literals
from tunelock.run.bars import Bar
from tunelock.run.errors import Stop
from tunelock.run.files import read_json, read_jsonl, whole_folder, write_json
from tunelock.run.stage import stage

RECORDS = Path("data/records")
TOKENIZER = "models/base/tokenizer.json"
MANY_COPIES = 0.1, 0.3  # shares of exact copies and of near-duplicates that deserve a second look


def _exclude_repetitions(
    survivors: Survivors, threshold: float | None, conflicting_answers: str, literals: Literals
) -> list[Exclusion]:
    """What the rules between records leave out; no record is a near-duplicate if `threshold` is None."""
    cluster = (
        functools.partial(cluster_survivors, survivors, threshold=threshold, literals=literals) if threshold else None
    )
    return list(find_repetitions(survivors.hashes, cluster, conflicting_answers))


def _settle_survivors(survivors: Survivors, exclusions: list[Exclusion], ledger: Ledger, sources: list[str]) -> None:
    """Book each survivor as kept, or as left out by the first exclusion that has it."""
    names = {hash_texts(name): name for name in sources}
    ids, source_hashes = survivors.hashes[:, ID].tolist(), survivors.hashes[:, SOURCE].tolist()
    bar = Bar(read_jsonl(survivors.lines), total=len(ids), unit="row", desc="settle")
    for index, record in enumerate(bar):
        for exclusion in exclusions:
            cause = exclusion.because[index]
            if cause != NONE:
                because = f"{names[source_hashes[cause]]}-{ids[cause]:016x}"
                ledger.leave_out(record, exclusion.status, exclusion.reason, because)
                break
        else:
            ledger.keep_record(record)


def _name_rulings(rule_params: RuleParams, threshold: float | None, conflicting_answers: str) -> dict[str, str]:
    """By reason the param that rules it, of the rules about one record and of those between records."""
    return describe_rulings(rule_params) | {
        "duplicate": "no param: one of equal rows stays",
        "near_duplicate": f"near_duplicate_threshold: {threshold}",
        "conflicting_answers": f"conflicting_answers: {conflicting_answers}",
    }


def _make_tables(ledger: Ledger, funnel: Funnel, rulings: dict[str, str]) -> dict[str, str]:
    """By source the table of what was left out of it."""
    return {
        source: format_left_out(f"left out of '{source}'", tally, funnel["sources"][source]["rows"], rulings)
        for source, tally in sorted(ledger.left_out.items())
    }


def _refuse_empty(funnel: Funnel, tables: dict[str, str]) -> None:
    """Stop if no row is left."""
    total = funnel["total"]
    if not total["kept"]:
        gone = json.dumps(total["dropped"] | total["set_aside"])
        listed = "\n".join(["", *tables.values()])
        raise Stop(f"no row is left of {total['rows']}: {gone}; loosen the rules in params.yaml.{listed}")


def _refuse_losses(ledger: Ledger, funnel: Funnel, limit: float, tables: dict[str, str]) -> None:
    """Stop where the rules about one record took more than a share of a source's rows."""
    for source, tally in sorted(ledger.left_out.items()):
        rows = funnel["sources"][source]["rows"]
        lost = sum(count for reason, count in tally.counts.items() if reason not in COPIES)
        if lost > limit * rows:
            raise Stop(
                f"{lost} of {rows} rows of source '{source}' are left out by rules, copies of others not counted: more "
                f"than max_dropped_share {limit}. Set the params that the table names to suit this data, or raise "
                "max_dropped_share if so many rows are to go; all of them stand in data/clean/dropped.jsonl and "
                f"data/clean/set_aside.jsonl.\n{tables[source]}"
            )


def _tell_losses(ledger: Ledger, funnel: Funnel, tables: dict[str, str]) -> None:
    """Show by source on stderr what was left out."""
    for source, table in tables.items():
        print(table, file=sys.stderr)
        _warn_of_copies(source, ledger.left_out[source], funnel["sources"][source]["rows"])


def _warn_of_copies(source: str, tally: LeftOutTally, rows: int) -> None:
    """Say on stderr that many rows of a source say what others say."""
    exact, near = (tally.counts[reason] for reason in COPIES)
    if exact > MANY_COPIES[0] * rows:
        print(f"warning: {exact} of {rows} rows of '{source}' are exact copies of others; is a file there twice?",
              file=sys.stderr)  # fmt: skip
    if near > MANY_COPIES[1] * rows:
        print(f"warning: {near} of {rows} rows of '{source}' are near-duplicates of others", file=sys.stderr)


def _warn_of_markup(ledger: Ledger) -> None:
    """Say on stderr that many answers of a source hold HTML."""
    for source, tally in sorted(ledger.markup.items()):
        if said := tally.describe():
            print(f"warning: source '{source}': {said}", file=sys.stderr)


@stage("clean")
def main(params, _fingerprint) -> str:
    rule_params = RuleParams(**params.select(RULE_PARAMS), tokenizer=TOKENIZER)
    ingested = read_json(RECORDS / "counts.json")
    with whole_folder("data/clean") as folder, ExitStack() as files:
        ledger = Ledger(folder, files)
        for row in read_jsonl(RECORDS / "set_aside.jsonl"):
            ledger.note_raw_row(hide_pii_of_row(row, params.pii))
        survivors = judge_records(RECORDS / "records.jsonl", rule_params, ledger, folder)
        exclusions = _exclude_repetitions(
            survivors, params.near_duplicate_threshold, params.conflicting_answers, list_literals(params.sources)
        )
        _settle_survivors(survivors, exclusions, ledger, list(ingested))
        survivors.delete_files()
        funnel = ledger.sum_up(ingested)
        rulings = _name_rulings(rule_params, params.near_duplicate_threshold, params.conflicting_answers)
        tables = _make_tables(ledger, funnel, rulings)
        _refuse_empty(funnel, tables)
    _refuse_losses(ledger, funnel, params.max_dropped_share, tables)
    _tell_losses(ledger, funnel, tables)
    _warn_of_markup(ledger)
    write_json("metrics/data.json", funnel)
    total = funnel["total"]
    return f"{total['kept']} of {total['rows']} rows kept, {total['repaired']} of them repaired"


if __name__ == "__main__":
    main()
