"""The loop of every training here: Adam, step after step, epoch after epoch, from a saved state where there is one."""

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from fasnb.model.weights import read, write
from fasnb.tools.workers import require_time, time_is_up


class Loop:
    """Modules in training, and how far they have come.

    ``step`` counts the batches taken over all epochs, and every epoch has ``steps`` of them; ``history`` has one row per
    finished epoch. With modules and optimiser these are the whole state: a training that draws its images and its
    dropout as functions of ``epoch``, ``done`` and ``step`` goes on from a file as if it had never stopped.

    Args:
        modules: by the names under which the state holds them. All their parameters that require a gradient are
            trained; they lie on one device.
        steps: batches of an epoch.
        rate: step -> learning rate.
        title: what error messages begin with.
        key: identifies the training; a state with another key is refused.
        path: file of the state, from which the loop goes on if it is there. None saves nothing.
        checkpoint_seconds: time between two saved states within an epoch.
        adam: further options of Adam.

    Raises:
        ValueError: the file is the state of another training, or cannot be read.
    """

    def __init__(
        self,
        modules: Mapping[str, nn.Module],
        steps: int,
        rate: Callable[[int], float],
        *,
        title: str,
        key: str,
        path: str | Path | None = None,
        checkpoint_seconds: float = 300.0,
        **adam,
    ):
        self.modules, self.steps, self.rate, self.title, self.key = modules, steps, rate, title, key
        self.path, self.checkpoint_seconds = None if path is None else Path(path), checkpoint_seconds
        self.parameters = [p for module in modules.values() for p in module.parameters() if p.requires_grad]
        self.device = self.parameters[0].device
        self.optimiser = torch.optim.Adam(self.parameters, fused=True, **adam)
        self.step, self.history = 0, []
        self.seconds = 0.0  # of the present epoch
        self.losses, self.norms = torch.zeros(2, steps, device=self.device)  # of the present epoch's batches
        if self.path is not None and self.path.is_file():
            self._load()

    @property
    def epoch(self) -> int:
        """The present epoch, from 0: the number of those finished."""
        return len(self.history)

    @property
    def done(self) -> int:
        """How many batches of the present epoch are behind."""
        return self.step - self.epoch * self.steps

    def run_epoch(self, losses: Iterable[Tensor]) -> None:
        """Train to the end of the present epoch; ``losses`` are those of the batches not done.

        They must be computed one by one as they are asked for: a step lies between any two. Raises FloatingPointError
        if a loss or gradient is not finite; the message names training, epoch and batch. Raises OutOfTime, the state
        saved, where ``fasnb.tools.workers.time_limit`` is nearly up.
        """
        for module in self.modules.values():
            module.train()
        started, saved, before = time.perf_counter(), time.monotonic(), self.seconds
        for loss in losses:
            self._take_step(loss)
            self.seconds = before + time.perf_counter() - started
            if self.path is not None and (time.monotonic() - saved > self.checkpoint_seconds or time_is_up()):
                self._save()
                saved = time.monotonic()
                require_time()
        self._require_finite()  # waits for the device
        self.seconds = before + time.perf_counter() - started

    def finish_epoch(self, row: dict) -> None:
        """Append the epoch's row to the history, and save the state."""
        self.history.append(row)
        self.seconds = 0.0
        if self.path is not None:
            self._save()

    def _take_step(self, loss: Tensor) -> None:
        """Loss and gradient norm stay on the device; a CPU, where that costs nothing, checks them before the step."""
        self.optimiser.zero_grad()
        loss.backward()
        self.losses[self.done] = loss.detach()
        self.norms[self.done] = nn.utils.get_total_norm([p.grad for p in self.parameters if p.grad is not None])
        if self.device.type == "cpu":
            self._require_finite(self.done + 1)
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate(self.step)
        self.optimiser.step()
        self.step += 1

    def _require_finite(self, count: int | None = None) -> None:
        """Look at the first ``count`` batches of the epoch, by default at those done."""
        count = self.done if count is None else count
        good = (self.losses[:count].isfinite() & self.norms[:count].isfinite()).cpu()
        if good.all():
            return
        first = int(torch.argmin(good.to(torch.uint8)))
        what = "loss" if not self.losses[first].isfinite() else "gradient"
        raise FloatingPointError(
            f"{self.title}: the {what} of epoch {self.epoch + 1}, batch {first + 1} of {self.steps} is "
            "not finite; lower the learning rate or look at the initial weights"
        )

    def _save(self) -> None:
        self._require_finite()
        state = {name: getattr(self, name) for name in ("key", "step", "seconds", "history", "losses", "norms")}
        state |= {name: module.state_dict() for name, module in self.modules.items()}
        write(state | {"optimiser": self.optimiser.state_dict()}, self.path)

    def _load(self) -> None:
        state = read(self.path)
        if state.get("key") != self.key:
            raise ValueError(f"{self.path} is the state of another training; remove it or choose another place to save")
        for name, module in self.modules.items():
            module.load_state_dict(state[name])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.seconds, self.history = state["step"], state["seconds"], state["history"]
        self.losses, self.norms = state["losses"].to(self.device), state["norms"].to(self.device)
