"""Pack the adapter with all that is needed to use and to check it; the same inputs give the same bytes.

    python -m stages.package

Reads models/adapter, models/base (tokenizer, template), metrics/*.json, params.yaml and the code; writes
models/tunelock-adapter.tar.gz, which `tunelock verify` checks.
"""

import json
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

from tunelock.model.methods.all_methods import METHODS
from tunelock.model.provenance import check_base
from tunelock.run.files import format_json, read_json, read_jsonl
from tunelock.run.hashing import hash_files, sha256_file, sha256_value
from tunelock.run.params import load_yaml
from tunelock.run.stage import stage
from tunelock.shipping.packing import pack_files

ARCHIVE = Path("models/tunelock-adapter.tar.gz")
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


class PackageFacts(NamedTuple):
    """What the texts of the package are made of.

    metrics: METRICS by name. hashes: of code, data and base. provenance: see `tunelock.model.provenance`. dependencies:
    the pins of pyproject.toml. question: the example in the package's README.
    """

    params: dict[str, Any]
    metrics: dict[str, dict[str, Any]]
    hashes: dict[str, Any]
    provenance: dict[str, Any]
    dependencies: list[str]
    notice: str
    question: str


def _read_facts() -> PackageFacts:
    """The facts of this run; `Stop` if the adapter was trained on another base."""
    provenance = check_base("models/adapter", "models/base")
    splits = {path.name: sha256_file(path) for path in sorted(Path("data/split").glob("*.jsonl"))}
    code = sha256_value([hash_files("stages"), hash_files("tunelock")])
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    return PackageFacts(
        params=load_yaml("params.yaml"),
        metrics={Path(path).stem: read_json(path) for path in METRICS},
        hashes={"code": code, "data": splits, "base": hash_files("models/base")},
        provenance=provenance,
        dependencies=project["dependencies"],
        notice=Path("NOTICE").read_text(encoding="utf-8"),
        question=next(read_jsonl("data/split/golden.jsonl"))["messages"][0]["content"],
    )


def _read_model_files() -> dict[str, bytes]:
    """What was trained and the tokenizer, by file name."""
    files = {file.name: file.read_bytes() for file in sorted(Path("models/adapter").iterdir())}
    tokenizer = [Path("models/base", name) for name in TOKENIZER]
    return files | {file.name: file.read_bytes() for file in tokenizer if file.exists()}


def compose_texts(facts: PackageFacts) -> dict[str, bytes]:
    """The texts of the package that are made here, by file name."""
    requirements = [pin for pin in facts.dependencies if pin.split("==")[0] in RUNTIME]
    metadata = {"params": facts.params, "metrics": facts.metrics, "sha256": facts.hashes, **facts.provenance}
    return {
        "README.md": _compose_readme(facts).encode(),
        "NOTICE": facts.notice.encode(),
        "requirements.txt": "".join(f"{pin}\n" for pin in requirements).encode(),
        "metadata.json": format_json(metadata).encode(),
    }


def _compose_readme(facts: PackageFacts) -> str:
    """How the package is used, what it was trained on, and how good it is."""
    whole = METHODS[facts.provenance["method"]].trains_whole_model
    sources = []
    for name, source in sorted(facts.params["sources"].items()):
        sources.append(f"- {name}: {source['path']} ({source.get('licence') or 'licence not stated'})")
    return README.format(
        what="The whole model. It was tuned from" if whole else "A PEFT adapter. It belongs to",
        other="from no other" if whole else "to no other, whatever their shape",
        load=(WHOLE_MODEL if whole else ADAPTER).format(dtype=facts.params["dtype"]),
        base=facts.provenance["base_model"],
        method=facts.provenance["method"],
        sha=facts.provenance["base_sha256"],
        before=facts.metrics["evaluate"]["test_perplexity_base"],
        after=facts.metrics["evaluate"]["test_perplexity_tuned"],
        question=json.dumps(facts.question, ensure_ascii=False),
        sources="\n".join(sources),
    )


@stage("package")
def main(_params, _fingerprint) -> str:
    files = _read_model_files() | compose_texts(_read_facts())
    pack_files(files, ARCHIVE)
    return f"{ARCHIVE}: {len(files) + 1} files, sha256 {sha256_file(ARCHIVE)}"


if __name__ == "__main__":
    main()
