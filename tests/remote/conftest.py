"""The real sshd and the real Slurm of the tests; each test process has its own."""

from collections.abc import Iterator

import pytest

from tests.remote.cluster import Cluster, make_cluster


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
