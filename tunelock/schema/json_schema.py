"""The JSON schema of params.yaml, by which editors complete, explain and check it.

    python -m tunelock.schema.json_schema

Writes params.schema.json, which the first line of params.yaml names: types and ranges are those of the schema, what a
key means is its comment in params.yaml. Contradictions between keys are not in it; `stages.validate` finds them.
"""

import re
from typing import Any

from tunelock.run.files import write_json
from tunelock.schema.params_schema import Schema

FILE = "params.schema.json"
_KEY = re.compile(r"(?P<key>\w+):(?:.*? # (?P<behind>.*))?")


def main() -> None:
    with open("params.yaml", encoding="utf-8") as file:
        write_json(FILE, build_json_schema(file.read()))


def build_json_schema(params_text: str) -> dict[str, Any]:
    """The JSON schema, with the comments of `params_text`, the text of params.yaml, as descriptions."""
    schema = _tidy(Schema.model_json_schema())
    for key, comment in read_comments(params_text).items():
        if key in schema["properties"]:
            schema["properties"][key]["description"] = comment
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "params.yaml of tunelock", **schema}


def read_comments(text: str) -> dict[str, str]:
    """What stands above each key without a blank line or a banner between, and behind it."""
    comments: dict[str, str] = {}
    above: list[str] = []
    for line in text.splitlines():
        if not line or line.startswith("# ----"):
            above = []
        elif line.startswith("#"):
            above.append(line.removeprefix("#").removeprefix(" "))
        elif found := _KEY.match(line):
            comments[found["key"]] = "\n".join([*above, found["behind"] or ""]).strip()
            above = []
    return comments


def _tidy(node: Any) -> Any:
    """Without the titles that pydantic makes of names; where names follow a pattern, no other name is allowed."""
    if isinstance(node, list):
        return [_tidy(value) for value in node]
    if not isinstance(node, dict):
        return node
    tidy = {key: _tidy(value) for key, value in node.items() if key != "title"}
    return tidy | {"additionalProperties": False} if "patternProperties" in tidy else tidy


if __name__ == "__main__":
    main()
