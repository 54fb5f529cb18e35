"""remote.yaml: what a stranger writes is taken or refused with its line; no secret is let in or shown."""

from pathlib import Path

import pytest

from docs import make_remote_keys
from tests.walls import ROOT
from tunelock.remote.host_models import ENGINES, Hosts, LocalHost, SkyHost, SlurmHost, SshHost
from tunelock.remote.hosts import find_host, load_hosts
from tunelock.run.errors import Stop

BOX = "hosts:\n  box:\n    engine: ssh\n    address: me@gpu-box\n"
CLUSTER = "hosts:\n  uni:\n    engine: slurm\n    address: login.hpc\n"
PEM = "-----BEGIN OPENSSH PRIVATE" + " KEY-----"
TOKEN = "hf" + "_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7"


@pytest.fixture(autouse=True)
def stand_in_a_project(tmp_path, monkeypatch):
    folder = tmp_path / "my project"
    folder.mkdir()
    monkeypatch.chdir(folder)


def write(text: str) -> None:
    Path("remote.yaml").write_text(text, encoding="utf-8")


def refusal(text: str) -> str:
    write(text)
    with pytest.raises(Stop) as stop:
        load_hosts()
    return str(stop.value)


def test_four_lines_are_enough_for_a_box():
    write(BOX)
    host = find_host("box")
    assert (host.name, host.engine, host.address, host.gpus) == ("box", "ssh", "me@gpu-box", "auto")
    assert (host.folder, host.python, host.time_limit, host.signal_before) == (
        "~/.tunelock/my project", "python3.11", 86400, 120,
    )  # fmt: skip
    assert (host.storage, host.venv, host.setup, host.environment) == (None, None, None, ())
    assert load_hosts().max_file_mb == 10


def test_every_key_of_slurm_is_taken():
    more = (
        "    folder: /scratch/me/tl/\n    partition: gpu\n    account: null\n    gres: gpu:a100:1\n    cpus: 8\n"
        "    memory: 64G\n    time_limit: 1d2h\n    signal_before: 90s\n    setup: |\n      module load cuda\n"
        "      ulimit -n 4096\n    sbatch: [--qos=long, --exclusive]\n    environment: [HF_TOKEN]\n"
        "    storage: s3://data/tunelock/\n    venv: ~/env\n"
    )
    write(CLUSTER + more)
    host = find_host("uni")
    assert (host.folder, host.time_limit, host.signal_before, host.storage) == (
        "/scratch/me/tl", 93600, 90, "s3://data/tunelock",
    )  # fmt: skip
    assert (host.sbatch, host.environment) == (("--qos=long", "--exclusive"), ("HF_TOKEN",))
    assert host.setup == "module load cuda\nulimit -n 4096\n"


@pytest.mark.parametrize(
    ("written", "read"),
    [("auto", "auto"), ("0", ()), ("2", (0, 1)), ("[0, 3]", (0, 3)), ("[]", ())],
)
def test_gpus_are_all_or_numbers(written, read):
    write(f"{BOX}    gpus: {written}\n")
    assert find_host("box").gpus == read


def test_the_file_that_comes_along_is_sound_and_so_are_its_examples(tmp_path):
    text = (ROOT / "remote.yaml").read_text(encoding="utf-8")
    assert list(load_hosts(ROOT / "remote.yaml").hosts) == ["here"]
    with_examples = tmp_path / "examples.yaml"
    with_examples.write_text(text.replace("\n#  ", "\n  "), encoding="utf-8")
    hosts = load_hosts(with_examples).hosts.values()
    assert [type(host) for host in hosts] == [LocalHost, SshHost, SlurmHost, SkyHost]


def test_without_the_file_a_stranger_is_shown_four_lines():
    with pytest.raises(Stop) as stop:
        find_host("box")
    write(str(stop.value).split("such as\n")[1])
    assert find_host("box").address == "me@gpu-box"


def test_an_unknown_host_is_answered_with_those_that_there_are():
    write(BOX + "  here: {engine: local}\n")
    with pytest.raises(Stop, match=r"^remote.yaml has no host 'bax'; did you mean 'box'\? It has box, here.$"):
        find_host("bax")
    write("hosts: {}\n")
    with pytest.raises(Stop, match="It has none; write one"):
        find_host("box")


def test_all_problems_are_told_at_once_each_with_its_line():
    text = BOX + "    time_limt: 3h\n    partition: gpu\n    gpus: many\n  old: {engine: pbs}\nmax_file: 3\n"
    assert refusal(text).splitlines() == [
        "remote.yaml:9: max_file: no such key; did you mean 'max_file_mb'?",
        "remote.yaml:5: hosts.box.time_limt: no such key; did you mean 'time_limit'?",
        "remote.yaml:6: hosts.box.partition: no such key for this engine, only for slurm; remove it, or change "
        "`engine`.",
        "remote.yaml:7: hosts.box.gpus: 'many' is to be auto, a number of GPUs (0 for none), or a list of their "
        "numbers such as [0, 2].",
        "remote.yaml:8: hosts.old.engine: 'pbs' is none of local, ssh, slurm, sky.",
    ]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("box: {}\n", "remote.yaml:1: hosts: is to have a name"),
        ("hosts:\n  box: {}\n", "remote.yaml:2: hosts.box: has no `engine`; add one of local, ssh, slurm, sky."),
        ("hosts:\n  box: ssh\n", "remote.yaml:2: hosts.box: has no `engine`"),
        ("hosts:\n  a/b: {engine: local}\n", "remote.yaml:2: hosts.a/b: a name has letters"),
        ("hosts:\n  box: {engine: shh, address: b}\n", "'shh' is none of local, ssh, slurm, sky; did you mean 'ssh'?"),
        ("hosts:\n  box: {engine: ssh}\n", "remote.yaml:2: hosts.box.address: is missing. What you type"),
        (BOX + "    name: x\n", "remote.yaml:5: hosts.box.name: no such key"),
        (BOX + "    python: 3.11\n", "remote.yaml:5: hosts.box.python: 3.11 should be a valid string. The"),
        (BOX + "    python: ~/bin/python\n", "'~/bin/python' is no Python that is found from every folder"),
        (BOX + "    time_limit: 24\n", "hosts.box.time_limit: 24 is no duration; write a number with its unit"),
        (BOX + "    time_limit: 0h\n", "'0h' is no duration"),
        (BOX + "    time_limit: 24h 5m\n", "'24h 5m' is no duration"),
        (BOX + "    time_limit: 60s\n", "remote.yaml:2: hosts.box: signal_before is not below time_limit"),
        (BOX + "    folder: tunelock\n", "'tunelock' is no folder of its own on the host; begin with / or ~/"),
        (BOX + "    folder: ~/\n", "'~/' is no folder of its own"),
        (BOX + "    folder: ~you/x\n", "'~you/x' is no folder of its own"),
        (BOX + "    gpus: [0, 0]\n", "[0, 0] is to be auto"),
        (BOX + "    gpus: -1\n", "-1 is to be auto"),
        (BOX + "    storage: gs://bucket\n", "'gs://bucket' is no storage; write s3://BUCKET/PATH"),
        (BOX + "    environment: HF_TOKEN\n", "remote.yaml:5: hosts.box.environment: should be a list, as in [A, B]."),
        (BOX + "    environment: [HF-TOKEN]\n", "hosts.box.environment.0: is to be the name of an environment"),
        (BOX.replace("me@gpu-box", "-oProxyCommand=x"), "'-oProxyCommand=x' is no address for ssh"),
        (BOX.replace("me@gpu-box", "me@box rm"), "'me@box rm' is no address for ssh"),
        (CLUSTER + "    memory: 64GB\n", "hosts.uni.memory: '64GB' is no size; write"),
        (CLUSTER + "    cpus: 0\n", "hosts.uni.cpus: 0 should be greater than or equal to 1. CPU cores of a job."),
        (CLUSTER + "    sbatch: [-p gpu]\n", "'-p gpu' is no option of sbatch in its long form"),
        (CLUSTER + "    sbatch:\n    - --time=3\n", "remote.yaml:6: hosts.uni.sbatch.0: '--time=3' is set by the key"),
        (CLUSTER + "    sbatch: [--array=1-3]\n", "'--array=1-3' is set by tunelock; remove it"),
        ("max_file_mb: 0\n" + BOX, "remote.yaml:1: max_file_mb: 0 should be greater than or equal to 1"),
        ("hosts: [\n", "not YAML"),
        (BOX + "    engine: ssh\n", "remote.yaml:5: 'engine' is set twice"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_by_line_key_and_value(text, sentence):
    assert sentence in refusal(text)


@pytest.mark.parametrize(
    "address", ["box", "me@box", "me@10.0.0.7", "login.hpc.edu", "ssh://me@box:2222", "ssh://[::1]:22", "::1"]
)
def test_what_ssh_takes_is_an_address(address):
    write(BOX.replace("me@gpu-box", f'"{address}"'))
    assert find_host("box").address == address


@pytest.mark.parametrize(
    ("text", "line", "secret"),
    [
        (BOX + f"    environment: [HF_TOKEN={TOKEN}]\n", 5, TOKEN),
        (BOX + "    environment: [HF_TOKEN=abc123]\n", 5, "abc123"),
        (BOX + "    environment: {HF_TOKEN: abc123}\n", 5, "abc123"),
        (BOX + "    password: hunter2\n", 5, "hunter2"),
        (BOX + "    setup: export WANDB_API_KEY=0123abcd\n", 5, "0123abcd"),
        (BOX + f"    # {TOKEN}\n", 5, TOKEN),
        (BOX.replace("me@gpu-box", "me:hunter2@gpu-box"), 4, "hunter2"),
        (BOX + f"    setup: |\n      {PEM}\n      {'b3BlbnNzaC1rZXktdjEAAAAABG5v' * 3}\n", 6, "b3B"),
    ],
)  # fmt: skip
def test_a_secret_is_refused_and_not_shown(text, line, secret):
    said = refusal(text)
    assert said.startswith(f"remote.yaml:{line}: ")
    assert secret not in said


def test_a_secret_that_the_host_reads_by_itself_is_no_secret_here():
    write(BOX + '    setup: export HF_TOKEN="$(cat ~/.token)"\n')
    assert find_host("box").setup.startswith("export")


@pytest.mark.parametrize("model", [*ENGINES.values(), Hosts], ids=lambda model: model.__name__)
def test_every_key_says_in_a_sentence_what_it_is(model):
    sentences = {key: field.description for key, field in model.model_fields.items() if key not in ("name", "engine")}
    assert all(sentence and sentence.endswith(".") for sentence in sentences.values()), sentences


def test_a_host_cannot_be_changed():
    write(BOX)
    with pytest.raises(ValueError, match="frozen"):
        find_host("box").folder = "/"


def test_the_page_of_keys_is_that_of_the_models():
    assert make_remote_keys.PAGE.read_text(encoding="utf-8") == make_remote_keys.make_page(), "run `make docs`"
