"""A Ray cluster of two nodes of this machine: one dies, the driver dies, a task fails. Needs the extra ``ray``."""

import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from test_runs import planned
from test_training import RECIPE, Stripes, equal

from fasnb.data import store
from fasnb.tools.workers import ATTEMPTS, WorkerError, execute
from fasnb.training.runs import load_run, run_many

SLOW_MACHINE = {  # more time to start than Ray gives by default; read when it is imported
    "RAY_raylet_start_wait_time_s": "300",
    "RAY_agent_register_timeout_ms": "300000",
    "RAY_gcs_server_request_timeout_seconds": "300",
    "RAY_health_check_timeout_ms": "60000",
}
for _name, _value in SLOW_MACHINE.items():
    os.environ.setdefault(_name, _value)

pytest.importorskip("ray", reason="needs a Ray cluster: pip install 'fasnb[ray]'")

REPOSITORY, HERE = Path(__file__).resolve().parent.parent, Path(__file__).resolve().parent


def free_ports() -> dict[str, int]:
    """For a node's agents: those that they choose themselves a busy machine may write down too late for Ray."""
    names = ("metrics_agent_port", "metrics_export_port", "runtime_env_agent_port", "dashboard_agent_listen_port")
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in names]
        return {name: each.getsockname()[1] for name, each in zip(names, sockets, strict=True)}


@pytest.fixture
def cluster(monkeypatch):
    """The cluster, its second node, and RAY_ADDRESS set to it; a node has one processor, so that both have work."""
    with tempfile.TemporaryDirectory(prefix="ray-") as folder:  # short, because sockets lie below it
        places = os.pathsep.join([str(REPOSITORY), str(HERE), os.environ.get("PYTHONPATH", "")])
        given = {"RAY_TMPDIR": folder, "RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": places}
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        import ray
        from ray.cluster_utils import Cluster

        size = {"num_cpus": 1, "object_store_memory": 80_000_000}
        made = Cluster(initialize_head=True, head_node_args=size | free_ports() | {"include_dashboard": False})
        try:
            second = made.add_node(**size, **free_ports())
            monkeypatch.setenv("RAY_ADDRESS", made.address)
            yield made, second
        finally:
            ray.shutdown()
            made.shutdown()


def act(task: str, device: str, log: Path) -> str:
    with open(log, "a") as file:
        file.write(f"{task}\n")
    if task == "fail":
        raise FloatingPointError("the loss is not finite")
    if task == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    return task


def attempts(log: Path, task: str) -> int:
    return log.read_text().splitlines().count(task)


def test_a_task_that_fails_is_told_once_and_one_that_is_killed_not_for_ever(cluster, tmp_path):
    log = tmp_path / "log"
    work = partial(act, log=log)
    assert sorted(execute(work, ["a", "b", "c"], ["cpu"], 1, "ray")) == ["a", "b", "c"]
    with pytest.raises(FloatingPointError, match="^the loss is not finite$"):
        list(execute(work, ["fail", "d"], ["cpu"], 1, "ray"))
    assert attempts(log, "fail") == 1
    with pytest.raises(WorkerError, match=f"^die: .* killed {ATTEMPTS} times"):
        list(execute(work, ["die", "e"], ["cpu"], 1, "ray"))
    assert attempts(log, "die") == ATTEMPTS


def train(networks: str) -> None:
    """In a driver of its own: train on the cluster."""
    run_many(pickle.loads(Path(networks).read_bytes()), executor="ray", progress=False, checkpoint_seconds=0.2)


def driver(networks: Path) -> subprocess.Popen:
    command = [sys.executable, "-c", f"import test_ray; test_ray.train({str(networks)!r})"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for(process: subprocess.Popen, networks: list, count: int) -> None:
    """Until so many networks are done."""
    while sum((network.folder / "result.json").is_file() for network in networks) < count:
        assert process.poll() is None, process.communicate()[0][-4000:]
        time.sleep(0.02)


def test_a_study_outlives_its_driver_and_one_of_its_two_machines(cluster, tmp_path):
    whole, second = cluster
    for split, count in (("train", 96), ("valid", 40)):
        store.build(Stripes(count, split), tmp_path / split, workers=1, progress=False)
    stores = {split: tmp_path / split for split in ("train", "valid")}
    recipe = replace(RECIPE, epochs=20, schedule_epochs=20)
    serial, networks = (
        [planned(stores, tmp_path / out, seed, recipe=recipe) for seed in range(6)] for out in ("serial", "cluster")
    )
    expected = run_many(serial, workers=1, threads=1, device="cpu", progress=False)

    (tmp_path / "networks.pickle").write_bytes(pickle.dumps(networks))
    first = driver(tmp_path / "networks.pickle")
    wait_for(first, networks, 1)
    first.kill()
    first.communicate()
    again = driver(tmp_path / "networks.pickle")
    wait_for(again, networks, 3)
    whole.remove_node(second, allow_graceful=False)
    said, _ = again.communicate(timeout=1200)
    assert again.returncode == 0, said[-4000:]

    for network, run in zip(networks, expected, strict=True):
        found = load_run(network)
        assert found.scores("valid").equals(run.scores("valid"))
        assert equal(found.network().state_dict(), run.network().state_dict())
        assert not (network.folder / "state.pt").exists()


def test_a_whole_study_on_a_cluster_that_loses_a_machine_gives_the_same_tables(cluster, smoke, tmp_path):
    whole, second = cluster
    out, said = tmp_path / "smoke", tmp_path / "said.txt"
    command = [sys.executable, "-m", "fasnb", "run", "--profile", "smoke", "--set", "executor=ray", "--out", str(out)]
    places = os.environ | {"FASNB_CACHE": str(tmp_path / "cache")}
    with open(said, "w") as log:
        study = subprocess.Popen(command, cwd=REPOSITORY, env=places, stdout=log, stderr=log)
    while len(list(out.glob("runs/*/result.json"))) < 10:
        assert study.poll() is None, said.read_text()[-4000:]
        time.sleep(0.05)
    whole.remove_node(second, allow_graceful=False)
    assert study.wait(timeout=1800) == 0, said.read_text()[-4000:]
    names = {path.name for path in (smoke / "tables").glob("*.csv")}
    assert {path.name for path in (out / "tables").glob("*.csv")} == names and len(names) > 50
    for name in names - {"08-cost.csv"}:  # seconds
        assert (out / "tables" / name).read_bytes() == (smoke / "tables" / name).read_bytes(), name
