"""The challenge's submission file."""

from pathlib import Path

import numpy as np
import pandas as pd

from fasnb.metrics.scores import IncompleteError
from fasnb.tools.files import write_text

CALIBRATION_THRESHOLD = 0.932107
"""The authors' threshold, chosen on the validation set for the lowest ACER; scores below it are pressed to [0, 0.5)."""


def write_submission(
    frames: pd.DataFrame, scores: pd.DataFrame, path: str | Path, calibrate: float | None = None
) -> Path:
    """Write the challenge's submission file: one line ``color depth ir score`` a frame, six decimals, no header.

    Args:
        frames: the frame table in the order of the organisers' public list.
        scores: a scores table with one score for each of the frames.
        calibrate: a threshold in [0.5, 1), such as ``CALIBRATION_THRESHOLD``: scores below it are mapped linearly onto
            [0, 0.5), as the authors did, so that 0.5 separates accepted from refused frames.

    Raises:
        IncompleteError: a frame has no score or more than one.
        ValueError: a score or ``calibrate`` is out of range.
    """
    score = scores.set_index("sample")["score"]
    missing = frames.loc[~frames["sample"].isin(score.index), "sample"]
    if len(missing) or score.index.has_duplicates:
        example = missing.iloc[0] if len(missing) else score.index[score.index.duplicated()][0]
        raise IncompleteError(f"a submission needs one score a frame; {len(missing):,} frames lack one, see {example}")
    values = score.reindex(frames["sample"]).to_numpy()
    wrong = ~((values >= 0) & (values <= 1))
    if wrong.any():
        example = frames["sample"].iloc[int(np.argmax(wrong))]
        raise ValueError(f"{int(wrong.sum()):,} scores are no probability in [0, 1], the first of {example}")
    if calibrate is not None:
        if not 0.5 <= calibrate < 1:
            raise ValueError(
                f"calibrate is {calibrate!r}; it must lie in [0.5, 1), else refused frames would pass accepted ones"
            )
        pressed = np.minimum(values / calibrate * 0.5, 0.499999)  # six decimals must not round a refused frame to 0.5
        values = np.where(values < calibrate, pressed, values)
    paths = frames[["rgb", "depth", "ir"]].itertuples(index=False)
    lines = [f"{rgb} {depth} {ir} {value:.6f}\n" for (rgb, depth, ir), value in zip(paths, values, strict=True)]
    return write_text(path, "".join(lines))
