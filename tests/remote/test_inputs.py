"""A host with the listed objects, and no others, runs the stages that were foretold; what it would lack is refused."""

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from dvc.cli import main

from tunelock.remote.inputs import CacheObject, Inputs, list_inputs
from tunelock.remote.snapshot import take_snapshot
from tunelock.remote.there.clone import forget_stages, set_up_clone
from tunelock.run.errors import Stop

DVC_YAML = """\
stages:
  validate:
    cmd: echo validate >> "$RUN_LOG" && echo ok > ok.txt
    params:
      - params.yaml:
    outs:
      - ok.txt
  first:
    cmd:
      - echo first >> "$RUN_LOG"
      - mkdir -p data/first && cp raw/x.txt data/first/a.txt && cp code.txt data/first/b.txt
    deps: [code.txt, ok.txt, raw]
    params: [early]
    outs: [data/first]
  second:
    cmd: echo second >> "$RUN_LOG" && cat data/first/a.txt > second.txt && echo ${mid} >> second.txt
    deps: [data/first/a.txt]
    params: [mid]
    outs: [second.txt]
  third:
    cmd: echo third >> "$RUN_LOG" && cat second.txt params.yaml > third.txt && echo "{}" > m.json
    deps: [second.txt]
    params: [last]
    outs: [third.txt]
    metrics:
      - m.json:
          cache: false
  side:
    cmd: echo side >> "$RUN_LOG" && cat data/first/* > side.txt
    deps: [data/first, ok.txt]
    params: [aside]
    outs: [side.txt]
  fourth:
    cmd: echo fourth >> "$RUN_LOG" && cat m.json fourth_code.txt > fourth.txt
    deps: [m.json, fourth_code.txt]
    outs: [fourth.txt]
  each:
    foreach: [a, b]
    do:
      cmd: echo each@${item} >> "$RUN_LOG" && cp second.txt each_${item}.txt
      deps: [second.txt]
      params: ["of.${item}"]
      outs: ["each_${item}.txt"]
plots:
  - third.txt
"""
PARAMS = "early: 1\nmid: 1\nlast: 1\naside: 1\nof:\n  a: 1\n  b: 1\n"
FILES = {
    "dvc.yaml": DVC_YAML,
    "params.yaml": PARAMS,
    "code.txt": "code 1\n",
    "fourth_code.txt": "1\n",
    "raw/README": "r\n",
}


class Toy:
    """A toy project at home, and a host that has nothing but what was sent."""

    def __init__(self, folder: Path):
        self.home, self.there, self.log = folder / "at home", folder / "the host", folder / "log"

    def run(self, *command: str, folder: Path | None = None) -> str:
        env = {key: value for key, value in os.environ.items() if not key.startswith(("DVC_", "GIT_"))}
        env |= {"PATH": f"{Path(sys.executable).parent}:{env['PATH']}", "RUN_LOG": str(self.log)}
        done = subprocess.run(command, cwd=folder or self.home, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def dvc(self, *arguments: str, folder: Path | None = None) -> str:
        return self.run(sys.executable, "-m", "dvc", *arguments, folder=folder)

    def build(self) -> None:
        """The project with all stages run and committed."""
        self.home.mkdir()
        self.run("git", "init", "-q")
        self.run("git", "config", "user.name", "Ada")
        self.run("git", "config", "user.email", "ada@example.invalid")
        self.dvc("init", "-q")
        (self.home / ".dvc/config").write_text("[core]\n    analytics = false\n")
        for name, text in FILES.items():
            self.write(name, text)
        self.write("raw/x.txt", "x\n")
        self.dvc("add", "raw/x.txt")
        self.dvc("repro")
        self.commit()

    def commit(self) -> None:
        self.run("git", "add", "-A")
        self.run("git", "commit", "-qm", "all")

    def write(self, name: str, text: str) -> None:
        (self.home / name).parent.mkdir(parents=True, exist_ok=True)
        (self.home / name).write_text(text)

    def edit(self, name: str, old: str, new: str) -> None:
        text = (self.home / name).read_text()
        assert old in text
        self.write(name, text.replace(old, new))

    def lose(self, out: str) -> None:
        """Take the object of a file that dvc.lock names out of the cache, and the file out of the workspace."""
        (self.home / ".dvc/cache/files/md5" / find_md5(self, out)).unlink()
        (self.home / out).unlink()

    def submit(self, *overrides: str) -> tuple[Inputs, list[str]]:
        """What is listed, and the stages that then ran on the host, in order."""
        os.chdir(self.home)
        snapshot = take_snapshot(10)
        inputs = list_inputs([overrides], snapshot)
        bare, clone = self.there / "repo.git", self.there / "clone"
        self.run("git", "init", "-q", "--bare", str(bare))
        self.run("git", "push", "-q", str(bare), f"{snapshot.commit}:refs/tunelock/jobs/1")
        for item in inputs.objects:
            place = self.there / "cache" / item.path
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(self.home / ".dvc/cache" / item.path, place)
            assert place.stat().st_size == item.size
        set_up_clone(bare, clone, snapshot.commit, snapshot.head)
        forget_stages(clone, inputs.made_again)
        (clone / ".dvc/config.local").write_text(f"[cache]\n    dir = {self.there / 'cache'}\n")
        self.log.unlink(missing_ok=True)
        sets = [word for override in overrides for word in ("-S", override)]
        os.environ["RUN_LOG"] = str(self.log)
        with contextlib.chdir(clone):
            assert main(["exp", "run", "-n", "lr", "--allow-missing", *sets]) == 0
        return inputs, self.log.read_text().split() if self.log.exists() else []


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    toy = Toy(tmp_path_factory.mktemp("toy"))
    toy.build()
    return toy.home


@pytest.fixture
def toy(made, tmp_path, monkeypatch) -> Toy:
    fresh = Toy(tmp_path)
    shutil.copytree(made, fresh.home, symlinks=True)
    monkeypatch.chdir(fresh.home)
    return fresh


RAW, A_TXT, LIST, SECOND = "raw/x.txt", "data/first/a.txt", "data/first", "second.txt"
AFTER_SECOND = {"third", "fourth", "each@a", "each@b"}


def name_objects(toy: Toy, inputs: Inputs) -> set[str]:
    """The files at home whose objects are listed, by name; a folder's list of its files has the folder's name."""
    names = {}
    for name in (RAW, "ok.txt", "data/first/b.txt", SECOND, "third.txt", "side.txt", "fourth.txt", A_TXT):
        content = (toy.home / name).read_bytes() if (toy.home / name).exists() else b"gone"
        names[hashlib.md5(content).hexdigest()] = name
    found = {item.path.removeprefix("files/md5/").replace("/", "") for item in inputs.objects}
    return {LIST if name.endswith(".dir") else names[name] for name in found}


def test_without_a_change_no_stage_runs_and_little_is_sent(toy):
    inputs, ran = toy.submit()
    assert ran == [] and inputs.will_run == inputs.may_run == inputs.made_again == inputs.not_here == ()
    assert set(inputs.taken) == {"validate", "first", "second", "side"} | AFTER_SECOND
    assert CacheObject(f"files/md5/{hashed(toy.home / RAW)}", 2) in inputs.objects
    assert name_objects(toy, inputs) == {A_TXT, LIST}  # a folder hides raw/x.txt, and of another DVC reads the list


def test_a_param_of_the_last_stage(toy):
    inputs, ran = toy.submit("last=2")
    assert set(ran) == {"validate", "third"} == set(inputs.will_run)
    assert name_objects(toy, inputs) == {A_TXT, LIST, SECOND}


def test_a_param_of_a_middle_stage(toy):
    inputs, ran = toy.submit("mid=2")
    assert set(ran) == {"validate", "second", "third", "each@a", "each@b"}  # m.json stays the same, so fourth rests
    assert set(inputs.will_run) == {"validate", "second"} and set(inputs.may_run) == {"first", "side", *AFTER_SECOND}
    assert SECOND not in name_objects(toy, inputs) and "data/first/b.txt" in name_objects(toy, inputs)


def test_a_param_of_one_of_several_alike(toy):
    inputs, ran = toy.submit("of.a=2")
    assert set(ran) == {"validate", "each@a"} == set(inputs.will_run)
    assert name_objects(toy, inputs) == {A_TXT, LIST, SECOND}


def test_changed_code_that_changes_a_part_of_a_folder(toy):
    toy.edit("code.txt", "1", "2")
    inputs, ran = toy.submit()
    assert ran == ["first", "side"] and inputs.will_run == ("first",)
    assert name_objects(toy, inputs) == {A_TXT, "ok.txt"}  # third runs only if second does, so second.txt stays here


def test_a_new_key_runs_what_reads_the_whole_file(toy):
    inputs, ran = toy.submit("+new=1")
    assert ran == ["validate"] and inputs.will_run == ("validate",)


def test_a_folder_is_sent_with_all_of_its_files(toy):
    inputs, ran = toy.submit("aside=2")
    assert ran == ["validate", "side"]
    assert name_objects(toy, inputs) == {A_TXT, LIST, "data/first/b.txt"}


def test_a_lost_out_that_a_stage_reads_is_made_again(toy):
    toy.lose(SECOND)
    inputs, ran = toy.submit("last=2")
    assert inputs.not_here == (SECOND,) and inputs.made_again == ("second",)
    assert ran == ["validate", "second", "third"]


def test_a_lost_out_that_no_stage_reads_is_not_missed(toy):
    toy.lose(SECOND)
    inputs, ran = toy.submit("aside=2")
    assert ran == ["validate", "side"] and inputs.not_here == inputs.made_again == ()


def test_what_is_lost_in_a_row_is_made_in_a_row(toy):
    toy.lose(SECOND)
    shutil.rmtree(toy.home / LIST)
    (toy.home / ".dvc/cache/files/md5" / find_md5(toy, LIST)).unlink()
    inputs, ran = toy.submit("last=2")
    assert ran == ["validate", "first", "second", "third"] and set(inputs.made_again) == {"first", "second"}


def test_new_data_below_a_dvc_file(toy):
    toy.write(RAW, "new\n")
    toy.dvc("add", RAW)
    inputs, ran = toy.submit()
    assert set(ran) == {"first", "second", "third", "each@a", "each@b", "side"} and inputs.will_run == ("first",)
    assert name_objects(toy, inputs) == {RAW, "ok.txt"}


def test_metrics_in_git_are_there_already(toy):
    toy.edit("fourth_code.txt", "1", "2")
    inputs, ran = toy.submit()
    assert ran == ["fourth"] and name_objects(toy, inputs) == {A_TXT, LIST}


def test_a_frozen_stage_rests_and_its_out_is_sent(toy):
    toy.dvc("freeze", "first")
    toy.edit("code.txt", "1", "2")
    inputs, ran = toy.submit("aside=2")
    assert ran == ["validate", "side"] and "first" in inputs.taken


def test_a_stage_that_lags_behind_dvc_lock_runs(toy):
    toy.edit("params.yaml", "mid: 1", "mid: 2")
    toy.dvc("repro", "--single-item", "second")
    inputs, ran = toy.submit()
    assert set(ran) == {"validate", "third", "each@a", "each@b"} == set(inputs.will_run)
    assert SECOND in name_objects(toy, inputs) and "second" in inputs.may_run


def test_stages_that_lag_behind_a_folder_run_though_they_read_but_a_part_of_it(toy):
    toy.write(RAW, "new\n")
    toy.dvc("add", RAW)
    toy.dvc("repro", "--single-item", "first")
    inputs, ran = toy.submit()
    assert set(inputs.will_run) == {"second", "side"} and set(ran) == {"second", "side", "third", "each@a", "each@b"}


def test_a_stage_may_be_made_again_instead_of_sent(toy):
    snapshot = take_snapshot(10)
    inputs = list_inputs([["last=2"]], snapshot, again=["second"])
    assert inputs.made_again == ("second",) and inputs.not_here == ()
    assert SECOND not in name_objects(toy, inputs) and "data/first/b.txt" in name_objects(toy, inputs)


def test_the_tasks_of_a_sweep_are_joined(toy):
    inputs = list_inputs([["last=1"], ["aside=2"]], take_snapshot(10))
    assert set(inputs.will_run) == {"validate", "side"} and "data/first/b.txt" in name_objects(toy, inputs)
    assert (toy.home / "params.yaml").read_text() == PARAMS


def refuse(*overrides: str, allowed: Iterable[str] = ()) -> str:
    snapshot = take_snapshot(10)
    with pytest.raises(Stop) as stop:
        list_inputs([overrides], snapshot, tuple(allowed))
    return str(stop.value)


def test_data_that_differs_from_its_dvc_file_is_refused(toy):
    toy.write(RAW, "by hand\n")
    assert "raw/x.txt differs from raw/x.txt.dvc; take the change over with `dvc add raw/x.txt`." in refuse()
    assert list_inputs([[]], take_snapshot(10), [RAW]).will_run == ()


def test_data_that_is_nowhere_is_refused(toy):
    (toy.home / ".dvc/cache/files/md5" / hashed(toy.home / RAW)).unlink()
    assert "raw/x.txt is not in this cache; `dvc commit raw/x.txt.dvc` stores it." in refuse()
    (toy.home / RAW).unlink()
    assert "`dvc pull raw/x.txt.dvc` fetches it." in refuse()


def test_a_lost_out_of_a_frozen_stage_is_refused(toy):
    toy.edit("dvc.yaml", "  second:\n", "  second:\n    frozen: true\n")
    toy.lose(SECOND)
    assert "second.txt is not in this cache, and second, which makes it, is frozen" in refuse("last=2")


def test_a_dep_that_git_ignores_is_refused_if_its_stage_may_run(toy):
    toy.run("git", "rm", "-q", "--cached", "fourth_code.txt")
    toy.write(".gitignore", "fourth_code.txt\n")
    assert "fourth" in list_inputs([[]], take_snapshot(10)).taken
    assert "fourth_code.txt, which fourth reads, is ignored by git; put it under DVC" in refuse("last=2")
    toy.write("fourth_code.txt", "2\n")
    assert "fourth_code.txt, which fourth reads, is ignored by git" in refuse()


def test_a_file_that_git_ignores_in_a_folder_that_a_stage_reads_is_refused(toy):
    toy.write(".gitignore", "*.tmp\n")
    toy.write("raw/own.tmp", "1\n")
    assert "raw/own.tmp stands in a folder that a stage reads, and git ignores it" in refuse()
    toy.write(".dvcignore", "*.tmp\n")
    assert list_inputs([[]], take_snapshot(10)).will_run == ()


def test_paths_of_this_machine_in_params_are_refused(toy, tmp_path):
    outside = tmp_path / "outside.jsonl"
    outside.write_text("1\n")
    toy.write(".gitignore", "/models/\n")
    toy.write("models/own/config.json", "1\n")
    told = refuse(f"+source={{path: '{outside}'}}", "+model=models/own", "+there=/scratch/on/the/host", "+up=../log/..")
    assert f"params.yaml: source.path is {outside}, outside of the repository" in told
    assert "params.yaml: model is models/own, which git ignores" in told
    assert "scratch" not in told and "up is" not in told
    assert "source.path" not in refuse(f"+source={{path: '{outside}'}}", "+model=models/own", allowed=[str(outside)])


def test_overrides_that_dvc_refuses_are_told(toy):
    assert "-S lst=2: DVC refuses it" in refuse("lst=2")
    assert "the snapshot has no other.yaml" in refuse("other.yaml:x=2")


def test_an_out_that_a_stage_goes_on_writing_is_sent(toy):
    toy.edit("dvc.yaml", "    outs: [second.txt]", "    outs:\n      - second.txt:\n          persist: true")
    inputs = list_inputs([["mid=2"]], take_snapshot(10))
    assert "second" in inputs.will_run and SECOND in name_objects(toy, inputs)


def test_a_project_that_dvc_cannot_read_is_told(toy):
    toy.write("dvc.yaml", DVC_YAML.replace("deps: [second.txt]", "deps: [second.txt", 1))
    assert "DVC cannot read this project (unable to read: 'dvc.yaml', YAML file structure is corrupted)" in refuse()
    shutil.rmtree(toy.home / ".dvc")
    assert "DVC cannot read this project (you are not inside of a DVC repository" in refuse()


def test_the_workspace_stays_as_it_is(toy):
    before = {path: path.read_bytes() for path in sorted(toy.home.rglob("*")) if path.is_file() and is_own(path)}
    toy.submit("last=2")
    assert before == {
        path: path.read_bytes() for path in sorted(toy.home.rglob("*")) if path.is_file() and is_own(path)
    }


def is_own(path: Path) -> bool:
    """Whether a file is the user's: neither git's store of objects nor DVC's scratch folder."""
    return ".git/objects" not in path.as_posix() and ".dvc/tmp" not in path.as_posix()


def hashed(path: Path) -> str:
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    return f"{md5[:2]}/{md5[2:]}"


def find_md5(toy: Toy, out: str) -> str:
    """The object of an out of dvc.lock, below files/md5."""
    lines = (toy.home / "dvc.lock").read_text().splitlines()
    md5 = next(line.split()[1] for line in lines[lines.index(f"    - path: {out}") :] if "md5: " in line)
    return f"{md5[:2]}/{md5[2:]}"
