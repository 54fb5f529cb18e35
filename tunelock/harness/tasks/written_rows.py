"""What the task files in this folder call: how their rows are read, and how a reference answer is scored."""

import json

import datasets


def read(file: str, **_metadata) -> dict[str, datasets.Dataset]:
    """The rows of a JSON-lines file as the split `test`.

    Not by `load_dataset`: pyarrow's reader would make dates out of texts that look like dates, and it fills a cache.
    """
    try:
        with open(file, encoding="utf-8", newline="\n") as lines:
            return {"test": datasets.Dataset.from_list([json.loads(line) for line in lines])}
    except FileNotFoundError:
        raise FileNotFoundError(f"{file} is missing; run `tunelock harness` to write it.") from None


def per_token(doc: dict, results: list[tuple[float, bool]]) -> dict[str, tuple[float, int]]:
    """Log-likelihood (nats) and tokens of an answer; the harness's own perplexity is by row, however long it is."""
    ((log_likelihood, _is_greedy),) = results
    return {"perplexity": (log_likelihood, doc["tokens"])}
