"""The scores table: everything after training reads only this.

One row a frame and network, columns ``SCORE_COLUMNS``; ``score`` is P(bona fide) in [0, 1], in double precision. The
authors' released scores become the same table, so that one notebook serves all sources.
"""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from fasnb.tools.files import replace_file

NETWORK = ("experiment", "fold", "seed")
SCORE_COLUMNS = ("sample", "label", "attack", "subject", *NETWORK, "score")
SCORE_TYPES = {"sample": "string", "label": "Int8", "attack": "Int8", "subject": "string"}
SCORE_TYPES |= {"experiment": "string", "fold": "Int64", "seed": "Int64", "score": "float64"}


def score_table(frames: pd.DataFrame, score, experiment: str, fold: int, seed: int) -> pd.DataFrame:
    """The scores (n,) of one network on n frames. Raises ValueError for another number, or a NaN."""
    score = np.asarray(score, dtype=np.float64)
    if score.shape != (len(frames),) or np.isnan(score).any():
        wrong = f"{score.shape} scores for {len(frames):,} frames, {int(np.isnan(score).sum()):,} of them NaN"
        raise ValueError(f"{experiment} fold {fold} seed {seed}: {wrong}")
    table = frames[["sample", "label", "attack", "subject"]].reset_index(drop=True)
    table = table.assign(experiment=experiment, fold=fold, seed=seed, score=score)
    return table[list(SCORE_COLUMNS)].astype(SCORE_TYPES)


def write_scores(scores: pd.DataFrame, path: str | Path) -> Path:
    """Write a scores table as parquet (with checksums) or CSV, atomically. ValueError where the ending is another."""
    ending = Path(path).suffix.lower()
    if ending == ".csv":
        return replace_file(path, lambda to: scores.to_csv(to, index=False))
    if ending != ".parquet":
        raise ValueError(f"{path}: the ending must be .csv or .parquet")
    encoding = {"sample": "DELTA_BYTE_ARRAY", "score": "BYTE_STREAM_SPLIT"}  # half the size: scores are committed
    encoding = {name: how for name, how in encoding.items() if name in scores}
    options = {"compression": "zstd", "compression_level": 19, "write_page_checksum": True, "column_encoding": encoding}
    options["use_dictionary"] = [name for name in scores if name not in encoding]  # columns of few different values
    return replace_file(path, lambda to: scores.to_parquet(to, index=False, **options))


def read_scores(path: str | Path) -> pd.DataFrame:
    """Read a table with at least ``label`` and ``score`` from CSV or parquet; other columns are kept as they are.

    Raises FileNotFoundError or ValueError: one sentence that names the file and what is wrong.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist or is a folder; give a scores file, CSV or parquet")
    try:
        table = _read_table(path)
    except Exception as error:  # a damaged file can raise nearly anything in a reader
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{path} cannot be read as a table ({reason}); give CSV or parquet") from None
    missing = [name for name in ("label", "score") if name not in table]
    if missing or table.empty:
        lacks = f"no column {' and no column '.join(missing)}" if missing else "a header and no rows"
        raise ValueError(f"{path} has {lacks}; found {', '.join(map(str, table.columns))}")
    for name in ("label", "score"):
        numbers = pd.to_numeric(table[name].astype(object), errors="coerce")  # of objects: dates would become numbers
        bad = table[name][numbers.isna() & table[name].notna()]
        if len(bad):
            raise ValueError(f"{path}, row {bad.index[0] + 1}: {name} {bad.iloc[0]!r} is not a number")
        table[name] = numbers.astype("int64" if numbers.dtype.kind in "iub" else "float64")
    return table


def _read_table(path: Path) -> pd.DataFrame:
    """Rows as wide as the header, which names no column twice."""
    if path.read_bytes()[:4] == b"PAR1":
        return pd.read_parquet(path, page_checksum_verification=True).reset_index(drop=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)  # of rows that are wider than the header
        names = pd.read_csv(path, header=None, nrows=1, dtype=str).iloc[0].dropna()
        if names.duplicated().any():
            raise ValueError(f"it has the column {names[names.duplicated()].iloc[0]} twice")
        return pd.read_csv(path, index_col=False)
