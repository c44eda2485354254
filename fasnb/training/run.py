"""Make what is missing, ``train`` many networks, ``ensure`` one: each is trained once, and loaded ever after."""

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path

import torch
from tqdm.auto import tqdm

from fasnb.data.scores import score_table, write_scores
from fasnb.model.network import build
from fasnb.model.parts import multiply_adds
from fasnb.model.weights import load_network, save_network
from fasnb.tools import machine
from fasnb.tools.files import locked, replace_file, seal, write_text
from fasnb.training.archive import facts_of, is_done, load_history, score_file
from fasnb.training.fit import fit
from fasnb.training.plan import NETWORK_FILE, Network, backbones_of, with_teachers
from fasnb.training.scoring import score

STATE_FILE, LOCK = "state.pt", "run.lock"


def train(
    networks: Sequence[Network],
    executor: str = "local",
    workers: int = 0,
    device: str | None = None,
    say: Callable[[str], object] = tqdm.write,
) -> dict[str, float]:
    """Build the stores, pre-train the backbones, train and score the networks, last those that have teachers.

    What is done is left as it is; teachers are made for those that are not.

    Args:
        executor: "local", or "ray": a task a network, a GPU each where there are any; all machines share the files.
        workers: processes at once, with one thread each. 0: one a core, or one a GPU; more on a GPU share it.
        say: takes a line for each network that is done; a bar shows how many are.

    Returns the seconds of each part that had to be made: frames, pre-training, networks, students. RuntimeError where a
    network, which the message names, or a process failed; the rest goes on when called again.
    """
    pending, spent, started = with_teachers(n for n in networks if not is_done(n)), {}, time.monotonic()
    pending = [network for network in pending if not is_done(network)]
    for frames in {f.folder: f for n in pending for f in (n.frames, *n.splits.values())}.values():
        frames.open()
        spent["frames"] = time.monotonic() - started
    backbones = [b for b in backbones_of(n for n in pending if facts_of(n) is None) if not is_done(b)]
    with tqdm(total=len(backbones) + len(pending), unit="network", disable=not pending) as bar:
        alone, taught = ([n for n in pending if bool(n.teachers) is has] for has in (False, True))
        for part, missing in (("pre-training", backbones), ("networks", alone), ("students", taught)):
            started = time.monotonic()
            for line in _executed(missing, executor, workers, device):
                bar.update()
                say(f"[{bar.n}/{bar.total}] {line}")
                spent[part] = time.monotonic() - started
    return spent


def _executed(networks: list[Network], executor: str, workers: int, device: str | None) -> Iterator[str]:
    """What is to be said of every network, as they finish."""
    if executor == "ray":
        return _with_ray(networks, device)
    places = [str(machine.choose_device(device))]
    if places[0].startswith("cuda"):
        places = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
        workers = workers or len(places)
    tasks = [(network, places[number % len(places)]) for number, network in enumerate(networks)]
    return machine.parallel(_ensured, tasks, workers)


def _ensured(task: tuple[Network, str]) -> str:
    """Make a network on a device, and say how it ended; an error names it."""
    (network, device), started = task, time.monotonic()
    try:
        ensure(network, device)
    except Exception as error:
        raise RuntimeError(f"{network.title}: {error}") from error
    loss = load_history(network)["loss"].iloc[-1]
    return f"{network.title}: loss {loss:.3f} ({time.monotonic() - started:.1f} s)"


def _with_ray(networks: list[Network], device: str | None) -> Iterator[str]:
    """On the cluster of RAY_ADDRESS, or one started on this machine. A task whose machine dies goes on elsewhere."""
    os.environ.setdefault("RAY_task_oom_retries", "3")  # without it Ray tries for ever; read at import
    try:
        import ray
    except ImportError:
        raise RuntimeError("executor 'ray' needs the package ray: pip install 'fasnb[ray]'") from None
    ray.init(ignore_reinit_error=True, log_to_driver=False)
    gpus = 1 if device != "cpu" and ray.cluster_resources().get("GPU") else 0
    waiting = []
    for network in networks:
        width = getattr(network.architecture, "width", 0)
        memory = int(2**30 * (1 + 4 * width))  # of the host, about what a training takes
        task = ray.remote(num_cpus=1, num_gpus=gpus, memory=memory, max_retries=3)(_ensured)
        waiting.append(task.remote((network, "cuda" if gpus else "cpu")))
    while waiting:
        (done,), waiting = ray.wait(waiting)
        try:
            yield ray.get(done)
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None


def ensure(network: Network, device: str | None = None) -> None:
    """Make one network, whose backbone is made: train it, from its saved state if it has one; score.

    A trained network is only scored, on splits that it lacks or whose frames have changed. Where another process works
    on it this one waits. Raises as ``fit``, and Damaged where what is there is damaged.
    """
    waiting = partial(print, f"{network.title}: another process works on it, waiting", flush=True)
    folder, device = network.folder, machine.choose_device(device)
    with locked(folder / LOCK, waiting):
        if is_done(network):  # perhaps by another process while this one waited
            return
        for stray in folder.glob(".*-????????.*"):  # half-written files of a killed process
            stray.unlink()
        facts, written = facts_of(network), []
        weights = network.weights() if facts else folder / NETWORK_FILE
        if facts is None:
            facts, written = _train(network, device), ["config.json", "history.csv", NETWORK_FILE]
        for split in network.splits:
            name = score_file(network, split)
            if name not in facts.get("sha256", {}):
                _score(network, split, weights, device)
                facts |= {f"{split} data": network.splits[split].fingerprint}
                written.append(name)
        seal(folder, facts, written)  # last
        (folder / STATE_FILE).unlink(missing_ok=True)


def _train(network: Network, device: torch.device) -> dict:
    """Train; write config, history and weights; what ``done.json`` says of them."""
    folder, made = network.folder, machine.environment(device)
    config = network.as_dict() | {"key": network.key, "environment": made}
    write_text(folder / "config.json", json.dumps(config, indent=2) + "\n")
    module, history = fit(network, device, folder / STATE_FILE)
    replace_file(folder / "history.csv", partial(history.to_csv, index=False))
    about = {name: config[name] for name in ("experiment", "fold", "seed", "key", "recipe")}
    about_data = {"source": network.source, "scales": dict(getattr(network.frames, "scales", {}))}
    save_network(module, folder / NETWORK_FILE, **about, **about_data)
    facts = {name: value for name, value in about.items() if name != "recipe"}
    facts |= {"run": folder.name, "device": made["device"], "commit": made["commit"]}
    facts |= {"frames": len(network.frames), "epochs": len(history), "seconds": float(history["seconds"].sum())}
    return facts | {"frames_per_second": float(history["frames_per_second"].median())}


def _score(network: Network, split: str, weights: Path, device: torch.device) -> None:
    """Score one split, and write the table."""
    frames = network.splits[split]
    store, model = frames.open(), load_network(weights)
    # fp32 whatever the network was trained in: bfloat16 moves scores by more than the differences that matter here
    found = score(model, store, frames.rows, network.recipe, device=device)
    table = score_table(store.frames.iloc[frames.rows], found, network.experiment, network.fold, network.seed)
    write_scores(table, network.folder / score_file(network, split))


def estimate(networks: Sequence[Network], workers: int = 0, device: str | None = None) -> float:
    """Seconds of training the networks: multiply-adds at the rate of a step of the largest, in one thread from now on."""
    place, of_frame = machine.choose_device(device), cache(multiply_adds)
    work = [n.epochs * len(n.frames) * of_frame(n.architecture, n.recipe.crop) for n in networks]
    largest = networks[work.index(max(work))]
    count, size = largest.recipe.batch_size, largest.recipe.crop
    torch.set_num_threads(1)
    model = build(largest.architecture).to(place, memory_format=torch.channels_last)
    images = [torch.randn(count, 3, size, size, device=place)] * 3
    for _ in range(2):  # the second is timed
        started = time.monotonic()
        with machine.autocast(place, largest.precision == "bf16"):
            loss = model(*images).sum()
        loss.backward()
        sum(float(p.grad.sum()) for p in model.parameters())  # waits for the device
    epochs = sum(work) / max(work) * largest.epochs
    at_once = workers or (machine.cores() if place.type == "cpu" else torch.cuda.device_count())
    return (time.monotonic() - started) * epochs * len(largest.frames) / count / at_once
