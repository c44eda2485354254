"""A Ray cluster of two nodes of this machine: one dies, the driver dies, a task fails. Needs the extra ``ray``."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from fasnb.tools.workers import ATTEMPTS, WorkerError, execute

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


def study(out: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "fasnb", "run", "--profile", "smoke", "--set", "executor=ray", "--out", str(out)]
    return subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for(process: subprocess.Popen, out: Path, networks: int) -> None:
    """Until so many networks of a study are done."""
    while len(list(out.glob("runs/*/result.json"))) < networks:
        assert process.poll() is None, process.communicate()[0][-4000:]
        time.sleep(0.02)


def test_a_study_outlives_its_driver_and_one_of_its_two_machines(cluster, smoke, tmp_path):
    whole, second = cluster
    driver = study(tmp_path / "out")
    wait_for(driver, tmp_path / "out", 3)
    driver.kill()
    driver.communicate()

    done = len(list((tmp_path / "out").glob("runs/*/result.json")))
    driver = study(tmp_path / "out")
    wait_for(driver, tmp_path / "out", done + 5)
    whole.remove_node(second, allow_graceful=False)
    said, _ = driver.communicate(timeout=1200)
    assert driver.returncode == 0, said[-4000:]

    runs = sorted(path.relative_to(smoke) for path in smoke.glob("runs/*/scores-*.parquet"))
    tables = sorted(path.relative_to(smoke) for path in smoke.glob("tables/*.csv"))
    assert runs and tables
    for path in runs:
        assert pd.read_parquet(tmp_path / "out" / path).equals(pd.read_parquet(smoke / path)), path
    for path in tables:
        assert (tmp_path / "out" / path).read_text() == (smoke / path).read_text(), path
