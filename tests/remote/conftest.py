"""The real sshd, the real Slurm, the S3 and the toy project of the tests; each test process has its own."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.remote.cluster import Cluster, make_cluster
from tests.remote.toy import copy_project, make_project, write_remote_yaml

NOBODY = {"AWS_SHARED_CREDENTIALS_FILE": "/none", "AWS_CONFIG_FILE": "/none", "AWS_EC2_METADATA_DISABLED": "true"}
AWS_KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "made up", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture(scope="session")
def _cluster() -> Iterator[Cluster]:
    cluster = make_cluster()
    yield cluster
    cluster.stop()


@pytest.fixture(scope="session")
def sshd(_cluster) -> Cluster:
    """An sshd on loopback: `sshd.ssh_config` is for `ssh -F`, `box` its host."""
    if "sshd" not in _cluster.keepers:
        _cluster.start("sshd")
    return _cluster


@pytest.fixture(scope="session")
def slurm(_cluster) -> Cluster:
    """A Slurm with two pretended GPUs on loopback: `slurm.environment` names it, and a session of `sshd` finds it."""
    if "slurm" not in _cluster.keepers:
        _cluster.start("slurm")
    return _cluster


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """S3 on a free port of this machine; its address."""
    from moto.server import ThreadedMotoServer

    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    yield f"http://{host}:{port}"
    moto.stop()


@pytest.fixture
def aws(s3_server, monkeypatch) -> Iterator[Any]:
    """The environment of someone with a key for the server; it has an empty bucket `data`."""
    import boto3
    from s3fs import S3FileSystem

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in {**NOBODY, **AWS_KEYS, "AWS_ENDPOINT_URL": s3_server}.items():
        monkeypatch.setenv(name, value)
    S3FileSystem.clear_instance_cache()  # which knows the environment of the test before
    bucket = boto3.resource("s3").create_bucket(Bucket="data")
    yield bucket
    bucket.objects.all().delete()


@pytest.fixture(scope="session")
def made(tmp_path_factory) -> Path:
    """The toy project, run once and committed; tests copy it."""
    return make_project(tmp_path_factory.mktemp("a b") / "project")


@pytest.fixture
def project(made, tmp_path, monkeypatch) -> Path:
    """A copy of the project, in which the test stands, and its host `here`."""
    folder = copy_project(made, tmp_path / "my project")
    write_remote_yaml(folder, tmp_path / "the höst")
    monkeypatch.chdir(folder)
    return folder
