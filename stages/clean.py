"""Drop the records that must not be trained on, and keep each of them with its reason.

    python -m stages.clean

Reads data/raw/records.jsonl; writes data/clean/records.jsonl, data/clean/dropped.jsonl (the same
records with a `reason`) and metrics/clean.json.
"""

import unicodedata
from collections import Counter

from stages.lib.errors import Stop
from stages.lib.files import read_jsonl, write_json, write_jsonl
from stages.lib.stage import stage

TEXTS = ("instruction", "context", "response")
REASONS = ("deprecated", "empty", "bad_encoding", "too_short", "too_long", "duplicate")


def reason_to_drop(record: dict, min_chars: int, max_chars: int) -> str | None:
    """Why this record alone is unfit, or None. The bounds are characters of the response, both allowed."""
    if record.get("deprecated"):
        return "deprecated"
    if not record["instruction"].strip() or not record["response"].strip():
        return "empty"
    if any(is_broken(record[key]) for key in TEXTS):
        return "bad_encoding"
    if len(record["response"]) < min_chars:
        return "too_short"
    if len(record["response"]) > max_chars:
        return "too_long"
    return None


def is_broken(text: str) -> bool:
    """True for replacement characters, lone surrogates and control characters other than tab and newline."""
    return any(c == "\ufffd" or (unicodedata.category(c) in ("Cs", "Cc") and c not in "\t\n\r") for c in text)


def content_key(record: dict) -> tuple[str, ...]:
    """What makes two records the same: their texts, whatever their case, white space and Unicode form."""
    return tuple(" ".join(unicodedata.normalize("NFKC", record[key]).casefold().split()) for key in TEXTS)


def clean(records: list[dict], min_chars: int, max_chars: int) -> tuple[list[dict], list[dict]]:
    """Divide records into those kept and those dropped, the latter with a `reason` out of REASONS.

    Of exact duplicates the one with the smallest id is kept, so the order of the input does not matter.
    """
    kept, dropped, seen = [], [], set()
    for record in sorted(records, key=lambda record: record["id"]):
        reason = reason_to_drop(record, min_chars, max_chars)
        if reason is None and content_key(record) in seen:
            reason = "duplicate"
        if reason is None:
            seen.add(content_key(record))
            kept.append({key: value for key, value in record.items() if key != "deprecated"})
        else:
            dropped.append({**record, "reason": reason})
    return kept, dropped


def count(rows_in: int, kept: list[dict], dropped: list[dict]) -> dict[str, int]:
    """The figures of metrics/clean.json.

    Raises:
        Stop: a row was lost or invented, or none is left.
    """
    reasons = Counter(row["reason"] for row in dropped)
    if rows_in != len(kept) + sum(reasons.values()):
        raise Stop(f"{rows_in} rows came in, {len(kept)} were kept and {len(dropped)} dropped; the sum must match.")
    figures = {"clean_rows_in": rows_in, "clean_rows_kept": len(kept), "clean_rows_dropped": len(dropped)}
    figures |= {f"clean_dropped_{reason}": reasons[reason] for reason in REASONS}
    if not kept:
        raise Stop(f"no row is left of {rows_in}: {dict(reasons)}; loosen the bounds in params.yaml.")
    return figures


@stage("clean")
def main(params, _fingerprint) -> None:
    records = list(read_jsonl("data/raw/records.jsonl"))
    kept, dropped = clean(records, params.min_response_chars, params.max_response_chars)
    figures = count(len(records), kept, dropped)
    write_jsonl("data/clean/records.jsonl", kept)
    write_jsonl("data/clean/dropped.jsonl", dropped)
    write_json("metrics/clean.json", figures)
    print(f"{figures['clean_rows_kept']} of {figures['clean_rows_in']} rows kept")


if __name__ == "__main__":
    main()
