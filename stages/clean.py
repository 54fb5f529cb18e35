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

from tunelock.cleaning.duplicates import ID, NONE, SOURCE, Exclusion, find_repetitions
from tunelock.cleaning.ledger import Funnel, Ledger
from tunelock.cleaning.personal_data import hide_pii_of_row
from tunelock.cleaning.record_rules import RULE_PARAMS, RuleParams
from tunelock.cleaning.survivors import Survivors, cluster_survivors, judge_records
from tunelock.records.record import hash_texts
from tunelock.run.bars import Bar
from tunelock.run.errors import Stop
from tunelock.run.files import read_json, read_jsonl, whole_folder, write_json
from tunelock.run.stage import stage

RECORDS = Path("data/records")
TOKENIZER = "models/base/tokenizer.json"
MANY_NEAR_DUPLICATES = 0.3  # share above which the data, or the threshold, deserves a second look


def _exclude_repetitions(survivors: Survivors, threshold: float | None, conflicting_answers: str) -> list[Exclusion]:
    """What the rules between records leave out; no record is a near-duplicate if `threshold` is None."""
    cluster = functools.partial(cluster_survivors, survivors, threshold=threshold) if threshold else None
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


def _refuse_empty(funnel: Funnel) -> None:
    """Stop if no row is left."""
    total = funnel["total"]
    if not total["kept"]:
        raise Stop(f"no row is left of {total['rows']}: {json.dumps(total)}; loosen the rules in params.yaml.")


def _warn_of_near_duplicates(funnel: Funnel) -> None:
    """Say on stderr that many rows are near-duplicates."""
    rows, near = funnel["total"]["rows"], funnel["total"]["dropped"].get("near_duplicate", 0)
    if near > MANY_NEAR_DUPLICATES * rows:
        print(f"warning: {near} of {rows} rows are near-duplicates of others", file=sys.stderr)


@stage("clean")
def main(params, _fingerprint) -> str:
    rule_params = RuleParams(**params.select(RULE_PARAMS), tokenizer=TOKENIZER)
    ingested = read_json(RECORDS / "counts.json")
    with whole_folder("data/clean") as folder, ExitStack() as files:
        ledger = Ledger(folder, files)
        for row in read_jsonl(RECORDS / "set_aside.jsonl"):
            ledger.note_raw_row(hide_pii_of_row(row, params.pii))
        survivors = judge_records(RECORDS / "records.jsonl", rule_params, ledger, folder)
        exclusions = _exclude_repetitions(survivors, params.near_duplicate_threshold, params.conflicting_answers)
        _settle_survivors(survivors, exclusions, ledger, list(ingested))
        survivors.delete_files()
        funnel = ledger.sum_up(ingested)
        _refuse_empty(funnel)
    write_json("metrics/data.json", funnel)
    _warn_of_near_duplicates(funnel)
    total = funnel["total"]
    return f"{total['kept']} of {total['rows']} rows kept, {total['repaired']} of them repaired"


if __name__ == "__main__":
    main()
