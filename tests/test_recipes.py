"""The recipes of CONTRIBUTING.md: followed in a copy of the tree, each touches the files that it names and works."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tunelock.run.files import read_json, read_jsonl, write_json, write_jsonl

ROOT = Path(__file__).parent.parent
GUIDE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


class Copy:
    """A copy of the code and params, in which a recipe is followed; `touched` are the files that it changes or adds."""

    def __init__(self, folder: Path):
        self.folder, self.touched = folder, set()
        for wing in ("stages", "tunelock", "data/general"):
            shutil.copytree(ROOT / wing, folder / wing, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("params.yaml", "dvc.yaml", "pyproject.toml"):
            shutil.copy(ROOT / name, folder / name)

    def write(self, name: str, text: str) -> None:
        self.touched.add(name)
        (self.folder / name).write_text(text, encoding="utf-8")

    def put(self, name: str, new: str, before: str) -> None:
        """Put something into a file, in front of a text that stands there once."""
        text = (self.folder / name).read_text(encoding="utf-8")
        assert text.count(before) == 1
        self.write(name, text.replace(before, new + before))

    def set(self, key: str, value: object) -> None:
        """Set a param whose value is on the line of its key."""
        path = self.folder / "params.yaml"
        text, found = re.subn(rf"^{key}:.*$", f"{key}: {value}", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
        assert found == 1
        path.write_text(text, encoding="utf-8")

    def run(self, *arguments: str) -> str:
        """Run Python in the copy."""
        command = [sys.executable, "-B", *arguments]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def copy(tmp_path) -> Copy:
    return Copy(tmp_path)


def files_of(recipe: str) -> int:
    """How many files CONTRIBUTING.md says that a recipe touches."""
    return int(re.search(rf"^\*\*{recipe}\*\* \((\d+)\)$", GUIDE, re.MULTILINE)[1])


def test_a_cleaning_rule(copy, records):
    rules = "tunelock/cleaning/alignment.py"
    copy.put(
        rules,
        "def _is_shouting(question: str, reference: str) -> bool:\n"
        '    """True if the reference is in capitals alone."""\n'
        "    return reference.isupper()\n\n\n",
        before="ANSWER_RULES: ",
    )
    copy.put(rules, '    "shouting": _is_shouting,\n', before='    "wrong_script": ')
    copy.put("params.yaml", "- shouting\n", before="- wrong_script\n")
    assert len(copy.touched) == files_of("A cleaning rule")

    copy.run("-m", "stages.validate")
    rows = []
    for number, record in enumerate(records, 1):
        rows.append(record | {"id": f"toy-{number:016x}", "source": "toy", "file": "toy.jsonl", "line": number})
    rows[3]["messages"] = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "BECAUSE " * 9}]
    write_jsonl(copy.folder / "data/records/records.jsonl", rows)
    write_jsonl(copy.folder / "data/records/set_aside.jsonl", [])
    write_json(copy.folder / "data/records/counts.json", {"toy": {"rows": len(rows), "records": len(rows)}})
    (copy.folder / "models/base").mkdir(parents=True)
    (copy.folder / "models/base/tokenizer.json").write_text("{}")
    params = copy.folder / "params.yaml"
    params.write_text(params.read_text().replace("max_dropped_share: 0.1", "max_dropped_share: 0.9"))
    copy.run("-m", "stages.clean")
    reasons = {row["id"]: row["reason"] for row in read_jsonl(copy.folder / "data/clean/dropped.jsonl")}
    assert reasons[rows[3]["id"]] == "shouting"
    assert read_json(copy.folder / "metrics/data.json")["total"]["dropped"]["shouting"] == 1


USE_OF_METRICS = """
import json
from tunelock.claims.claims import judge_differences
from tunelock.claims.comparison import compare_models, flatten_scores
from tunelock.metrics.registry import METRICS, describe_versions
from tunelock.report.result_table import format_results

rows = {"base": [], "tuned": []}
for number in range(8):
    for model, answer in (("base", "one two three"), ("tuned", "one two" if number else "one")):
        rows[model].append({
            "id": f"row-{number}", "group": f"g{number}", "task": "explain", "split": "test", "question": "Why?",
            "reference": "one", "loss": 2.0, "tokens": 4, "answer": answer, "stopped": True, "new_tokens": 3,
        })
measured = compare_models(rows["base"], rows["tuned"], METRICS.values())
figures = flatten_scores(measured, rows["base"])
claims = judge_differences(measured, rows["base"], 0.95, 200)
table = format_results(figures, {"claim_sentence": "None."})
print(json.dumps({"figures": figures, "claims": sorted(claims), "table": table, "versions": describe_versions()}))
"""


def test_a_metric(copy):
    metric = """    Metric(
        "answer_words",
        "Words of an answer.",
        "1.0.0",
        "tunelock/metrics/texts.py",
        is_answered,
        lambda rows: pair_with_ones(len(row["answer"].split()) for row in rows),
        direction=-1,
        digits=2,
        in_table=True,
    ),
"""
    copy.put("tunelock/metrics/texts.py", metric, before='    Metric(\n        "exact_match",\n')
    assert len(copy.touched) == files_of("A metric")

    found = json.loads(copy.run("-c", USE_OF_METRICS))
    assert found["figures"]["test_answer_words_base"] == 3
    assert found["figures"]["test_answer_words_tuned"] == pytest.approx(15 / 8)
    assert any("answer_words" in claim for claim in found["claims"])
    assert "| answer_words | 3.00 | 1.88 |" in found["table"]
    assert found["versions"]["answer_words"] == {"version": "1.0.0", "source": "tunelock/metrics/texts.py"}


def test_a_method(copy, records, tiny_model):
    methods = "tunelock/model/methods"
    copy.write(
        f"{methods}/mlp_lora.py",
        '"""LoRA beside the linear layers of the MLP alone."""\n\n'
        "from tunelock.model.methods.lora import MLP, Lora\n\n\n"
        "class MlpLora(Lora):\n"
        '    """Adapters where a model keeps what it knows."""\n\n'
        '    name = "mlp_lora"\n'
        '    summary = "low-rank adapters in the MLP"\n\n'
        "    def peft_config(self, folder, settings):\n"
        "        config = super().peft_config(folder, settings)\n"
        "        config.target_modules = set(MLP)\n"
        "        return config\n",
    )
    listing = f"{methods}/all_methods.py"
    copy.put(
        listing, "from tunelock.model.methods.mlp_lora import MlpLora\n", before="from tunelock.model.methods.prefix "
    )
    copy.put(listing, "MlpLora(), ", before="Prefix(), ")
    assert len(copy.touched) == files_of("A method")

    for key, value in {
        "method": "mlp_lora", "model_name_or_path": "tiny", "model_revision": "a" * 64, "num_threads": 1,
        "max_length": 256, "eval_steps": 2, "dtype": "float32",
    }.items():  # fmt: skip
        copy.set(key, value)
    copy.run("-m", "stages.validate")
    shutil.copytree(tiny_model, copy.folder / "models/base")
    for split in ("train", "val"):
        write_jsonl(copy.folder / f"data/split/{split}.jsonl", [record | {"source": "cwe"} for record in records])
    (copy.folder / "models/pilot").mkdir()
    (copy.folder / "models/pilot/go").write_text("go")
    copy.run("-m", "stages.train")
    trained = json.loads((copy.folder / "models/adapter/adapter_config.json").read_text())
    assert sorted(trained["target_modules"]) == ["down_proj", "gate_proj", "up_proj"]
    help_text = copy.run("-m", "tunelock", "configure", "--help")
    assert "mlp_lora" in help_text


def test_the_stage_that_the_guide_shows_is_the_one_that_runs():
    (shown,) = re.findall(r"^```python\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
    assert shown in (ROOT / "stages/validate.py").read_text(encoding="utf-8")


def test_every_path_in_the_guide_exists():
    named = re.findall(r"`((?:stages|tunelock|tests)/[\w./]*|[\w-]+\.(?:py|yaml|md|json|toml|txt|lock))`", GUIDE)
    real = [name for name in named if not re.search(r"\b[A-Z]{4,}\b", name)]  # stages/NAME.py is a place to fill in
    assert len(real) > 10
    assert [name for name in real if not (ROOT / name).exists()] == []


def test_the_guide_is_short():
    assert len(GUIDE.split()) <= 900
    assert len((ROOT / "AGENTS.md").read_text(encoding="utf-8").splitlines()) <= 15
