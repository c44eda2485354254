"""How fast batches come from the store, beside a plain DataLoader on the same JPEG files.

    python benchmarks/feed.py [--frames 1024] [--rounds 3] [--threads N] [--device cuda] [--folder DIR]

The plain way decodes three JPEG files a frame with PIL, then resizes, augments, converts and normalises frame by frame
with torchvision (num_workers=0). Both sides run in a process of their own, in turn, ``--rounds`` times; the ratio is
that of the medians, of wall time and of processor time. On a machine that others use only the latter says much, with
``--threads 1``: one thread against one thread. The pictures are smooth random fields with sensor noise, colour about
270 pixels wide, depth and IR half of that, as in CASIA-SURF. Last, the peak memory with eight times the frames. With
``--device cuda`` the batches from the store end on the GPU, the plain ones in the memory of the CPU.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms as T
from torchvision.transforms import functional as TF

from fasnb.data import augment, casia_surf, casia_write, store
from fasnb.data.frames import frame_table
from fasnb.paper.recipe import RECIPES, Normalisation, Recipe
from fasnb.tools.environment import peak_memory

NORMALISATION = Normalisation((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
BATCH = 128
TARGETS = {"paper": 12, "released": 5}


class SmoothPictures:
    """A source of random pictures, cheap to make and about as hard to decode as photographs."""

    def __init__(self, count: int, size: int = 250) -> None:
        self.size, self.channels, self.fingerprint = size, {"rgb": 3, "depth": 1, "ir": 1}, f"smooth {count} {size}"
        names = [f"Val/{i // 1000:04d}/{i:06d}-{{}}.jpg" for i in range(count)]
        columns = {m: [n.format(w) for n in names] for m, w in (("rgb", "color"), ("depth", "depth"), ("ir", "ir"))}
        label = [i % 3 == 0 for i in range(count)]
        self.frames = frame_table(sample=columns["rgb"], **columns, label=np.int8(label), split="valid")

    def read(self, indices) -> np.ndarray:
        return np.stack([self._picture(int(index)) for index in indices])

    def _picture(self, index: int) -> np.ndarray:
        random = np.random.default_rng(index)
        coarse = random.integers(0, 256, (5, 12, 12), dtype=np.uint8)
        bicubic = Image.Resampling.BICUBIC
        smooth = [np.asarray(Image.fromarray(c).resize((self.size, self.size), bicubic)) for c in coarse]
        noise = random.normal(0, 4, (5, self.size, self.size))
        return np.clip(np.stack(smooth) + noise, 0, 255).astype(np.uint8)


class Repeated:
    """A source that says another source's frames several times over."""

    def __init__(self, source, times: int) -> None:
        self.source, self.size, self.channels = source, source.size, source.channels
        self.frames = source.frames.iloc[np.tile(np.arange(len(source.frames)), times)].reset_index(drop=True)
        self.fingerprint = f"{source.fingerprint} x {times}"

    def read(self, indices) -> np.ndarray:
        return self.source.read(np.asarray(indices) % len(self.source.frames))


class PlainFrames(Dataset):
    """One frame at a time, as the authors' loader: PIL images, torchvision transforms."""

    def __init__(self, source: casia_surf.CasiaSurf, recipe: Recipe) -> None:
        self.source, self.recipe = source, recipe
        jitter = recipe.jitter
        colour = T.ColorJitter(jitter, jitter, jitter, jitter / 2)
        self.colour = T.Compose([T.RandomApply([colour], recipe.jitter_probability),
                                 T.RandomGrayscale(recipe.grey_probability)])  # fmt: skip
        self.finish = T.Compose([T.ToTensor(), T.Normalize(NORMALISATION.mean, NORMALISATION.std)])

    def __len__(self) -> int:
        return len(self.source.frames)

    def __getitem__(self, row: int):
        images = [Image.open(self.source.path(row, name)).convert("RGB") for name in ("rgb", "depth", "ir")]
        images = self._view(images)
        if self.recipe.jitter:
            images[0] = self.colour(images[0])
        return *(self.finish(image) for image in images), int(self.source.frames["label"].iat[row])

    def _view(self, images: list[Image.Image]) -> list[Image.Image]:
        recipe, size = self.recipe, [self.recipe.resize] * 2
        if recipe.rotation:
            angle = T.RandomRotation.get_params([-recipe.rotation, recipe.rotation])
            images = [TF.rotate(image, angle) for image in images]
        images = [TF.resize(image, size) for image in images]
        if recipe.scale_low < 1:
            box = T.RandomResizedCrop.get_params(images[0], [recipe.scale_low, 1], [3 / 4, 4 / 3])
            images = [TF.resized_crop(image, *box, [recipe.crop] * 2) for image in images]
        else:
            images = [TF.center_crop(image, recipe.crop) for image in images]
        return [TF.hflip(image) for image in images] if torch.rand(()) < recipe.flip else images


def prepare(folder: Path, count: int) -> None:
    pictures = SmoothPictures(count)
    casia_write.write(pictures, folder / "data")
    source = casia_surf.CasiaSurf(casia_surf.find(folder / "data").frames(["valid"]), folder / "data")
    store.build(source, folder / "store")
    store.build(Repeated(store_source(folder), 8), folder / "store-8x", workers=1)


def store_source(folder: Path):
    """The built store as a source, so that nothing is decoded twice."""
    built = store.Store.open(folder / "store")
    built.read_tensor, built.read = built.read, lambda index: built.read_tensor(index).numpy()
    return built


def epoch_of(side: str, folder: Path, recipe: Recipe, epoch: int, device: str = "cpu"):
    recipe = replace(recipe, batch_size=BATCH)
    if side == "plain":
        frames = store.Store.open(folder / "store").frames
        data = PlainFrames(casia_surf.CasiaSurf(frames, folder / "data", recipe.resize), recipe)
        return iter(DataLoader(data, BATCH, shuffle=True, drop_last=True))
    built = store.Store.open(folder / side)
    return augment.batches(
        built, range(len(built)), recipe, NORMALISATION, seed=0, epoch=epoch, device=device, drop_last=True
    )


def measure(side: str, folder: Path, name: str, device: str) -> dict:
    """Wall and processor seconds a batch after the first epoch of this process, and its peak memory."""
    if side == "plain":
        next(epoch_of(side, folder, RECIPES[name], 0))
    else:
        for _ in epoch_of(side, folder, RECIPES[name], 0, device):
            pass
    begin, processor, count = time.perf_counter(), time.process_time(), 0
    for epoch in (1,) if side == "plain" else (1, 2, 3, 4):
        for _ in epoch_of(side, folder, RECIPES[name], epoch, device):
            count += 1
    if device == "cuda":
        torch.cuda.synchronize()
    spent = {"wall": (time.perf_counter() - begin) / count, "cpu": (time.process_time() - processor) / count}
    return spent | {"peak": peak_memory() or 0}


def in_process(side: str, folder: Path, name: str, device: str) -> dict:
    command = [sys.executable, __file__, "--side", side, "--folder", str(folder), "--recipe", name, "--device", device]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def compare(folder: Path, name: str, rounds: int, device: str) -> None:
    runs = {side: [] for side in ("plain", "store")}
    for _ in range(rounds):
        for side, results in runs.items():
            results.append(in_process(side, folder, name, device))
    for kind in ("wall", "cpu"):
        plain, stored = (statistics.median(run[kind] for run in runs[side]) for side in ("plain", "store"))
        each = sorted(p[kind] / s[kind] for p, s in zip(runs["plain"], runs["store"], strict=True))
        print(
            f"{name:8s} {kind:4s} plain {1e3 * plain:7.1f} ms, store {1e3 * stored:6.1f} ms a batch of {BATCH}: "
            f"{plain / stored:5.1f}x ({each[0]:.1f} to {each[-1]:.1f}; target {TARGETS[name]}x)"
        )
    peak = {side: max(run["peak"] for run in results) / 2**20 for side, results in runs.items()}
    print(f"{name:8s} peak memory: plain {peak['plain']:.0f} MiB, store {peak['store']:.0f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of PyTorch")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help="where the store's batches end")
    parser.add_argument("--folder", type=Path, help="keep the data here; by default in a temporary folder")
    parser.add_argument("--recipe", choices=RECIPES, help=argparse.SUPPRESS)
    parser.add_argument("--side", help=argparse.SUPPRESS)  # one measurement, in the process that compare() starts
    options = parser.parse_args()
    if options.frames < BATCH:
        parser.error(f"--frames {options.frames} is less than one batch of {BATCH}")
    if options.side:
        print(json.dumps(measure(options.side, options.folder, options.recipe, options.device)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        os.environ["OMP_NUM_THREADS"] = str(options.threads)
        prepare(folder, options.frames)
        print(f"{platform.processor() or platform.machine()}, {options.threads} threads, torch "
              f"{torch.__version__}, load before {os.getloadavg()[0]:.1f}, {options.frames} frames")  # fmt: skip
        for name in RECIPES:
            compare(folder, name, options.rounds, options.device)
        peaks = [in_process(side, folder, "paper", options.device)["peak"] for side in ("store", "store-8x")]
        small, large = (peak / 2**20 for peak in peaks)
        print(f"peak memory from {options.frames} frames {small:.0f} MiB, from {8 * options.frames} {large:.0f} MiB")


if __name__ == "__main__":
    main()
