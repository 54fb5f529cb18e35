"""Pack the adapter with all that is needed to use and to check it; the same inputs give the same bytes.

    python -m stages.package                # the stage
    python -m stages.package verify FILE    # names every file that was flipped, missing or added

Reads models/adapter, models/base (tokenizer, template), metrics/*.json, params.yaml and the code; writes
models/tunelock-adapter.tar.gz.
"""

import gzip
import hashlib
import io
import json
import os
import sys
import tarfile
import tomllib
import zlib
from pathlib import Path

from tunelock.model.provenance import check_base
from tunelock.run.errors import Stop
from tunelock.run.files import json_text, read_json, read_jsonl, whole_file
from tunelock.run.hashing import file_hashes, sha256_file, sha256_value
from tunelock.run.params import load_yaml
from tunelock.run.stage import plain_errors, stage

ARCHIVE = Path("models/tunelock-adapter.tar.gz")
SUMS = "SHA256SUMS"
TOKENIZER = ("chat_template.jinja", "tokenizer.json", "tokenizer_config.json")
METRICS = ("metrics/data.json", "metrics/split.json", "metrics/train.json", "metrics/evaluate.json")
RUNTIME = ("torch", "transformers", "peft", "safetensors")  # what the README's lines import

README = """# {base} tuned with {method}

{what} the base weights with sha256 `{sha}` (names and contents of
the model folder, see `metadata.json`) and {other}.

    pip install -r requirements.txt

{load}
    chat = [{{"role": "user", "content": {question}}}]
    inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    print(tokenizer.decode(model.generate(**inputs, max_new_tokens=200)[0]))

`sha256sum -c SHA256SUMS` checks the unpacked files. Perplexity on the test split: base {before:.2f},
tuned {after:.2f}. The terms of the data are in NOTICE; it was trained on:

{sources}
"""

ADAPTER = """    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(".")
    base = AutoModelForCausalLM.from_pretrained("FOLDER/OF/THE/BASE", dtype="{dtype}")
    model = PeftModel.from_pretrained(base, ".")"""
WHOLE_MODEL = """    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(".")
    model = AutoModelForCausalLM.from_pretrained(".", dtype="{dtype}")"""


def contents(
    params: dict, metrics: dict, hashes: dict, provenance: dict, dependencies: list[str], notice: str, question: str
) -> dict:
    """The texts of the package that are made here, by name; `question` is the example in its README."""
    whole = provenance["method"] == "full"
    readme = README.format(
        what="The whole model. It was tuned from" if whole else "A PEFT adapter. It belongs to",
        other="from no other" if whole else "to no other, whatever their shape",
        load=(WHOLE_MODEL if whole else ADAPTER).format(dtype=params["dtype"]),
        base=provenance["base_model"],
        method=provenance["method"],
        sha=provenance["base_sha256"],
        before=metrics["evaluate"]["test_perplexity_base"],
        after=metrics["evaluate"]["test_perplexity_tuned"],
        question=json.dumps(question, ensure_ascii=False),
        sources="\n".join(
            f"- {name}: {source['path']} ({source.get('licence') or 'licence not stated'})"
            for name, source in sorted(params["sources"].items())
        ),
    )
    requirements = [pin for pin in dependencies if pin.split("==")[0] in RUNTIME]
    metadata = {"params": params, "metrics": metrics, "sha256": hashes, **provenance}
    return {
        "README.md": readme.encode(),
        "NOTICE": notice.encode(),
        "requirements.txt": "".join(f"{pin}\n" for pin in requirements).encode(),
        "metadata.json": json_text(metadata).encode(),
    }


def pack(files: dict[str, bytes], archive: Path) -> None:
    """Write files and their SHA256SUMS as .tar.gz with sorted names and a fixed owner and time."""
    sums = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in sorted(files.items()))
    mtime = int(os.environ.get("SOURCE_DATE_EPOCH", "0"))
    with whole_file(archive) as out, gzip.GzipFile("", "wb", 9, out, mtime=mtime) as zipped:
        with tarfile.open(fileobj=zipped, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for name, data in sorted({**files, SUMS: sums.encode()}.items()):
                info = tarfile.TarInfo(name)
                info.size, info.mtime, info.mode = len(data), mtime, 0o644
                tar.addfile(info, io.BytesIO(data))


def verify(archive: Path) -> list[str]:
    """What is wrong with a package, a sentence each; empty if it is as it was packed.

    Raises:
        Stop: it is no readable package.
    """
    try:
        with tarfile.open(archive, "r:gz") as tar:
            members = tar.getmembers()
            odd = [f"{m.name}: is not a plain file" for m in members if not m.isfile() or "/" in m.name]
            found = {
                m.name: hashlib.file_digest(tar.extractfile(m), "sha256").hexdigest() for m in members if m.isfile()
            }
            twice = sorted({m.name for m in members if [n.name for n in members].count(m.name) > 1})
            sums = tar.extractfile(SUMS).read(2**20).decode() if SUMS in found else None
    except (OSError, EOFError, tarfile.TarError, ValueError, zlib.error) as error:
        raise Stop(f"{archive} is no readable package ({error}); fetch it again.") from None
    if sums is None:
        raise Stop(f"{archive} has no {SUMS}; it was not made by `python -m stages.package`.")
    wanted = dict(reversed(line.split("  ", 1)) for line in sums.splitlines() if "  " in line)
    found.pop(SUMS)
    return [
        *odd,
        *(f"{name}: is there twice" for name in twice),
        *(f"{name}: was changed" for name in sorted(found.keys() & wanted.keys()) if found[name] != wanted[name]),
        *(f"{name}: is missing" for name in sorted(wanted.keys() - found.keys())),
        *(f"{name}: was added" for name in sorted(found.keys() - wanted.keys())),
    ]


@stage("package")
def main(_params, _fingerprint) -> str:
    provenance = check_base("models/adapter", "models/base")
    splits = {path.name: sha256_file(path) for path in sorted(Path("data/split").glob("*.jsonl"))}
    code = sha256_value([file_hashes("stages"), file_hashes("tunelock")])
    hashes = {"code": code, "data": splits, "base": file_hashes("models/base")}
    metrics = {Path(path).stem: read_json(path) for path in METRICS}
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    files = {file.name: file.read_bytes() for file in sorted(Path("models/adapter").iterdir())}
    files |= {name: Path("models/base", name).read_bytes() for name in TOKENIZER if Path("models/base", name).exists()}
    files |= contents(
        load_yaml("params.yaml"), metrics, hashes, provenance, project["dependencies"], Path("NOTICE").read_text(),
        next(read_jsonl("data/split/golden.jsonl"))["messages"][0]["content"],
    )  # fmt: skip
    pack(files, ARCHIVE)
    return f"{ARCHIVE}: {len(files) + 1} files, sha256 {sha256_file(ARCHIVE)}"


def verify_or_exit(archive: str) -> None:
    """The `verify` command."""
    with plain_errors("verify"):
        wrong = verify(Path(archive))
        if wrong:
            raise Stop(f"{archive} is not as it was packed:\n" + "\n".join(f"  {problem}" for problem in wrong))
    print(f"{archive}: every file is as it was packed")


if __name__ == "__main__":
    match sys.argv[1:]:
        case []:
            main()
        case ["verify", archive]:
            verify_or_exit(archive)
        case _:
            sys.exit("usage: python -m stages.package [verify FILE]")
