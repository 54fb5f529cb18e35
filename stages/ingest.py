"""Read every source of params.yaml into records of one type; each row becomes one or is set aside with its reason.

    python -m stages.ingest

Reads the files, URLs, hub datasets and wheel members of `sources` (local files belong into data/raw, which DVC
watches); writes data/records/records.jsonl, data/records/set_aside.jsonl and data/records/counts.json.
"""

from collections import Counter
from pathlib import Path
from typing import Any

from tunelock.reading.reading import Source, read_source
from tunelock.run.errors import Stop
from tunelock.run.files import format_json_line, whole_folder, write_json
from tunelock.run.stage import stage

SET_ASIDE = "set_aside_"
RowCounts = dict[str, Counter[str]]  # by source: rows, records, and rows left out as STATUS_REASON


def _write_records(sources: dict[str, Any], folder: Path) -> RowCounts:
    """Write the rows of all sources, records and others, and count them."""
    counts: RowCounts = {}
    with open(folder / "records.jsonl", "wb") as records, open(folder / "set_aside.jsonl", "wb") as set_aside:
        for name, spec in sorted(sources.items()):
            seen = counts[name] = Counter()
            for row in read_source(name, Source(**spec)):
                seen["rows"] += 1
                if "status" in row:
                    seen[f"{row['status']}_{row['reason']}"] += 1
                    set_aside.write(format_json_line(row))
                else:
                    seen["records"] += 1
                    records.write(format_json_line(row))
    return counts


def _check_share(counts: RowCounts, limit: float) -> None:
    """Stop if too many rows were set aside: more likely the source is described wrongly than so many rows bad."""
    for source, seen in counts.items():
        reasons = {key.removeprefix(SET_ASIDE): n for key, n in seen.items() if key.startswith(SET_ASIDE)}
        if sum(reasons.values()) > limit * seen["rows"]:
            listed = ", ".join(f"{reason}: {n}" for reason, n in sorted(reasons.items()))
            raise Stop(
                f"{sum(reasons.values())} of {seen['rows']} rows of source '{source}' were set aside ({listed}), more "
                f"than max_set_aside_share {limit}; look into data/records/set_aside.jsonl and mend the source."
            )


@stage("ingest")
def main(params, _fingerprint) -> str:
    with whole_folder("data/records") as folder:
        counts = _write_records(params.sources, folder)
        write_json(folder / "counts.json", counts)
    _check_share(counts, params.max_set_aside_share)
    return "; ".join(f"{name}: {seen['records']} records of {seen['rows']} rows" for name, seen in counts.items())


if __name__ == "__main__":
    main()
