"""A Ray cluster of two nodes of this machine: one dies, the driver dies, a network fails. Needs the extra ``ray``."""

import os
import pickle
import subprocess
import tempfile
import time
from dataclasses import replace

import pytest
from conftest import PYTHONPATH, begun
from test_runs import made, splits  # noqa: F401
from test_training import RECIPE, equal

from fasnb.model.weights import load_network
from fasnb.training.archive import is_done, load_scores
from fasnb.training.run import train

# more time to start than Ray gives by default; read when it is imported
os.environ |= {"RAY_raylet_start_wait_time_s": "300", "RAY_health_check_timeout_ms": "60000"}
ray = pytest.importorskip("ray", reason="needs a Ray cluster: pip install 'fasnb[ray]'")

DRIVER = "import pickle, sys; from fasnb.training.run import train; train(pickle.load(open(sys.argv[1], 'rb')), 'ray')"


@pytest.fixture
def cluster(monkeypatch):
    """The cluster, its second node, and RAY_ADDRESS set to it; a node has one processor, so that both have work."""
    from ray.cluster_utils import Cluster

    with tempfile.TemporaryDirectory(prefix="ray-") as folder:  # short, because sockets lie below it
        given = {"RAY_TMPDIR": folder, "RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": PYTHONPATH}
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        size = {"num_cpus": 1, "object_store_memory": 80_000_000, "memory": 2**33}
        both = Cluster(initialize_head=True, head_node_args=size | {"include_dashboard": False})
        try:
            second = both.add_node(**size)
            monkeypatch.setenv("RAY_ADDRESS", both.address)
            yield both, second
        finally:
            ray.shutdown()
            both.shutdown()


def wait_for(process: subprocess.Popen, networks: list, count: int) -> None:
    """Until so many networks are done."""
    while sum(map(is_done, networks)) < count:
        assert process.poll() is None, process.communicate()[0][-4000:]
        time.sleep(0.02)


def test_a_network_that_fails_is_named(cluster, made, tmp_path):  # noqa: F811
    networks = [made(tmp_path, 7), made(tmp_path, 8, recipe=replace(RECIPE, batch_size=65))]
    with pytest.raises(RuntimeError, match="^A fold 1 seed 8: batch_size 65"):
        train(networks, "ray")


def test_a_study_outlives_its_driver_and_one_of_its_two_machines(cluster, made, tmp_path):  # noqa: F811
    both, second = cluster
    recipe = replace(RECIPE, epochs=20, schedule_epochs=20)
    serial, networks = ([made(tmp_path / o, seed, recipe=recipe) for seed in range(6)] for o in ("serial", "cluster"))
    train(serial, workers=1, device="cpu")
    (tmp_path / "networks.pickle").write_bytes(pickle.dumps(networks))
    first = begun(DRIVER, tmp_path / "networks.pickle", stderr=subprocess.STDOUT)
    wait_for(first, networks, 1)
    first.kill()
    first.communicate()
    again = begun(DRIVER, tmp_path / "networks.pickle", stderr=subprocess.STDOUT)
    wait_for(again, networks, 3)
    both.remove_node(second, allow_graceful=False)
    said, _ = again.communicate(timeout=1200)
    assert again.returncode == 0, said[-4000:]
    for network, expected in zip(networks, serial, strict=True):
        assert load_scores([network], "valid").equals(load_scores([expected], "valid"))
        assert equal(load_network(network.weights()), load_network(expected.weights()))
        assert not (network.folder / "state.pt").exists()
