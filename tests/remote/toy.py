"""A small DVC project whose stages take a tenth of a second, to send to hosts: the path is the same for a large one."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
STAGE = """import json, os, pathlib, sys, time
name, params = sys.argv[1], json.loads(pathlib.Path("params.json").read_text())
time.sleep(params["seconds"])
print(f"{name}: 1 of 1 steps (100%)", file=sys.stderr)
if params["fail"] == name:
    sys.exit(f"{name}: the learning rate {params['rate']} is too high; set `rate` in params.json.")
noise = os.environ.get("WOBBLE", "") if name == "train" else ""
pathlib.Path("out").mkdir(exist_ok=True)
given = "".join(pathlib.Path(path).read_text() for path in sys.argv[3:])
pathlib.Path(sys.argv[2]).write_text(given + f"{name} rate={params['rate']}{noise}\\n")
if name == "score":
    pathlib.Path("metrics").mkdir(exist_ok=True)
    pathlib.Path("metrics/score.json").write_text(json.dumps({"loss": params["rate"] * 2}))
"""
DAG = """stages:
  prepare:
    cmd: python stage.py prepare out/data.txt data.txt
    deps: [stage.py, data.txt]
    params: [params.json: [fail]]
    outs: [out/data.txt]
  train:
    cmd: python stage.py train out/model.txt out/data.txt
    deps: [stage.py, out/data.txt]
    params: [params.json: [rate, seconds, fail]]
    outs: [out/model.txt]
  score:
    cmd: python stage.py score out/score.txt out/model.txt
    deps: [stage.py, out/model.txt]
    params: [params.json: [rate, fail]]
    outs: [out/score.txt]
    metrics: [metrics/score.json: {cache: false}]
"""
FILES = {
    "stage.py": STAGE,
    "dvc.yaml": DAG,
    "params.json": '{"rate": 1, "seconds": 0, "fail": ""}\n',
    "data.txt": "a row\n",
    ".gitignore": "/out\n/.venv\n/.ckpt\n",
    ".dvcignore": "/.ckpt\n",
}


def make_project(folder: Path, files: dict[str, str] = FILES) -> Path:
    """The project as a git repository with DVC, run once and committed; or one of other files."""
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    shutil.copytree(ROOT / "locks", folder / "locks")
    for command in (
        ["git", "init", "-q", "-b", "main"],
        ["git", "config", "user.email", "a@b.c"],
        ["git", "config", "user.name", "Ada"],
        ["dvc", "init", "-q"],
        ["dvc", "config", "core.analytics", "false"],
        ["dvc", "repro", "-q"],
        ["git", "add", "-A"],
        ["git", "commit", "-qm", "first"],
    ):
        run(command, folder)
    return folder


def copy_project(made: Path, folder: Path) -> Path:
    """A copy of a project, to be changed by one test."""
    return Path(shutil.copytree(made, folder, symlinks=True))


def run(command: list[str], folder: Path) -> str:
    """What a command prints there; DVC is that of the Python that runs this."""
    if command[0] == "dvc":
        command = [sys.executable, "-m", *command]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def list_experiments(project: Path) -> set[str]:
    """The names that `dvc exp show` has, on whichever commit they stand."""
    shown = json.loads(run(["dvc", "exp", "show", "--json", "--all-commits"], project))
    return {one["name"] for branch in shown for one in branch["experiments"] or [] for one in one["revs"]}


def write_remote_yaml(project: Path, host: Path, **keys: str) -> None:
    """One host, `here`: this machine, with the environment that runs the tests."""
    entry = {"engine": "local", "folder": str(host), "venv": sys.prefix, **keys}
    (project / "remote.yaml").write_text(json.dumps({"hosts": {"here": entry}}))


def list_processes(folder: Path, word: str) -> list[str]:
    """The commands of living processes that stand below the folder and have the word in their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            command = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            if word in command and (path / "cwd").resolve().is_relative_to(folder.resolve()):
                found.append(command)
        except OSError:
            continue
    return found
