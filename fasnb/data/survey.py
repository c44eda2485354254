"""What frames of one's own are like: their files, how the cameras lie on one another, and their levels."""

from functools import partial
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.ndimage import binary_erosion
from tqdm.auto import tqdm

from fasnb.data.casia_surf import CasiaSurf
from fasnb.data.frames import cameras_of
from fasnb.data.store import Source
from fasnb.tools.machine import parallel

DARK, RIM = 8, 2  # grey levels that count as black, after JPEG; pixels beside black that are left out, as mixtures
# grey levels where a camera sees, median and distance from 10th to 90th percentile (few holes move neither), and percent
MEASURES = ("level", "spread", "black")


def survey(source: CasiaSurf, workers: int = 0) -> tuple[pd.DataFrame, list[str]]:
    """Decode every file once: a table with a row for each frame that can be read, and a sentence for each that cannot.

    The table has ``sample``, ``label``; ``<camera> file``, its kind and size; whether sizes are ``unequal``; the measures
    of ``measured``; and of each pair of cameras, ``<camera>-<camera>``, their ``offset``.
    """
    chunks, found = np.array_split(np.arange(len(source.frames)), len(source.frames) // 64 + 1), {}
    results = parallel(partial(_look, source), chunks, workers)
    for rows in tqdm(results, total=len(chunks), unit="chunk", desc="checking"):
        found |= rows
    told = [found[row] for row in sorted(found)]
    return pd.DataFrame([it for it in told if isinstance(it, dict)]), [it for it in told if isinstance(it, str)]


def _look(source: CasiaSurf, rows: np.ndarray) -> dict[int, dict | str]:
    """What is to be said of each frame, or what is wrong with it."""
    found = {}
    for row in map(int, rows):
        try:
            pictures = source.pictures(row)
        except ValueError as error:
            found[row] = str(error)
            continue
        found[row] = about = {name: source.frames[name][row] for name in ("sample", "label")}
        about["unequal"] = len({picture.image.size for picture in pictures.values()}) > 1
        about |= {f"{name} file": f"{it.kind}, {it.image.width}x{it.image.height}" for name, it in pictures.items()}
        planes = _planes(source, source.resized(pictures))
        about |= _measures(planes) | {f"{a}-{b}": offset(planes[a], planes[b]) for a, b in combinations(planes, 2)}
    return found


def measured(source: Source, rows) -> pd.DataFrame:
    """Of some frames of any source, one row a frame: ``label`` and of each camera ``<camera> <measure>``: ``MEASURES``."""
    table = pd.DataFrame(_measures(_planes(source, image)) for image in np.asarray(source.read(rows)))
    return table.assign(label=source.frames["label"].iloc[rows].array)


def _planes(source: Source, image: np.ndarray) -> dict[str, np.ndarray]:
    """Camera -> what it sees, float (H, W), of the mean of its colours."""
    parts = np.split(image, np.cumsum(list(source.channels.values()))[:-1])
    planes = zip(source.channels, (part.mean(axis=0) for part in parts), strict=True)
    return {name: plane for name, plane in planes if name in cameras_of(source.frames)}


def _measures(planes: dict[str, np.ndarray]) -> dict[str, float]:
    found = {}
    for name, plane in planes.items():
        seen = plane[binary_erosion(plane > DARK, np.ones((3, 3)), RIM, border_value=1)]
        dark, level, bright = np.percentile(seen, (10, 50, 90)) if seen.size else (0, 0, 0)
        values = level, bright - dark, 100 * (plane <= DARK).mean()
        found |= {f"{name} {what}": value for what, value in zip(MEASURES, values, strict=True)}
    return found


def offset(one: np.ndarray, other: np.ndarray) -> float:
    """By how much two pictures of a frame, (S, S), must be moved to lie on one another, in percent of their width.

    It is the shift at which their edges (magnitudes of gradients, less their mean) correlate best. Where a hull was cut
    out of both alike, the hull decides. For one frame it may mean nothing; the median over many tells.
    """
    edges = [np.hypot(*np.gradient(picture)) for picture in (one, other)]
    spectra = [np.fft.rfft2(edge - edge.mean(), s=[2 * side for side in edge.shape]) for edge in edges]
    match = np.fft.irfft2(spectra[0] * spectra[1].conj())
    moved = np.array(np.unravel_index(match.argmax(), match.shape))
    return float(100 * np.hypot(*np.minimum(moved, match.shape - moved)) / one.shape[1])


def beside(table: pd.DataFrame, reference: pd.DataFrame) -> pd.DataFrame:
    """Medians of the measures of each camera and class, the reference's 1st to 99th percentile over both classes, and
    the percentage of frames that lie ``outside`` of it in any measure."""
    rows = []
    for camera in [name.removesuffix(" level") for name in table if name.endswith(" level")]:
        names = [f"{camera} {what}" for what in MEASURES]
        low, high = (reference.reindex(columns=names).quantile(share) for share in (0.01, 0.99))
        for label, part in table.groupby("label", dropna=False, sort=False):
            row = {"camera": camera, "class": {1: "bona fide", 0: "attack"}.get(label, "unknown")}
            for name, what in zip(names, MEASURES, strict=True):
                row |= {what: part[name].median(), f"{what}, theirs": f"{low[name]:.0f} to {high[name]:.0f}"}
            outside = (part[names] < low - 0.5) | (part[names] > high + 0.5)
            rows.append(row | {"frames": len(part), "outside": 100 * outside.any(axis=1).mean()})
    return pd.DataFrame(rows)
