"""Near-duplicate removal beside datatrove's MinHash pipeline, on the same rows and machine, in one run.

    make bench-data       # or: python -m benchmarks.data [--rows 100000] [--datatrove PYTHON]

PYTHON is an interpreter with datatrove, if it is not this one: datatrove needs xxhash before 4.

The rows recombine sentences of data/clean; some are copies of another (`benchmarks.planted`): its spelling changed, a
few words, a sentence moved, a phrase added. Each contestant reads the rows from JSON lines, finds the clusters and
writes the rows that stay, in a process of its own with two workers.

datatrove runs twice: with its defaults (5-grams of words, 14 buckets of 8 hashes: a threshold of about 0.72), and
tuned to what tunelock looks for at 0.7: 2-grams, and the bands of `tunelock.records.near`. It verifies no pair, so it
also joins rows well below the threshold, and by their chains others; tunelock at 0.5 is there for a like recall.
Recall and precision count the pairs of rows in one cluster; memory is the proportional set size (PSS) of a
contestant's processes together, so that pages they share count once; time is that of the work and its imports.
"""

import argparse
import json
import mmap
import multiprocessing
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from benchmarks.planted import planted, sentences_of
from tunelock.records.near import choose_bands, compute_signatures, find_clusters
from tunelock.run.files import format_json_line, read_json, read_jsonl, write_json

RECORDS = "data/clean/records.jsonl"
WORKERS = 2
COLUMNS = ("", "time (s)", "times as fast", "peak memory (MB)", "recall", "precision", "clusters")
DATATROVE = {"datatrove, defaults": (5, 14, 8), "datatrove, tuned to 0.7": (2, *choose_bands(0.7))}
OURS = {"tunelock, 0.7": 0.7, "tunelock, 0.5": 0.5}


def write_rows(folder: Path, count: int) -> list[int]:
    """Write the rows, one file a worker; the number of each row's original."""
    said = (message["content"] for row in read_jsonl(RECORDS) for message in row["messages"])
    sentences = sentences_of(" ".join(content.split()) for content in said)
    rows = list(planted(sentences, count, seed=0))
    folder.mkdir()
    for part, numbers in enumerate(np.array_split(range(count), WORKERS)):
        with open(folder / f"{part}.jsonl", "wb") as out:
            out.writelines(format_json_line({"id": str(i), "text": rows[i][0]}) for i in numbers.tolist())
    return [number for _, number in rows]


def dedup_ours(rows: Path, work: Path, threshold: float) -> None:
    """Signatures in two processes, then clusters of verified pairs; writes the rows that stay, and the clusters."""
    files = sorted(rows.glob("*.jsonl"))
    with multiprocessing.get_context("fork").Pool(WORKERS) as pool:
        signed = np.concatenate(pool.map(signatures_of, files))
    lines = [(view, *span) for view in map(mapped, files) for span in spans(view)]

    def row(i: int) -> dict:
        view, start, end = lines[i]
        return json.loads(view[start:end])

    labels = find_clusters(signed, threshold, lambda i: row(i)["text"]).tolist()
    with open(work / "kept.jsonl", "wb") as kept, open(work / "labels.jsonl", "wb") as out:
        kept.writelines(format_json_line(row(i)) for i, label in enumerate(labels) if label == i)
        out.writelines(format_json_line({"id": str(i), "cluster": label}) for i, label in enumerate(labels))


def signatures_of(path: Path) -> np.ndarray:
    """The signatures of a file of rows."""
    return compute_signatures(row["text"] for row in read_jsonl(path))


def mapped(path: Path) -> mmap.mmap:
    """The bytes of a file, left on disk."""
    with open(path, "rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def spans(view: mmap.mmap) -> Iterable[tuple[int, int]]:
    """Where each line begins and ends."""
    ends = np.flatnonzero(np.frombuffer(view, dtype=np.uint8) == ord("\n")) + 1
    return zip([0, *ends[:-1].tolist()], ends.tolist())


def dedup_datatrove(rows: Path, work: Path, n_grams: int, buckets: int, hashes: int) -> None:
    """The four steps of datatrove's example `minhash_deduplication.py`, on this machine."""
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup import minhash
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.writers import JsonlWriter

    config = minhash.MinhashConfig(n_grams=n_grams, num_buckets=buckets, hashes_per_bucket=hashes)
    source, names = str(rows), ("signed", "found", "joined", "kept", "left_out")
    signed, found, joined, kept, left_out = (str(work / name) for name in names)
    writers = JsonlWriter(left_out, compression=None), JsonlWriter(kept, compression=None)
    steps = [
        (WORKERS, JsonlReader(source), minhash.MinhashDedupSignature(signed, config)),
        (buckets, minhash.MinhashDedupBuckets(signed, found, config=config)),
        (1, minhash.MinhashDedupCluster(found, joined, config, save_cluster_id=True)),
        (WORKERS, JsonlReader(source), minhash.MinhashDedupFilter(joined, writers[0], True), writers[1]),
    ]
    for number, (tasks, *pipeline) in enumerate(steps):
        LocalPipelineExecutor(pipeline, tasks, min(WORKERS, tasks), str(work / f"log{number}")).run()


def labels_in(work: Path) -> list:
    """The cluster of each row that a contestant wrote; a row of datatrove's in no cluster is one of its own."""
    if (work / "labels.jsonl").exists():
        return [row["cluster"] for row in read_jsonl(work / "labels.jsonl")]
    rows = [row for name in ("kept", "left_out") for path in (work / name).glob("*.jsonl") for row in read_jsonl(path)]
    rows.sort(key=lambda row: int(row["id"]))
    found = [(row["id"], row["metadata"]["minhash_cluster_id"]) for row in rows]
    return [f"alone {i}" if cluster == -1 else cluster for i, cluster in found]


def watched(command: list[str]) -> float:
    """Run a command; the peak of the memory of all its processes together, in MB."""
    peak = 0
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdout=said, stderr=said, start_new_session=True)
        while process.poll() is None:
            peak = max(peak, sum(pss(path) for path in Path("/proc").glob("[0-9]*") if session(path) == process.pid))
            time.sleep(0.1)
        if process.returncode:
            said.seek(0)
            sys.exit(said.read().decode()[-3000:])
    return peak / 1000


def session(process: Path) -> int:
    """The session of a process: that of the command that started it, however deep; 0 if it has ended."""
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[3])
    except (OSError, IndexError):
        return 0


def pss(process: Path) -> float:
    """The proportional set size of a process in kB; 0 if it has ended."""
    try:
        lines = (process / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(1.024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def pairs(labels: Iterable) -> int:
    """How many pairs have the same label."""
    return sum(size * (size - 1) // 2 for size in Counter(labels).values())


def contest(name: str, folder: Path) -> None:
    """Run one contestant and note its time."""
    started, work = time.time(), folder / name
    work.mkdir()
    if name in OURS:
        dedup_ours(folder / "rows", work, OURS[name])
    else:
        dedup_datatrove(folder / "rows", work, *DATATROVE[name])
    write_json(work / "time.json", {"seconds": time.time() - started})


def main(count: int, datatrove: str) -> None:
    """Make the rows, run the contestants one after another and print the table."""
    probe = subprocess.run([datatrove, "-c", "import datatrove.pipeline.dedup"], capture_output=True, check=False)
    if probe.returncode:
        sys.exit(f"{datatrove} cannot import datatrove; `make bench-data` installs it and runs this.")
    if not Path(RECORDS).exists():
        sys.exit(f"{RECORDS} is missing; run `make repro` to make it.")
    print(f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|")
    baseline = None
    with tempfile.TemporaryDirectory() as folder:
        truth = write_rows(Path(folder) / "rows", count)
        for name in [*DATATROVE, *OURS]:
            python = datatrove if name in DATATROVE else sys.executable
            peak = watched([python, "-m", "benchmarks.data", "--contest", name, folder])
            seconds = read_json(Path(folder) / name / "time.json")["seconds"]
            labels = labels_in(Path(folder) / name)
            baseline, both = baseline or seconds, pairs(zip(labels, truth))
            cells = (name, f"{seconds:.1f}", f"{baseline / seconds:.1f}", f"{peak:.0f}", f"{both / pairs(truth):.4f}",
                     f"{both / max(pairs(labels), 1):.4f}", f"{len(set(labels))}")  # fmt: skip
            print(f"| {' | '.join(cells)} |", flush=True)
    print(f"\n{count} rows, {len(set(truth))} of them distinct, {pairs(truth)} planted pairs, {WORKERS} workers")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--datatrove", default=sys.executable, metavar="PYTHON")
    parser.add_argument("--contest", nargs=2, metavar=("NAME", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contest:
        contest(options.contest[0], Path(options.contest[1]))
    else:
        main(options.rows, options.datatrove)
