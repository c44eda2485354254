"""What frames of one's own are like: their files, how the cameras lie on one another, and their levels."""

from functools import partial
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.ndimage import binary_erosion
from tqdm.auto import tqdm

from fasnb.data.casia_surf import CasiaSurf
from fasnb.data.frames import cameras_of
from fasnb.data.store import Source, Store
from fasnb.tools.machine import parallel

DARK, RIM = 8, 2  # grey levels that count as black, after JPEG; pixels beside black that are left out, as mixtures
# grey levels where a camera sees, median and distance from 10th to 90th percentile (few holes move neither), and percent
MEASURES = ("level", "spread", "black")
MOVED = 5.0  # percent of the frame's width, an offset between cameras that is too large
FLAT, EMPTY = 3.0, 90.0  # a spread below, or black above: no face can be there


def survey(source: CasiaSurf, workers: int = 0) -> tuple[pd.DataFrame, list[str]]:
    """Decode every file once. Returns a table and a sentence for each frame that cannot be read.

    The table has a row a frame that can: its row of the frame table, ``label``, of each camera ``<camera> kind`` and
    ``<camera> size`` of the file, ``measures``, and of each pair ``<camera>-<camera>``, the ``offset``.
    """
    chunks, rows = np.array_split(np.arange(len(source.frames)), len(source.frames) // 64 + 1), []
    for found in tqdm(parallel(partial(_look, source), chunks, workers), total=len(chunks), desc="checking"):
        rows += found
    table = pd.DataFrame(row for row in rows if isinstance(row, dict))
    return table, [row for row in rows if isinstance(row, str)]


def _look(source: CasiaSurf, rows: np.ndarray) -> list[dict | str]:
    found = []
    for row in rows:
        try:
            pictures = source.pictures(row)
        except ValueError as error:
            found.append(str(error))
            continue
        about = {"row": row, "label": source.frames["label"][row]}
        for name, picture in pictures.items():
            about |= {f"{name} kind": picture.kind, f"{name} size": "x".join(map(str, picture.image.size))}
        planes = _planes(source, source.resized(pictures))
        about |= measures(planes)
        found.append(about | {f"{a}-{b}": offset(planes[a], planes[b]) for a, b in combinations(planes, 2)})
    return found


def measured(source: Source | Store, rows) -> pd.DataFrame:
    """The ``measures`` of some frames of any source, one row a frame, and their ``label``."""
    table = pd.DataFrame(measures(_planes(source, image)) for image in np.asarray(source.read(rows)))
    return table.assign(label=source.frames["label"].iloc[rows].array)


def _planes(source: Source | Store, image: np.ndarray) -> dict[str, np.ndarray]:
    """Camera -> what it sees, float (H, W), of the mean of its colours."""
    parts = np.split(image, np.cumsum(list(source.channels.values()))[:-1])
    planes = zip(source.channels, (part.mean(axis=0) for part in parts), strict=True)
    return {name: plane for name, plane in planes if name in cameras_of(source.frames)}


def measures(planes: dict[str, np.ndarray]) -> dict[str, float]:
    """``<camera> <measure>`` of each camera of a frame; see ``MEASURES``."""
    found = {}
    for name, plane in planes.items():
        seen = plane[binary_erosion(plane > DARK, np.ones((3, 3)), RIM, border_value=1)]
        seen = seen if seen.size else np.zeros(1)
        dark, level, bright = np.percentile(seen, (10, 50, 90))
        values = level, bright - dark, 100 * (plane <= DARK).mean()
        found |= {f"{name} {what}": value for what, value in zip(MEASURES, values, strict=True)}
    return found


def offset(one: np.ndarray, other: np.ndarray) -> float:
    """By how much two pictures of a frame, (S, S), must be moved to lie on one another, in percent of the width.

    It is the shift at which their edges (magnitudes of gradients, less their mean) correlate best. Where the cameras
    have few edges in common, it means nothing for one frame; the median over many tells.
    """
    edges = [np.hypot(*np.gradient(picture)) for picture in (one, other)]
    spectra = [np.fft.rfft2(edge - edge.mean(), s=[2 * side for side in edge.shape]) for edge in edges]
    match = np.fft.irfft2(spectra[0] * spectra[1].conj())
    moved = np.array(np.unravel_index(match.argmax(), match.shape))
    return float(100 * np.hypot(*np.minimum(moved, match.shape - moved)) / one.shape[1])


def beside(table: pd.DataFrame, reference: pd.DataFrame) -> pd.DataFrame:
    """Medians of the measures of each camera and class, the reference's 1st to 99th percentile, of both classes, and
    the percentage of frames ``outside`` of it in any of them."""
    cameras = [name.removesuffix(" level") for name in table if name.endswith(" level")]
    rows = []
    for camera in cameras:
        names = [f"{camera} {what}" for what in MEASURES]
        low, high = reference.reindex(columns=names).quantile(0.01), reference.reindex(columns=names).quantile(0.99)
        for label, part in table.groupby("label", dropna=False, sort=False):
            row = {"camera": camera, "class": {1: "bona fide", 0: "attack"}.get(label, "unknown")}
            for name, what in zip(names, MEASURES, strict=True):
                row |= {what: part[name].median(), f"{what}, theirs": f"{low[name]:.0f} to {high[name]:.0f}"}
            outside = (part[names] < low - 0.5) | (part[names] > high + 0.5)
            rows.append(row | {"frames": len(part), "outside": 100 * outside.any(axis=1).mean()})
    return pd.DataFrame(rows)


def suspicious(table: pd.DataFrame) -> dict[str, pd.Series]:
    """What a frame may have wrong -> which rows have it: no face in a camera, cameras that do not lie on one another."""
    found = {}
    for name in table:
        if name.endswith(" spread"):
            camera = name.removesuffix(" spread")
            what = f"show no face in {camera}: it is flat or empty there"
            found[what] = (table[name] < FLAT) | (table[f"{camera} black"] > EMPTY)
        elif "-" in name:
            found[f"have {name.replace('-', ' and ')} moved by more than {MOVED:g}% of the width"] = table[name] > MOVED
    return {what: rows for what, rows in found.items() if rows.any()}
