"""Read every source of params.yaml into records of one type; each row becomes one or is set aside with its reason.

    python -m stages.ingest

Reads the files, URLs, hub datasets and wheel members of `sources` (local files belong into data/raw, which DVC
watches); writes data/records/records.jsonl, set_aside.jsonl, counts.json, and unused_columns.json: the columns that no
template and no format uses, by source, each with a sample.
"""

from pathlib import Path
from typing import Any

from tunelock.reading.reading import Source, read_source
from tunelock.reading.row_counts import (
    SourceCounts,
    refuse_files_without_records,
    refuse_many_set_aside,
    tell_no_records,
)
from tunelock.reading.unused_columns import UnusedColumn, describe_unused, list_as_dicts, refuse_unused_contexts
from tunelock.run.files import format_json_line, whole_folder, write_json
from tunelock.run.stage import stage


def _write_records(sources: dict[str, Any], folder: Path) -> dict[str, SourceCounts]:
    """Write the rows of all sources, records and others, and count them."""
    counts: dict[str, SourceCounts] = {}
    with open(folder / "records.jsonl", "wb") as records, open(folder / "set_aside.jsonl", "wb") as set_aside:
        for name, spec in sorted(sources.items()):
            seen = counts[name] = SourceCounts()
            for row in read_source(name, Source(**spec), watch=seen.columns):
                seen.note_row(row)
                (set_aside if "status" in row else records).write(format_json_line(row))
    return counts


def _describe_counts(counts: dict[str, SourceCounts], unused: dict[str, list[UnusedColumn]]) -> str:
    """Records and rows of each source, and its columns that nothing uses."""
    parts = []
    for name, seen in counts.items():
        told = describe_unused(unused[name])
        parts.append(f"{name}: {seen.rows['records']} records of {seen.rows['rows']} rows{told}")
    return "; ".join(parts)


@stage("ingest")
def main(params, _fingerprint) -> str:
    with whole_folder("data/records") as folder:
        counts = _write_records(params.sources, folder)
        unused = {name: seen.columns.list_unused() for name, seen in counts.items()}
        write_json(folder / "counts.json", {name: seen.rows for name, seen in counts.items()})
        write_json(folder / "unused_columns.json", {name: list_as_dicts(columns) for name, columns in unused.items()})
    tell_no_records(counts, params.max_set_aside_share)
    refuse_files_without_records(counts)
    refuse_many_set_aside(counts, params.max_set_aside_share)
    refuse_unused_contexts(unused)
    return _describe_counts(counts, unused)


if __name__ == "__main__":
    main()
