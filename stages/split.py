"""Divide the clean records into train, val, test and golden so that no weakness is in two of them.

    python -m stages.split

Reads data/clean/records.jsonl and data/raw/golden_groups.json; writes data/split/{train,val,test,golden}.jsonl,
data/split/left_out.jsonl (each row with its `reason`) and metrics/split.json.
"""

import hashlib
from collections import Counter, defaultdict

from stages.lib.errors import Stop
from stages.lib.files import read_json, read_jsonl, write_json, write_jsonl
from stages.lib.stage import stage

SPLITS = ("train", "val", "test", "golden")


def fraction(seed: int, key: str) -> float:
    """A number in [0, 1) that follows from `seed` and `key` alone."""
    return int.from_bytes(hashlib.sha256(f"{seed}\0{key}".encode()).digest()[:8]) / 2**64


def split_of(group: str, golden_groups: set[str], seed: int, val_ratio: float, test_ratio: float) -> str:
    """The split of a group. It depends on no other group, so new rows move no old ones."""
    if group in golden_groups:
        return "golden"
    place = fraction(seed, group)
    return "val" if place < val_ratio else "test" if place < val_ratio + test_ratio else "train"


def sample(rows: list[dict], limit: int | None, seed: int) -> tuple[list[dict], list[dict]]:
    """Divide rows into at most `limit` that are taken, spread evenly over the tasks, and the rest.

    Within a task the order is by hash, so a row that arrives displaces at most one other.
    """
    by_task = defaultdict(list)
    for row in sorted(rows, key=lambda row: fraction(seed, row["id"])):
        by_task[row["task"]].append(row)
    ranked = [(rank, task, row) for task, members in by_task.items() for rank, row in enumerate(members)]
    ordered = [row for _, _, row in sorted(ranked, key=lambda item: item[:2])]
    return ordered[:limit], ordered[len(ordered) if limit is None else limit :]


def split(
    records: list[dict], golden_groups: set[str], seed: int, val_ratio: float, test_ratio: float, limits: dict
) -> tuple[dict[str, list[dict]], list[dict]]:
    """Return the rows of each of SPLITS, and those left out with a `reason`.

    `limits` maps a split to its most rows (None for all). A train row whose answer stands verbatim in
    another split is left out: the catalogue repeats its advice under many weaknesses.
    """
    members = {name: [] for name in SPLITS}
    for record in records:
        members[split_of(record["group"], golden_groups, seed, val_ratio, test_ratio)].append(record)
    held_out = {row["response"] for name in SPLITS if name != "train" for row in members[name]}
    left_out = [{**row, "reason": "answer_held_out"} for row in members["train"] if row["response"] in held_out]
    members["train"] = [row for row in members["train"] if row["response"] not in held_out]
    for name in SPLITS:
        members[name], rest = sample(members[name], limits[name], seed)
        left_out += [{**row, "reason": f"max_{name}_samples"} for row in rest]
    return members, left_out


def check(rows_in: int, members: dict[str, list[dict]], left_out: list[dict]) -> None:
    """Stop if a row was lost, a split is empty, a group is in two splits, or train holds another split's answer."""
    if rows_in != sum(map(len, members.values())) + len(left_out):
        raise Stop(f"{rows_in} rows came in, but the splits and left_out.jsonl do not add up to them.")
    homes = defaultdict(set)
    for name, rows in members.items():
        if not rows:
            remedies = {"train": "lower val_ratio or test_ratio", "golden": "check golden_table"}
            raise Stop(f"the {name} split is empty; {remedies.get(name, f'raise {name}_ratio')}, or add data.")
        for row in rows:
            homes[row["group"]].add(name)
    for group, names in homes.items():
        if len(names) > 1:
            raise Stop(f"group {group} is in {' and '.join(sorted(names))}; a group must stay in one split.")
    trained_on = {row["response"]: row["id"] for row in members["train"]}
    for row in (row for name in SPLITS if name != "train" for row in members[name]):
        if row["response"] in trained_on:
            raise Stop(f"the answer of {row['id']} stands in train too ({trained_on[row['response']]}).")


def count(members: dict[str, list[dict]], left_out: list[dict]) -> dict[str, int]:
    """The figures of metrics/split.json."""
    reasons = Counter(row["reason"] for row in left_out)
    figures = {f"split_left_out_{reason}": n for reason, n in sorted(reasons.items())}
    for name, rows in members.items():
        figures[f"split_{name}_rows"] = len(rows)
        figures[f"split_{name}_groups"] = len({row["group"] for row in rows})
        figures |= {f"split_{name}_{task}": n for task, n in sorted(Counter(r["task"] for r in rows).items())}
    return figures


@stage("split")
def main(params, _fingerprint) -> None:
    records = list(read_jsonl("data/clean/records.jsonl"))
    golden_groups = set(read_json("data/raw/golden_groups.json"))
    limits = {
        "train": params.max_train_samples,
        "val": params.max_val_samples,
        "test": params.max_test_samples,
        "golden": params.max_golden_samples,
    }
    members, left_out = split(
        records, golden_groups, params.split_seed, params.val_ratio, params.test_ratio, limits
    )  # fmt: skip
    check(len(records), members, left_out)
    for name, rows in members.items():
        write_jsonl(f"data/split/{name}.jsonl", rows)
    write_jsonl("data/split/left_out.jsonl", left_out)
    write_json("metrics/split.json", count(members, left_out))
    print(", ".join(f"{name} {len(rows)}" for name, rows in members.items()))


if __name__ == "__main__":
    main()
