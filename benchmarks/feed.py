"""How fast batches come from the store, beside a plain DataLoader on the same JPEG files.

    python benchmarks/feed.py [--frames 1024] [--rounds 3] [--threads N] [--device cuda]

The plain way decodes three JPEG files a frame with PIL, then resizes, augments, converts and normalises frame by frame
with torchvision (num_workers=0). Both sides run in a process of their own, in turn, ``--rounds`` times, with the memory
settings of a study's worker processes; told are medians of wall time and of processor time. On a machine that others use
only the latter says much, with ``--threads 1``. The pictures are synthetic, colour about 270 pixels wide, depth and IR
half of that, as in CASIA-SURF. With ``--device cuda`` the store's batches end on the GPU.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms as T
from torchvision.transforms import functional as TF

from fasnb.data import augment, casia_surf, store
from fasnb.paper.experiments import MODALITIES
from fasnb.paper.recipe import RECIPES, Normalisation
from fasnb.tools.machine import KEEP_MEMORY, environment
from synthsurf.dataset import SynthSurf

NORMALISATION = Normalisation((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
BATCH = 128


class PlainFrames(Dataset):
    """One frame at a time, as the authors' loader: PIL images, torchvision transforms."""

    def __init__(self, source, recipe):
        self.source, self.recipe, jitter = source, recipe, recipe.jitter
        colour = T.RandomApply([T.ColorJitter(jitter, jitter, jitter, jitter / 2)], recipe.jitter_probability)
        self.colour = T.Compose([colour, T.RandomGrayscale(recipe.grey_probability)])
        self.finish = T.Compose([T.ToTensor(), T.Normalize(NORMALISATION.mean, NORMALISATION.std)])

    def __len__(self):
        return len(self.source.frames)

    def __getitem__(self, row):
        recipe, crop = self.recipe, [self.recipe.crop] * 2
        images = [Image.open(self.source.path(row, name)).convert("RGB") for name in MODALITIES]
        if recipe.rotation:
            angle = T.RandomRotation.get_params([-recipe.rotation, recipe.rotation])
            images = [TF.rotate(image, angle) for image in images]
        images = [TF.resize(image, [recipe.resize] * 2) for image in images]
        box = T.RandomResizedCrop.get_params(images[0], [recipe.scale_low, 1], [3 / 4, 4 / 3])
        whole = recipe.scale_low == 1
        images = [TF.center_crop(image, crop) if whole else TF.resized_crop(image, *box, crop) for image in images]
        if torch.rand(()) < recipe.flip:
            images = [TF.hflip(image) for image in images]
        images[0] = self.colour(images[0])
        return *(self.finish(image) for image in images), int(self.source.frames["label"].iat[row])


def measure(side, folder, recipe, device):
    """Wall and processor seconds a batch, once the first of this process is there."""
    built, recipe = store.Store(folder / "store"), recipe.with_(batch_size=BATCH)
    plain = PlainFrames(casia_surf.CasiaSurf(built.frames, folder / "data", recipe.resize), recipe)
    loader = DataLoader(plain, BATCH, shuffle=True, drop_last=True)

    def epoch(number):
        if side == "plain":
            return loader
        options = {"seed": 0, "epoch": number, "device": device, "drop_last": True}
        return augment.batches(built, range(len(built)), recipe, NORMALISATION, **options)

    next(iter(epoch(0)))
    begin, processor = time.perf_counter(), time.process_time()
    count = sum(1 for number in range(1, 2 if side == "plain" else 5) for _ in epoch(number))
    if device == "cuda":
        torch.cuda.synchronize()
    return {"wall": (time.perf_counter() - begin) / count, "cpu": (time.process_time() - processor) / count}


def compare(folder, name, options):
    runs = {"plain": [], "store": []}
    for side in list(runs) * options.rounds:
        command = [sys.executable, __file__, "--one", side, folder, name, "--device", options.device]
        runs[side].append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))
    for kind in ("wall", "cpu"):
        plain, stored = (1e3 * statistics.median(run[kind] for run in runs[side]) for side in runs)
        times = f"plain {plain:.1f} ms, store {stored:.1f} ms a batch of {BATCH}"
        print(f"{name:8s} {kind:4s} {times}: {plain / stored:.1f} times as fast")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of PyTorch")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help="where the store's batches end")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)  # one measurement, in a process of its own
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one[0], Path(options.one[1]), RECIPES[options.one[2]], options.device)))
        return
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"OMP_NUM_THREADS": str(options.threads), "FASNB_CACHE": folder, "GLIBC_TUNABLES": KEEP_MEMORY}
        data = Path(folder) / "data"
        casia_surf.write(SynthSurf("valid", 16, frames=options.frames, size=250), data)
        store.build_store(casia_surf.CasiaSurf(casia_surf.find(data).frames(["valid"]), data), Path(folder) / "store")
        print(f"{environment(options.device)['device']}, {options.threads} threads, torch {torch.__version__}, "
              f"load before {os.getloadavg()[0]:.1f}, {options.frames} frames")  # fmt: skip
        for name in RECIPES:
            compare(folder, name, options)


if __name__ == "__main__":
    main()
