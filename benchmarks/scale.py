"""How ingest, clean and split grow: time and memory for 100,000 and for 1,000,000 rows with known duplicates.

    python -m benchmarks.scale [--rows 100000 1000000]

The rows recombine sentences of data/clean; one in ten is a copy of the row before it, as it is, respelled or with a
few words changed (`benchmarks.planted`). Every 100,000 rows have sentences of their own, in which one word in three is
another: with the same few thousand sentences for any number of rows, a row would come to resemble ever more others,
and the time would tell of that. Each stage runs as `python -m stages.NAME` in a copy of this repository.
Memory is the proportional set size of all processes of a stage together, file pages that they map included.
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ruamel.yaml import YAML

from benchmarks.data import watched
from benchmarks.planted import paraphrase, sentences_of
from tunelock.run.files import format_json_line, read_json, read_jsonl

VARIANT = 100_000  # rows that share sentences
STAGES = ("ingest", "clean", "split")
COLUMNS = ("rows", "stage", "time (s)", "rows/s", "peak memory (MB)", "rows after it")
PARAMS = {
    "golden_groups": None,
    "golden_ratio": 0.02,
    "val_ratio": 0.02,
    "test_ratio": 0.05,
    "max_response_chars": 4000,
}


def write_rows(path: Path, count: int) -> int:
    """Write `count` question-answer rows; how many of them are copies."""
    said = (message["content"] for row in read_jsonl("data/clean/records.jsonl") for message in row["messages"])
    sentences = sentences_of((" ".join(text.split()) for text in said), similar=0.99)
    rng, copies, parts = random.Random(0), 0, []
    words = " ".join(sentences).split()
    with open(path, "wb") as out:
        for number in range(count):
            if number % VARIANT == 0:
                varied = [replaced(sentence, words, rng) for sentence in sentences]
            if number % 10 == 9:
                strength = rng.randrange(3)
                parts = [paraphrase(part, strength, number) if strength else part for part in parts]
                copies += 1
            else:
                chosen = rng.sample(varied, rng.randint(4, 7))
                parts = [f"What follows from case {number}? {chosen[0]}", " ".join(chosen[1:])]
            out.write(format_json_line({"question": parts[0], "answer": parts[1]}))
    return copies


def replaced(sentence: str, words: list[str], rng: random.Random) -> str:
    """A sentence with one word in three replaced by any of `words`."""
    return " ".join(rng.choice(words) if rng.random() < 1 / 3 else word for word in sentence.split())


def set_up(folder: Path, rows: int) -> int:
    """A copy of the repository whose only source are `rows` made rows; how many of them are copies."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], capture_output=True, text=True, check=True
    )
    for name in listed.stdout.splitlines():
        if Path(name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(name, folder / name)
    (folder / "models/base").mkdir(parents=True)
    shutil.copy("models/base/tokenizer.json", folder / "models/base/tokenizer.json")
    (folder / "data/params.ok").touch()
    yaml = YAML()
    params = yaml.load(folder / "params.yaml")
    params.update({**PARAMS, "sources": {"made": {"path": "data/raw/made.jsonl"}}})
    for limit in ("train", "val", "test", "golden"):
        params[f"max_{limit}_samples"] = None
    yaml.dump(params, folder / "params.yaml")
    return write_rows(folder / "data/raw/made.jsonl", rows)


def rows_after(stage: str, folder: Path) -> int:
    """How many rows a stage handed on."""
    if stage == "ingest":
        return read_json(folder / "data/records/counts.json")["made"]["records"]
    if stage == "clean":
        return read_json(folder / "metrics/data.json")["total"]["kept"]
    return sum(read_json(folder / "metrics/split.json")[name]["rows"] for name in ("train", "val", "test", "golden"))


def main(sizes: list[int]) -> None:
    """Run the three stages on each size and print the table."""
    print(f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|")
    totals = []
    home = os.getcwd()
    for rows in sizes:
        with tempfile.TemporaryDirectory() as name:
            copies, total = set_up(Path(name), rows), 0.0
            os.chdir(name)
            for stage in STAGES:
                started = time.time()
                peak = watched([sys.executable, "-m", f"stages.{stage}"])
                seconds = time.time() - started
                total += seconds
                cells = f"{seconds:.1f}", f"{rows / seconds:,.0f}", f"{peak:.0f}", f"{rows_after(stage, Path(name)):,}"
                print(f"| {rows:,} | {stage} | {' | '.join(cells)} |", flush=True)
            os.chdir(home)
        totals.append(total)
        print(f"\n{rows:,} rows, {copies:,} of them copies: {total:.1f} s\n", flush=True)
    print(f"{sizes[-1] / sizes[0]:.0f} times the rows took {totals[-1] / totals[0]:.1f} times as long")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    main(parser.parse_args().rows)
