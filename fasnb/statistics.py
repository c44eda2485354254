"""Simple numbers of a frame, and how far they alone tell bona fide from attack.

A data set with a shortcut, such as a print that is always larger than a face, would be solved without looking at the
face. The check is a logistic regression on these numbers, trained on train attacks and judged on unseen ones.
"""

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def frame_statistics(images: np.ndarray) -> pd.DataFrame:
    """Numbers of each frame.

    Args:
        images: uint8 (n, 5, size, size): R, G, B, depth, IR, background black.

    Returns:
        One row a frame: ``area`` (share of pixels that are not background), mean and standard deviation inside the
        outline of each channel (grey levels; depth without holes), and ``holes`` (share of the outline without depth).
    """
    if images.ndim != 4 or images.shape[1] != 5:
        raise ValueError(f"images are {images.shape}; expected (n, 5, size, size), one channel of depth and of IR")
    inside = (images[:, [0, 1, 2, 4]] > 0).any(axis=1)
    area = inside.sum(axis=(1, 2))
    columns = {"area": area / inside[0].size}
    for i, name in enumerate(("red", "green", "blue", "depth", "ir")):
        seen = inside & (images[:, i] > 0) if name == "depth" else inside
        count = np.maximum(seen.sum(axis=(1, 2)), 1)
        values = np.where(seen, images[:, i], 0).astype(np.float64)
        mean = values.sum(axis=(1, 2)) / count
        columns[f"{name} mean"] = mean
        columns[f"{name} deviation"] = np.sqrt(np.maximum((values**2).sum(axis=(1, 2)) / count - mean**2, 0))
    columns["holes"] = (inside & (images[:, 3] == 0)).sum(axis=(1, 2)) / np.maximum(area, 1)
    return pd.DataFrame(columns)


def shortcut_scores(train: pd.DataFrame, train_labels, test: pd.DataFrame) -> np.ndarray:
    """P(bona fide) of each test row by a logistic regression on the train rows' statistics (n,)."""
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    return model.fit(train, np.asarray(train_labels, dtype=int)).predict_proba(test)[:, 1]
