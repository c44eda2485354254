"""``fasnb demo``: the published student judges one living face and two prints that it has never met."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from fasnb.command.checkpoint import trained
from fasnb.paper import profile as profiles
from fasnb.tools.files import replace_file, whole
from fasnb.tools.machine import home
from fasnb.training.plan import sources_of
from fasnb.training.scoring import score

TOY = "student.pt"
KINDS = {"living face": (0,), "flat print": (1, 3), "bent print": (2,)}  # attacks of Table 1
SIDE, LINE = 224, 44  # pixels of a picture, and of the text above


def demo(folder: Path | None = None, seed: int = 0, picture: Path = Path("demo.png")) -> str:
    """Score three frames of test people with the student in ``folder``, a published study's; write their picture.

    Returns what is to be said. Raises FileNotFoundError where there is no student, Damaged where it is not whole.
    """
    folder = folder or home() / "results" / "published" / "tiny"
    if not (folder / TOY).is_file():
        raise FileNotFoundError(f"{folder} has no {TOY}; the repository's own published study has it")
    network, recipe, about = trained(whole(folder, TOY))
    source = sources_of(profiles.load(about["profile"]))["test"]
    draw, attack = np.random.default_rng(seed), source.frames["attack"].to_numpy()
    rows = np.array([draw.choice(np.flatnonzero(np.isin(attack, kinds))) for kinds in KINDS.values()])
    store = SimpleNamespace(read=lambda numbers: torch.from_numpy(source.read(numbers)))
    scores = score(network, store, rows, recipe, device="cpu")
    said = [f"{s:.4f}  {'accepted' if s >= about['threshold'] else 'refused'}" for s in scores]
    lines = [f"{name:<12} score {each}" for name, each in zip(KINDS, said, strict=True)]
    replace_file(picture, _strip(source.at_size(SIDE).read(rows), lines).save)
    size, count = recipe.crop, sum(weight.numel() for weight in network.parameters())
    lines += [f"threshold {about['threshold']:.4f}, which at most {about['fpr']:g} of the validation attacks reach"]
    lines += [f"a student of {count:,} parameters, frames of {size} x {size} pixels in three cameras: {picture}"]
    return "\n".join([*lines, "trained on drawings: it knows no real face and must guard no door"])


def _strip(frames: np.ndarray, labels: list[str]) -> Image.Image:
    """Frames, uint8 (n, 5, S, S), side by side: a label, and below it what each camera sees."""
    side = frames.shape[-1]
    page = Image.new("RGB", (len(frames) * (side + 8) - 8, LINE + 3 * side), "white")
    for n, (frame, label) in enumerate(zip(frames, labels, strict=True)):
        left, draw = n * (side + 8), ImageDraw.Draw(page)
        draw.text((left, 2), label.replace(" score", "\nscore"), "black", ImageFont.load_default(15))
        for row, camera in enumerate((frame[:3].transpose(1, 2, 0), frame[3], frame[4])):
            page.paste(Image.fromarray(camera), (left, LINE + row * side))
    return page
