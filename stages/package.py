"""Pack the adapter with all that is needed to use and to check it; the same inputs give the same bytes.

    python -m stages.package

Reads models/adapter, models/base (tokenizer, template), metrics/*.json, params.yaml and the code; writes
models/tunelock-adapter.tar.gz, which `tunelock verify` checks.
"""

import json
import tomllib
from pathlib import Path

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


def contents(
    params: dict, metrics: dict, hashes: dict, provenance: dict, dependencies: list[str], notice: str, question: str
) -> dict:
    """The texts of the package that are made here, by name; `question` is the example in its README."""
    whole = METHODS[provenance["method"]].trains_whole_model
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
        "metadata.json": format_json(metadata).encode(),
    }


@stage("package")
def main(_params, _fingerprint) -> str:
    provenance = check_base("models/adapter", "models/base")
    splits = {path.name: sha256_file(path) for path in sorted(Path("data/split").glob("*.jsonl"))}
    code = sha256_value([hash_files("stages"), hash_files("tunelock")])
    hashes = {"code": code, "data": splits, "base": hash_files("models/base")}
    metrics = {Path(path).stem: read_json(path) for path in METRICS}
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    files = {file.name: file.read_bytes() for file in sorted(Path("models/adapter").iterdir())}
    files |= {name: Path("models/base", name).read_bytes() for name in TOKENIZER if Path("models/base", name).exists()}
    files |= contents(
        load_yaml("params.yaml"), metrics, hashes, provenance, project["dependencies"], Path("NOTICE").read_text(),
        next(read_jsonl("data/split/golden.jsonl"))["messages"][0]["content"],
    )  # fmt: skip
    pack_files(files, ARCHIVE)
    return f"{ARCHIVE}: {len(files) + 1} files, sha256 {sha256_file(ARCHIVE)}"


if __name__ == "__main__":
    main()
