"""The scores table: everything after training reads only this.

One row a frame and network, columns ``SCORE_COLUMNS``; ``score`` is P(bona fide) in [0, 1], in double precision. The
authors' released scores become the same table, so that one notebook serves all sources.
"""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from fasnb.data import reader
from fasnb.data.reader import refuse, with_types
from fasnb.tools.files import replace_file

NETWORK = ("experiment", "fold", "seed")
SCORE_COLUMNS = ("sample", "label", "attack", "subject", *NETWORK, "score")
SCORE_TYPES = {"sample": "string", "label": "Int8", "attack": "Int8", "subject": "string"}
SCORE_TYPES |= {"experiment": "string", "fold": "Int64", "seed": "Int64", "score": "float64"}

_NAMES = reader.NAMES | {"sample": "rgb color colour".split() + reader.FILES}
_NAMES["score"] = (
    "scores liveness liveness_score real_score prob_real p_real prob_live p_live real live bonafide".split()
)


def score_table(frames: pd.DataFrame, score, experiment: str, fold: int, seed: int) -> pd.DataFrame:
    """The scores (n,) of one network on n frames. Raises ValueError for another number, or a NaN."""
    score = np.asarray(score, dtype=np.float64)
    if score.shape != (len(frames),) or np.isnan(score).any():
        wrong = f"{score.shape} scores for {len(frames):,} frames, {int(np.isnan(score).sum()):,} of them NaN"
        raise ValueError(f"{experiment} fold {fold} seed {seed}: {wrong}")
    table = frames[["sample", "label", "attack", "subject"]].reset_index(drop=True)
    table = table.assign(experiment=experiment, fold=fold, seed=seed, score=score)
    return with_types(table[list(SCORE_COLUMNS)], SCORE_TYPES)


def completed(scores: pd.DataFrame) -> pd.DataFrame:
    """The table with all ``SCORE_COLUMNS``, for averages: rows without a sample are frames, their scores one method's."""
    missing = {"sample": [f"row {i}" for i in range(1, len(scores) + 1)], "experiment": "scores"}
    missing = {name: missing.get(name, pd.NA) for name in SCORE_COLUMNS if name not in scores}
    return with_types(scores.assign(**missing), SCORE_TYPES)


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


def read_scores(path, *, bona_fide_label=None, frames=None, say: Callable[[str], object] = str) -> pd.DataFrame:
    """Read a table with at least ``label`` and ``score`` from text (as ``reader`` says) or parquet; all columns are kept.

    Without a header the order must be clear: a path or none, a label, a score. Labels are words, or numbers of which
    ``bona_fide_label`` (default 1) is bona fide; scores may have a decimal comma or be percent. ``frames``, a frame
    table, has labels, subjects and attacks that the file lacks. ``say`` is called with how the file was understood.

    Raises FileNotFoundError or ValueError: one sentence that names the file and what is wrong.
    """
    path = Path(path)
    table, how = _read_table(path)
    if frames is not None and "sample" in table:
        known = frames.set_index("sample").reindex(table["sample"])
        refuse(path, table["sample"][~table["sample"].isin(frames["sample"])], "is not in the list of frames")
        table = table.assign(**{n: known[n].array for n in ("label", "subject", "attack") if n not in table})
    missing = " and no ".join(f"column {name}" for name in ("label", "score") if name not in table)
    if missing or table.empty:
        advice = "a score is P(bona fide); a list of the frames may give the labels (fasnb evaluate --frames LIST)"
        raise ValueError(f"{path} has no {missing or 'rows'}; found {', '.join(map(str, table.columns))}; {advice}")
    labels = reader.labels_of(path, table["label"], live=bona_fide_label != 0)
    table["label"] = labels if labels.isna().any() else labels.astype("int64")
    table["score"] = _numbers(path, table["score"])
    if "attack" in table:
        table["attack"] = reader.attacks_of(path, table["attack"], labels)
    say(f"{path}: {reader.summary(table)}; {how}")
    return table.reset_index(drop=True)


def _read_table(path: Path) -> tuple[pd.DataFrame, str]:
    """Columns by their names, those that a reader knows as text, and how the file was understood."""
    if not path.is_file() or path.read_bytes()[:4] != b"PAR1":
        fields, _, how = reader.read_lines(path, _NAMES, ("sample", "depth", "ir"), "score")
        text, kinds = io.StringIO(fields.to_csv(index=False)), dict.fromkeys([*_NAMES, "experiment"], object)
        return pd.read_csv(text, dtype=kinds).set_axis(fields.index), how
    try:
        table = pd.read_parquet(path, page_checksum_verification=True)
        return table.set_axis(range(1, len(table) + 1)), "parquet"
    except Exception as error:  # a damaged file can raise nearly anything in a reader
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{path} cannot be read as a table ({reason}); give CSV or parquet") from None


def _numbers(path: Path, written: pd.Series) -> pd.Series:
    """Scores as float64; text such as 0,91 or 91 % too."""
    if written.dtype.kind == "f":
        return written.astype("float64")
    text = written.astype(object).astype(str).str.strip().str.replace(",", ".")
    values = text.str.removesuffix("%").str.strip()
    good = pd.to_numeric(values, errors="coerce").notna()
    refuse(path, written[~good & written.notna()], "is not a number, as a score must be")
    return values.where(good, "nan").map(float) / text.str.endswith("%").map({True: 100, False: 1})
