"""Read every source of params.yaml into records of one type; each row becomes one or is set aside with its reason.

    python -m stages.ingest

Reads the files, URLs, hub datasets and wheel members of `sources` (local files belong into data/raw, which DVC
watches); writes data/records/records.jsonl, data/records/set_aside.jsonl and data/records/counts.json.
"""

from collections import Counter

from tunelock.reading.reading import Source, read_source
from tunelock.run.errors import Stop
from tunelock.run.files import format_json_line, whole_folder, write_json
from tunelock.run.stage import stage


def _check_share(counts: dict[str, Counter], limit: float) -> None:
    """Stop if too many rows were set aside: more likely the source is described wrongly than so many rows bad."""
    for source, seen in counts.items():
        reasons = {key: n for key, n in seen.items() if key.startswith("set_aside_")}
        if sum(reasons.values()) > limit * seen["rows"]:
            raise Stop(
                f"{sum(reasons.values())} of {seen['rows']} rows of source '{source}' were set aside "
                f"({', '.join(f'{key[10:]}: {n}' for key, n in sorted(reasons.items()))}), more than "
                f"max_set_aside_share {limit}; look into data/records/set_aside.jsonl and mend the source."
            )


@stage("ingest")
def main(params, _fingerprint) -> str:
    counts = {}
    with whole_folder("data/records") as folder:
        with open(folder / "records.jsonl", "wb") as records, open(folder / "set_aside.jsonl", "wb") as set_aside:
            for name, spec in sorted(params.sources.items()):
                seen = counts[name] = Counter()
                for row in read_source(name, Source(**spec)):
                    seen["rows"] += 1
                    seen[f"{row['status']}_{row['reason']}" if "status" in row else "records"] += 1
                    (set_aside if "status" in row else records).write(format_json_line(row))
        write_json(folder / "counts.json", counts)
    _check_share(counts, params.max_set_aside_share)
    return "; ".join(f"{name}: {seen['records']} records of {seen['rows']} rows" for name, seen in counts.items())


if __name__ == "__main__":
    main()
