"""Pack the adapter with all that is needed to use and to check it; the same inputs give the same bytes.

    python -m stages.package

Reads models/adapter, models/base (tokenizer, template), metrics/*.json, data/raw/README.md, NOTICE where that page says
that it has the terms of the data, params.yaml and the code; writes models/tunelock-adapter.tar.gz, which
`tunelock verify` checks.
"""

import json
import re
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

from tunelock.model.methods.all_methods import METHODS
from tunelock.model.provenance import check_base
from tunelock.pull_request.markdown import format_six_digits
from tunelock.pull_request.seed_spread import flatten_values
from tunelock.pull_request.thresholds import MetricsDiff, check_rules
from tunelock.records.about_data import AboutData, hide_machine, read_about_data
from tunelock.records.reasoning import SWITCHES
from tunelock.records.record import Record
from tunelock.run.files import format_json, read_json, read_jsonl
from tunelock.run.hashing import hash_files, sha256_file, sha256_value
from tunelock.run.params import load_yaml
from tunelock.run.stage import stage
from tunelock.shipping.base_origin import describe_origin, write_loading_lines
from tunelock.shipping.packing import pack_files

ARCHIVE = Path("models/tunelock-adapter.tar.gz")
TOKENIZER = ("chat_template.jinja", "generation_config.json", "tokenizer.json", "tokenizer_config.json")
METRICS = ("data", "split", "train", "evaluate", "retention", "claims", "diagnosis")  # files of metrics/
RUNTIME = ("torch", "transformers", "peft", "safetensors")  # what the README's lines import

README = """# {title}: {base} tuned with {method}

{what}
{origin},
loaded in {dtype}, and {other}. The folder that was made of it has the sha256
`{sha}`; `metadata.json` has that of each file.{quantised}

## Is it any good?

{findings}

## How to use it

{commands}

{load}
    chat = {chat}
    inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True{how}, return_tensors="pt", return_dict=True)
    print(tokenizer.decode(model.generate(**inputs, max_new_tokens=200)[0]))

`sha256sum -c SHA256SUMS` checks the unpacked files.

## What it was trained on

{sources}

{personal_data} The terms are in NOTICE.
"""

QUANTISED = """
It was trained and measured on these weights rounded to {bits} bits. On the weights as they are, which the lines below
load, its answers differ a little."""

WHOLE_MODEL = """    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(".")
    model = AutoModelForCausalLM.from_pretrained(".", dtype="{dtype}")"""


class PackageFacts(NamedTuple):
    """What the texts of the package are made of.

    metrics: METRICS by name. hashes: of code, data and base. provenance: see `tunelock.model.provenance`. dependencies:
    the pins of pyproject.toml. about: what a person wrote about the data. notice: the file NOTICE. chat: of the
    README's example. template: the chat template, empty where the model has none.
    """

    params: dict[str, Any]
    metrics: dict[str, dict[str, Any]]
    hashes: dict[str, Any]
    provenance: dict[str, Any]
    dependencies: list[str]
    about: AboutData
    notice: str
    chat: list[dict[str, str]]
    template: str = ""


def _read_facts() -> PackageFacts:
    """The facts of this run; `Stop` if the adapter was trained on another base."""
    provenance = check_base("models/adapter", "models/base")
    splits = {path.name: sha256_file(path) for path in sorted(Path("data/split").glob("*.jsonl"))}
    code = sha256_value([hash_files("stages"), hash_files("tunelock")])
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    params, template = load_yaml("params.yaml"), Path("models/base/chat_template.jinja")
    return PackageFacts(
        params=params,
        metrics={name: read_json(f"metrics/{name}.json") for name in METRICS},
        hashes={"code": code, "data": splits, "base": hash_files("models/base")},
        provenance=provenance,
        dependencies=project["dependencies"],
        about=read_about_data(params["sources"]),
        notice=Path("NOTICE").read_text(encoding="utf-8"),
        chat=choose_chat(next(read_jsonl("data/split/golden.jsonl")), params.get("system_prompt")),
        template=template.read_text(encoding="utf-8") if template.exists() else "",
    )


def choose_chat(record: Record, system_prompt: str | None) -> list[dict[str, str]]:
    """A question as the model was trained on it: the last one of a record, behind its system message or the prompt."""
    said = [message["content"] for message in record["messages"] if message["role"] == "system"]
    asked = [message["content"] for message in record["messages"] if message["role"] in ("user", "text")]
    system = said[0] if said else system_prompt
    opening = [{"role": "system", "content": system}] if system else []
    return [*opening, {"role": "user", "content": asked[-1]}]


def _list_model_files() -> dict[str, Path]:
    """Where what was trained and the tokenizer lie, by file name."""
    tokenizer = [Path("models/base", name) for name in TOKENIZER]
    files = [*Path("models/adapter").iterdir(), *(file for file in tokenizer if file.exists())]
    return {file.name: file for file in files}


def compose_texts(facts: PackageFacts) -> dict[str, bytes]:
    """The texts of the package that are made here, by file name."""
    readme = _compose_readme(facts)
    needed = [*RUNTIME, "gguf"] if "gguf_file" in readme else RUNTIME
    requirements = [pin for pin in facts.dependencies if pin.split("==")[0] in needed]
    metadata = {"params": _hide_paths(facts), "metrics": facts.metrics, "sha256": facts.hashes, **facts.provenance}
    return {
        "README.md": readme.encode(),
        "NOTICE": (facts.notice if facts.about.notice else _compose_notice(facts)).encode(),
        "requirements.txt": "".join(f"{pin}\n" for pin in requirements).encode(),
        "metadata.json": format_json(metadata).encode(),
    }


def _hide_paths(facts: PackageFacts) -> dict[str, Any]:
    """The params without the folders of this machine."""
    sources = facts.params["sources"]
    sources = {name: source | {"path": hide_machine(source["path"])} for name, source in sources.items()}
    return facts.params | {"model_name_or_path": facts.provenance["base_model"], "sources": sources}


def _compose_readme(facts: PackageFacts) -> str:
    """How good the model is, how it is used, and what it was trained on."""
    provenance = facts.provenance
    method = METHODS[provenance["method"]]
    whole = method.trains_whole_model
    origin = describe_origin(provenance["base_model"], provenance["base_revision"])
    commands = ["pip install -r requirements.txt", *([] if whole else origin.commands)]
    lines = write_loading_lines(origin, provenance["base_revision"], provenance["dtype"])
    switches = SWITCHES[facts.params.get("thinking", "none")].items()
    return README.format(
        how="".join(f", {name}={value}" for name, value in switches if re.search(rf"\b{name}\b", facts.template)),
        title=_name_data(facts),
        what="The whole model. It was tuned from" if whole else "A PEFT adapter. It belongs to",
        origin=origin.sentence,
        other="from no other" if whole else "to no other, whatever their shape",
        commands="\n".join(f"    {command}" for command in commands),
        load=WHOLE_MODEL.format(dtype=provenance["dtype"]) if whole else lines,
        base=provenance["base_model"],
        dtype=provenance["dtype"],
        method=method.name,
        sha=provenance["base_sha256"],
        quantised=QUANTISED.format(bits=method.bits) if method.bits < 16 else "",
        findings="\n".join(f"- {finding}" for finding in _list_findings(facts)),
        chat=json.dumps(facts.chat, ensure_ascii=False),
        sources="\n".join(_list_sources(facts)),
        personal_data=facts.about.personal_data or "Nobody has said whether the rows are about persons.",
    )


def _name_data(facts: PackageFacts) -> str:
    """The title of the data; the names of its sources where it has none."""
    return facts.about.title or ", ".join(sorted(facts.params["sources"]))


def _list_sources(facts: PackageFacts) -> list[str]:
    """A line for each source with its licence."""
    lines = []
    for name, source in sorted(facts.params["sources"].items()):
        lines.append(f"- {name}: {hide_machine(source['path'])} ({source.get('licence') or 'no licence is stated'})")
    return lines


def _list_findings(facts: PackageFacts) -> list[str]:
    """The claim, the perplexities, each verdict of the diagnosis and each rule of the gate that needs no other run."""
    evaluate, claims, diagnosis = (facts.metrics[name] for name in ("evaluate", "claims", "diagnosis"))
    before, after = (evaluate[f"test_perplexity_{model}"] for model in ("base", "tuned"))
    findings = [
        f"The claim: **{claims['claim']}**. {claims['claim_sentence']}",
        f"Perplexity on the test split: base {before:.2f}, tuned {after:.2f}.",
    ]
    for name, verdict in diagnosis.items():
        if isinstance(verdict, dict) and "evidence" in verdict:
            findings.append(f"The diagnosis: **{name.replace('_', ' ')}**. {verdict['evidence']}")
    if not diagnosis["verdicts"]:
        findings.append("The diagnosis: no fault was seen in the curves and answers.")
    return findings + _list_gate_results(facts)


def _list_gate_results(facts: PackageFacts) -> list[str]:
    """How the rules of the gate went that compare with a number."""
    metrics: MetricsDiff = {}
    for name, values in facts.metrics.items():
        metrics[f"metrics/{name}.json"] = {key: {"new": value} for key, value in flatten_values(values).items()}
    rules = {name: rule for name, rule in facts.params["gate"].items() if "main" not in str(rule)}
    lines = check_rules(rules, metrics, {})
    return [f"The gate: `{one.metric} {one.rule}` **{one.result}** ({format_six_digits(one.value)})." for one in lines]


def _compose_notice(facts: PackageFacts) -> str:
    """What is known of the terms, where NOTICE does not have them."""
    model = f"The base model {facts.provenance['base_model']} has terms of its own."
    return "\n".join([f"Data: {_name_data(facts)}", "", *_list_sources(facts), "", model, ""])


@stage("package")
def main(_params, _fingerprint) -> str:
    files: dict[str, Path | bytes] = {**_list_model_files(), **compose_texts(_read_facts())}
    pack_files(files, ARCHIVE)
    return f"{ARCHIVE}: {len(files) + 1} files, sha256 {sha256_file(ARCHIVE)}"


if __name__ == "__main__":
    main()
