"""Check all of params.yaml before anything is loaded; the first stage, on which every other depends.

    python -m stages.validate

Writes data/params.ok, whose content never changes: a param that passes re-runs only the stages that read it.
"""

from tunelock.run.errors import Stop
from tunelock.run.files import write_text
from tunelock.run.params import load_yaml
from tunelock.run.stage import stage
from tunelock.schema.params_problems import find_problems


@stage("validate")
def main(_params, _fingerprint) -> str:
    found = find_problems(load_yaml("params.yaml"))
    if found:
        raise Stop(f"params.yaml has {len(found)} problem(s):\n" + "\n".join(f"  {problem}" for problem in found))
    write_text("data/params.ok", "params.yaml follows its schema\n")
    return "params.yaml follows its schema"


if __name__ == "__main__":
    main()
