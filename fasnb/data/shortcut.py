"""Simple numbers of a frame, and how far they alone tell bona fide from attack.

A data set with a shortcut, such as a print that is always larger than a face, would be solved without looking at the
face. The check is a logistic regression on these numbers, trained on train attacks and judged on unseen ones.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fasnb.metrics.uncertainty import Report, evaluate

CHANNELS = ("red", "green", "blue", "depth", "ir")
NUMBERS = ("area", *(f"{name} {what}" for name in CHANNELS for what in ("mean", "deviation")), "holes")


def frame_statistics(images: np.ndarray, channels: Mapping[str, int]) -> pd.DataFrame:
    """Numbers of each frame.

    Args:
        images: uint8 (n, C, size, size), background black.
        channels: modality -> number of channels, in order; depth or IR of three channels is averaged.

    Returns:
        One row a frame, columns ``NUMBERS``: ``area`` (share of pixels that are not background), mean and standard
        deviation inside the outline of each channel (grey levels; depth without holes), and ``holes`` (share of the
        outline without depth).
    """
    edges = np.cumsum([0, *channels.values()])
    parts = {name: images[:, edges[i] : edges[i + 1]] for i, name in enumerate(channels)}
    planes = [*parts["rgb"].transpose(1, 0, 2, 3), parts["depth"].mean(axis=1), parts["ir"].mean(axis=1)]
    inside = (parts["rgb"] > 0).any(axis=1) | (planes[4] > 0)
    area = inside.sum(axis=(1, 2))
    columns = {"area": area / inside[0].size}
    for name, plane in zip(CHANNELS, planes, strict=True):
        seen = inside & (plane > 0) if name == "depth" else inside
        count = np.maximum(seen.sum(axis=(1, 2)), 1)
        values = np.where(seen, plane, 0).astype(np.float64)
        mean = values.sum(axis=(1, 2)) / count
        columns[f"{name} mean"] = mean
        columns[f"{name} deviation"] = np.sqrt(np.maximum((values**2).sum(axis=(1, 2)) / count - mean**2, 0))
    columns["holes"] = (inside & (planes[3] == 0)).sum(axis=(1, 2)) / np.maximum(area, 1)
    return pd.DataFrame(columns)


def left_over(depth: np.ndarray, degree: int) -> float:
    """How far a depth map is from its best smooth surface: median absolute rest, in its own unit.

    A flat sheet leaves nothing over a surface of the first degree, an evenly bent one nothing over one of the second. It is a
    median, because holes in a sheet and noise of single pixels are far from any surface and few.

    Args:
        depth: (H, W), zero where nothing was measured.
        degree: of the polynomial in x and y that is fitted by least squares; with fewer points than it has terms nothing is left.
    """
    rows, columns = np.nonzero(depth)
    x, y = columns / depth.shape[1] - 0.5, rows / depth.shape[0] - 0.5
    surface = np.stack([x**i * y**j for i in range(degree + 1) for j in range(degree + 1 - i)], axis=1)
    if len(x) < surface.shape[1]:
        return 0.0
    seen = depth[rows, columns].astype(float)
    weights, *_ = np.linalg.lstsq(surface, seen, rcond=None)
    return float(np.median(np.abs(seen - surface @ weights)))


def shortcut_report(train: pd.DataFrame, test: pd.DataFrame, fprs: Sequence[float]) -> Report:
    """How far the numbers alone go: a logistic regression trained on the train rows and judged on the test rows.

    Args:
        train, test: columns ``NUMBERS`` and ``label``; ``subject`` too in ``test``.
    """
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    model.fit(train[list(NUMBERS)], train["label"].astype(int))
    score = model.predict_proba(test[list(NUMBERS)])[:, 1]
    return evaluate(test["label"], score, fprs, groups=test["subject"])
