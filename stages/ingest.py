"""Read the CWE catalogue out of its pinned wheel and turn it into question-and-answer records.

    python -m stages.ingest

Writes data/raw/records.jsonl (one record a line) and data/raw/golden_groups.json (the groups kept for
the golden set).
"""

from stages.lib.cwe import cwe_records, read_cwe_ids, read_weaknesses
from stages.lib.fetch import fetch_wheel, open_member, parse_wheel_uri
from stages.lib.files import write_json, write_jsonl
from stages.lib.stage import stage


def ingest(dataset: str, sha256: str, golden_table: str) -> tuple[list[dict], list[str]]:
    """Return the records of the wheel member `dataset` and the groups listed by its member `golden_table`."""
    requirement, member = parse_wheel_uri(dataset)
    wheel = fetch_wheel(requirement, sha256)
    with open_member(wheel, member) as xml, open_member(wheel, golden_table) as table:
        return list(cwe_records(read_weaknesses(xml), source=dataset)), read_cwe_ids(table)


@stage("ingest")
def main(params, _fingerprint) -> None:
    records, golden_groups = ingest(params.dataset, params.dataset_revision, params.golden_table)
    write_jsonl("data/raw/records.jsonl", records)
    write_json("data/raw/golden_groups.json", golden_groups)
    print(f"{len(records)} records, {len(golden_groups)} golden groups")


if __name__ == "__main__":
    main()
