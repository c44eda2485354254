"""Make what is missing: each network is trained once, scored, and loaded ever after. ``train`` makes many, ``ensure`` one."""

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path

import torch
from tqdm.auto import tqdm

from fasnb.data.scores import score_table, write_scores
from fasnb.model.network import Architecture, build
from fasnb.model.parts import multiply_adds
from fasnb.model.weights import load_network, save_backbone, save_network
from fasnb.tools import machine
from fasnb.tools.files import locked, replace_file, seal, write_text
from fasnb.training.archive import LOCK, facts_of, is_done, load_history, score_file
from fasnb.training.fit import fit
from fasnb.training.plan import NETWORK_FILE, Network, backbones_of
from fasnb.training.scoring import score

STATE_FILE = "state.pt"
_of_frame = cache(multiply_adds)  # the same for all folds and seeds of an experiment


class RunError(RuntimeError):
    """A network could not be made; the message names it and the reason. What is finished stays."""


def train(
    networks: Sequence[Network],
    executor: str = "local",
    workers: int = 0,
    device: str | None = None,
    say: Callable[[str], object] = tqdm.write,
) -> dict[str, float]:
    """Build the stores, then pre-train the backbones, then train and score the networks, as far as they are not done.

    Args:
        executor: "local", or "ray": a task a network, with a GPU each where the cluster has any; its machines share the files.
        workers: processes at once, with one thread each. 0: one a core, or one a GPU; more on a GPU share it.
        say: takes a line for each network that is done; a bar shows how many are.

    Returns:
        Seconds of each part that had to be made: frames, pre-training, networks.

    Raises:
        RunError: one failed; what was at work goes on from its saved state when called again.
        WorkerError, OutOfTime: see ``fasnb.tools.machine``.
    """
    pending, spent, started = [network for network in networks if not is_done(network)], {}, time.monotonic()
    for frames in {f.folder: f for n in pending for f in (n.frames, *n.splits.values())}.values():
        frames.open()
        spent["frames"] = time.monotonic() - started
    backbones = [b for b in backbones_of(n for n in pending if facts_of(n) is None) if not is_done(b)]
    with tqdm(total=len(backbones) + len(pending), unit="network", disable=not pending) as bar:
        for part, missing in (("pre-training", backbones), ("networks", pending)):
            started, of_key = time.monotonic(), {network.key: network for network in missing}
            for key, seconds in _executed(missing, executor, workers, device):
                bar.update()
                say(f"[{bar.n}/{bar.total}] {of_key[key].title}: {_told(of_key[key])} ({seconds:.1f} s)")
                spent[part] = time.monotonic() - started
    return spent


def _told(network: Network) -> str:
    """How the last epoch ended."""
    last = load_history(network).iloc[-1]
    return ", ".join(f"{name} {last[name]:.3f}" for name in ("loss", "valid_auc", "accuracy") if name in last)


def _executed(networks: list[Network], executor: str, workers: int, device: str | None) -> Iterator[tuple[str, float]]:
    """Key and seconds of every network, as they finish."""
    if executor == "ray":
        yield from _with_ray(networks, device)
        return
    places = [str(machine.choose_device(device))]
    if places[0].startswith("cuda"):
        places = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
        workers = workers or len(places)
    tasks = [(network, places[number % len(places)]) for number, network in enumerate(networks)]
    yield from machine.parallel(_ensured, tasks, workers)


def _ensured(task: tuple[Network, str]) -> tuple[str, float]:
    """Make a network on a device; an error names it."""
    network, device = task
    started = time.monotonic()
    try:
        ensure(network, device)
    except machine.OutOfTime:
        raise
    except Exception as error:
        raise RunError(f"{network.title}: {str(error).removeprefix(f'{network.title}: ')}") from error
    return network.key, time.monotonic() - started


def _with_ray(networks: list[Network], device: str | None) -> Iterator[tuple[str, float]]:
    """On the cluster of RAY_ADDRESS, or one started on this machine. A task whose machine dies goes on elsewhere."""
    os.environ.setdefault("RAY_task_oom_retries", "3")  # without it Ray tries for ever; read at import
    try:
        import ray
    except ImportError:
        raise machine.WorkerError("executor 'ray' needs the package ray: pip install 'fasnb[ray]'") from None
    ray.init(ignore_reinit_error=True, log_to_driver=False)
    gpus = 1 if device != "cpu" and ray.cluster_resources().get("GPU") else 0
    place, stop_at, waiting = "cuda" if gpus else "cpu", os.environ.get(machine.STOP_AT, "inf"), []
    for network in networks:
        memory = int(2**30 * (1 + 4 * network.architecture.width))  # of the host, about what a training takes
        task = ray.remote(num_cpus=1, num_gpus=gpus, memory=memory, max_retries=3)(_on_ray)
        waiting.append(task.remote((network, place), stop_at))
    while waiting:
        (done,), waiting = ray.wait(waiting)
        try:
            yield ray.get(done)
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None


def _on_ray(task: tuple[Network, str], stop_at: str) -> tuple[str, float]:
    os.environ[machine.STOP_AT] = stop_at
    torch.set_num_threads(1)
    return _ensured(task)


def ensure(network: Network, device: str | None = None, save_seconds: float = 300.0) -> None:
    """Make one network, after the backbone that it starts from: train it, from its saved state if it has one, and score.

    A trained network is only scored, on splits that it lacks or whose frames have changed. Where another process works on
    it this one waits. Raises as ``fit``, and Damaged or ValueError where what is there is damaged or another network's.
    """
    if is_done(network):
        return
    if isinstance(network.start, Network) and facts_of(network) is None:
        ensure(network.start, device, save_seconds)
    waiting = partial(print, f"{network.title}: another process works on it, waiting", flush=True)
    with locked(network.folder / LOCK, waiting):
        if not is_done(network):  # another process may have done it while this one waited
            _make(network, machine.choose_device(device), save_seconds)


def _make(network: Network, device: torch.device, save_seconds: float) -> None:
    """Train if it is not trained; score what is not scored; write ``done.json`` last."""
    folder, facts, written = network.folder, facts_of(network), []
    weights = network.weights() if facts else folder / NETWORK_FILE
    for stray in folder.glob(".*-????????.*"):  # half-written files of a killed process
        stray.unlink()
    if facts is None:
        facts, written = _train(network, device, save_seconds), ["config.json", "history.csv", NETWORK_FILE]
    for split in network.splits:
        name = score_file(network, split)
        if name not in facts.get("sha256", {}):
            facts |= _score(network, split, weights, device)
            written.append(name)
    seal(folder, facts, written)
    (folder / STATE_FILE).unlink(missing_ok=True)


def _train(network: Network, device: torch.device, save_seconds: float) -> dict:
    """Train; write config, history and weights; what ``done.json`` says of them."""
    folder, made = network.folder, machine.environment(device)
    config = network.as_dict() | {"key": network.key, "environment": made}
    write_text(folder / "config.json", json.dumps(config, indent=2) + "\n")
    module, history = fit(network, device, folder / STATE_FILE, save_seconds)
    replace_file(folder / "history.csv", partial(history.to_csv, index=False))
    (save_backbone if network.is_backbone else save_network)(module, folder / NETWORK_FILE, key=network.key)
    facts = {name: config[name] for name in ("experiment", "fold", "seed", "key", "precision")}
    facts |= {name: made[name] for name in ("device", "threads", "commit")} | {"torch": torch.__version__}
    facts |= {"run": folder.name, "frames": len(network.frames), "epochs": len(history)}
    facts |= {"loss": float(history["loss"].iloc[-1]), "seconds": float(history["seconds"].sum())}
    facts |= {"frames_per_second": float(history["frames_per_second"].median())}
    return facts | {
        "memory": machine.peak_memory(),
        "splits": {},
    }  # of this process, which may have trained others before


def _score(network: Network, split: str, weights: Path, device: torch.device) -> dict:
    """Score one split; what ``done.json`` says of it."""
    machine.require_time()
    started, frames = time.perf_counter(), network.splits[split]
    store, model = frames.open(), load_network(weights)
    # fp32 whatever the network was trained in: bfloat16 moves scores by more than the differences that matter here
    found = score(model, store, frames.rows, network.recipe, device=device)
    table = score_table(store.frames.iloc[frames.rows], found, network.experiment, network.fold, network.seed)
    write_scores(table, network.folder / score_file(network, split))
    facts = {"frames": len(found), "seconds": time.perf_counter() - started, "data": frames.fingerprint}
    return {f"{split} {name}": value for name, value in facts.items()}


def estimate(networks: Sequence[Network], workers: int = 0, device: str | None = None) -> float:
    """Seconds that networks and their backbones take, roughly: all multiply-adds, at the rate of a few steps of the largest."""
    chosen, largest = machine.choose_device(device), max(networks, key=_work)
    [seconds] = machine.parallel(_seconds_of_step, [(largest, chosen)], 1)
    of_step = 3 * _of_frame(largest.architecture, largest.recipe.crop) * largest.recipe.batch_size
    workers = workers or (machine.cores() if chosen.type == "cpu" else torch.cuda.device_count())
    return sum(map(_work, [*networks, *backbones_of(networks)])) / of_step * seconds / workers


def _work(network: Network) -> float:
    """Multiply-adds: three times a frame's as often as it is trained on, since the backward pass costs two, and of scoring."""
    passes = 3 * network.epochs * len(network.frames) + sum(map(len, network.splits.values()))
    if not network.is_backbone:
        return passes * _of_frame(network.architecture, network.recipe.crop)
    three = Architecture(fusion="concat", mlfa=False, **asdict(network.architecture))  # a branch is a third of it
    return passes * _of_frame(three, network.frames.size) / 3


def _seconds_of_step(task: tuple[Network, torch.device]) -> float:
    """The shortest of three training steps on random images."""
    (network, device), seconds = task, []
    size, model = network.recipe.crop, build(network.architecture).to(device, memory_format=torch.channels_last)
    images = [torch.randn(network.recipe.batch_size, 3, size, size, device=device)] * 3
    for _ in range(3):
        started = time.perf_counter()
        with machine.autocast(device, network.precision == "bf16"):
            loss = model.embed(*images).sum()
        loss.backward()
        model.head.cpu()  # waits for a GPU
        seconds.append(time.perf_counter() - started)
    return min(seconds)
