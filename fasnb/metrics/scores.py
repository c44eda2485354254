"""The scores table: everything after training reads only this.

One row a frame and network, columns ``SCORE_COLUMNS``; ``score`` is P(bona fide) in [0, 1], in double precision. The
authors' released scores become the same table, so that one notebook serves all sources.
"""

import csv
import warnings
from collections.abc import Iterable, Sequence
from decimal import Decimal
from numbers import Real
from pathlib import Path

import numpy as np
import pandas as pd

from fasnb.metrics.provenance import carried
from fasnb.tools.files import replace_file
from fasnb.tools.text import no_formula

NETWORK = ("experiment", "fold", "seed")

SCORE_COLUMNS = ("sample", "label", "attack", "subject", *NETWORK, "score")

SCORE_TYPES = {"sample": "string", "label": "Int8", "attack": "Int8", "subject": "string"}

SCORE_TYPES |= {"experiment": "string", "fold": "Int64", "seed": "Int64", "score": "float64"}

PARQUET_ENCODING = {"sample": "DELTA_BYTE_ARRAY", "score": "BYTE_STREAM_SPLIT"}
"""Half the size of the defaults, which matters because scores are committed."""


class IncompleteError(ValueError):
    """A mean was asked for, but networks or frames are missing; the message lists them."""


def score_table(frames: pd.DataFrame, score, experiment: str, fold: int, seed: int) -> pd.DataFrame:
    """The scores (n,) of one network on a frame table of n rows."""
    score = np.asarray(score, dtype=np.float64)
    if score.shape != (len(frames),):
        raise ValueError(f"{experiment} fold {fold} seed {seed}: {score.shape} scores for {len(frames):,} frames")
    if np.isnan(score).any():
        raise ValueError(f"{experiment} fold {fold} seed {seed}: {int(np.isnan(score).sum()):,} scores are NaN")
    table = frames[["sample", "label", "attack", "subject"]].reset_index(drop=True)
    table = table.assign(experiment=experiment, fold=fold, seed=seed, score=score)
    return table[list(SCORE_COLUMNS)].astype(SCORE_TYPES)


def write_scores(scores: pd.DataFrame, path: str | Path) -> Path:
    """Write a scores table as parquet, or as CSV by the file's ending, atomically.

    In CSV a sample that a spreadsheet would take for a formula has an apostrophe before it; parquet has checksums.
    """
    ending = Path(path).suffix.lower()
    if ending not in (".csv", ".parquet"):
        raise ValueError(f"{path}: the ending must be .csv or .parquet")
    if ending == ".csv":
        safe = scores.assign(sample=no_formula(scores["sample"])) if "sample" in scores else scores
        return replace_file(path, lambda to: safe.to_csv(to, index=False))
    encoding = {name: how for name, how in PARQUET_ENCODING.items() if name in scores}
    few = [name for name in scores if name not in encoding]  # columns of few different values
    options = {
        "compression": "zstd",
        "compression_level": 19,
        "use_dictionary": few,
        "column_encoding": encoding,
        "write_page_checksum": True,
    }
    return replace_file(path, lambda to: scores.to_parquet(to, index=False, **options))


def read_scores(path: str | Path) -> pd.DataFrame:
    """Read a table with at least ``label`` and ``score`` from CSV or parquet; other score columns are kept if there.

    Raises:
        FileNotFoundError, ValueError: one sentence that names the file and what is wrong.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist or is a folder; give a scores file, CSV or parquet")
    with open(path, "rb") as file:
        as_parquet = file.read(4) == b"PAR1"
    try:
        table = _read_parquet(path) if as_parquet else _read_csv(path)
    except (ValueError, OSError, pd.errors.ParserWarning, csv.Error) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{path} cannot be read as a table ({reason}); give CSV or parquet") from None
    missing = [name for name in ("label", "score") if name not in table.columns]
    if missing:
        found = ", ".join(map(str, table.columns))
        raise ValueError(f"{path} has no column {' and no column '.join(missing)}; found {found}")
    if not len(table):
        raise ValueError(f"{path} has a header and no rows; give a table of scores")
    _refuse_nested(table, path)
    for name in ("label", "score"):
        if table[name].dtype == "Int8" and table[name].notna().all():  # as a scores table has its labels
            table[name] = table[name].astype("int64")
        if table[name].dtype in ("int64", "float64"):
            continue
        given = table[name].astype(object)
        numbers = pd.to_numeric(given.where(given.map(lambda value: isinstance(value, Real | Decimal | str))), "coerce")
        bad = given[numbers.isna() & given.notna()]
        if len(bad):
            raise ValueError(f"{path}, row {bad.index[0] + 1}: {name} {bad.iloc[0]!r} is not a number")
        table[name] = numbers.astype("float64" if numbers.dtype == object else numbers.dtype)
    return table


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_parquet(path, page_checksum_verification=True)
    except Exception as error:  # a damaged file can raise nearly anything; nothing of ours runs here
        raise ValueError(str(error) or type(error).__name__) from None
    if table.columns.has_duplicates or not all(isinstance(name, str) for name in table.columns):
        raise ValueError("its columns are not named, or two by one name")
    return table.reset_index(drop=True)


def _refuse_nested(table: pd.DataFrame, path: Path) -> None:
    """Lists and the like in a column that is looked at; whole columns of numbers or texts need no look at each value."""
    for name in SCORE_COLUMNS:
        if name in table and table[name].dtype == object:
            nested = ~table[name].map(pd.api.types.is_hashable)
            if nested.any():
                row, kind = nested.argmax() + 1, type(table[name][nested].iloc[0]).__name__
                raise ValueError(f"{path}, row {row}: {name} is a {kind}, not one value; give one value in each cell")


def _read_csv(path: Path) -> pd.DataFrame:
    """A CSV file whose rows all have as many fields as its header, which names no column twice."""
    with open(path, encoding="utf-8-sig", newline="") as file:
        header = next(csv.reader(file), [])
    twice = [name for name in header if header.count(name) > 1]
    if twice:
        raise ValueError(f"it has the column {twice[0]} twice")
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        return pd.read_csv(path, index_col=False)


def networks(scores: pd.DataFrame) -> list[tuple[str, int, int]]:
    """The (experiment, fold, seed) of every network in the table."""
    return [tuple(row) for row in scores[list(NETWORK)].drop_duplicates().itertuples(index=False)]


def check_complete(scores: pd.DataFrame, expected: Iterable[tuple[str, int, int]] | None = None) -> None:
    """Refuse a table that lacks a network or a score, or in which networks scored different frames.

    Args:
        expected: (experiment, fold, seed) of all networks. By default each experiment needs each of its folds, from 1
            to the highest there is of it in the table, with each of its seeds; that its last fold is missing everywhere
            shows only where it is said what to expect.

    Raises:
        IncompleteError: the message lists what is missing.
        ValueError: a frame has different labels, attacks or subjects in different rows.
    """
    found = networks(scores)
    if expected is None:
        expected = _expected(found, whole_folds=True)
    missing = sorted(set(expected) - set(found))
    if missing:
        listed = "; ".join(f"{e} fold {fold} seed {seed}" for e, fold, seed in missing)
        raise IncompleteError(f"{len(missing)} of {len(set(expected))} networks are missing: {listed}")
    if scores["score"].isna().any():
        sample = scores.loc[scores["score"].isna(), "sample"].iloc[0]
        raise IncompleteError(f"{int(scores['score'].isna().sum()):,} scores are missing (NaN), the first of {sample}")
    for name in ("label", "attack", "subject"):
        values = scores[["sample", name]].drop_duplicates()["sample"]
        if values.duplicated().any():
            raise ValueError(f"{values[values.duplicated()].iloc[0]} has more than one {name}; score one set of frames")
    counts = scores.groupby(list(NETWORK), observed=True, dropna=False)["sample"].agg(["size", "nunique"])
    frames = scores["sample"].nunique()
    uneven = counts[(counts["size"] != frames) | (counts["nunique"] != frames)]
    if len(uneven):
        listed = "; ".join(f"{e} fold {fold} seed {seed}: {n:,}" for (e, fold, seed), n in uneven["size"].items())
        raise IncompleteError(f"networks scored different frames; of {frames:,} frames: {listed}")


def _expected(found: Iterable[tuple], whole_folds: bool) -> list[tuple[str, int, int]]:
    """All folds of each experiment with each of its seeds; without ``whole_folds`` the folds that there are."""
    folds, seeds = {}, {}
    for experiment, fold, seed in found:
        folds.setdefault(experiment, set()).add(fold)
        seeds.setdefault(experiment, set()).add(seed)
    for experiment, there in folds.items():
        if whole_folds and not pd.isna(list(there)).any():
            folds[experiment] = there | set(range(1, max(there) + 1))
    return [(e, fold, seed) for e in folds for seed in seeds[e] for fold in folds[e]]


def average(scores: pd.DataFrame, over: Sequence[str] = NETWORK[1:], expected=None) -> pd.DataFrame:
    """Mean score of each frame over folds, then seeds, then experiments, as far as ``over`` names them.

    The order matters where experiments have different numbers of seeds (Sections 4.1, 4.2, 4.3). The default gives one
    score an experiment; ``over=("fold", "seed", "experiment")`` gives the ensemble.

    Args:
        over: which of fold, seed and experiment to average over.
        expected: (experiment, fold, seed) of all networks. By default as in ``check_complete``; where the mean is not
            over folds, each seed of an experiment needs the folds that the experiment has.

    Returns:
        A scores table; averaged columns are missing, an averaged experiment is called ``ensemble``.

    Raises:
        IncompleteError: see ``check_complete``.
    """
    strange = set(over) - set(NETWORK)
    if strange:
        raise ValueError(f"cannot average over {sorted(strange)}; choose out of fold, seed, experiment")
    if expected is None:
        expected = _expected(networks(scores), whole_folds="fold" in over)
    check_complete(scores, expected)
    keys = ["sample", *NETWORK]
    mean = scores[[*keys, "score"]]
    for name in ("fold", "seed", "experiment"):
        if name in over:
            keys.remove(name)
            mean = mean.groupby(keys, observed=True, sort=False, dropna=False)["score"].mean().reset_index()
    table = facts(scores).reset_index().merge(mean, on="sample", how="right")
    for name in over:
        table[name] = "ensemble" if name == "experiment" else pd.NA
    return table[list(SCORE_COLUMNS)].astype(SCORE_TYPES)


def first_seed(scores: pd.DataFrame) -> pd.DataFrame:
    """The rows of each experiment's first seed: the paper's rows of Table 3."""
    return scores[scores["seed"] == scores.groupby("experiment")["seed"].transform("min")]


def matrix(scores: pd.DataFrame, columns: str | Sequence[str] = "experiment") -> pd.DataFrame:
    """Scores side by side: one row a frame (index ``sample``), one column a method; no frame may be missing.

    Frames and methods stand in the order of the table.
    """
    names = [columns] if isinstance(columns, str) else list(columns)
    wide = scores.pivot(index="sample", columns=columns, values="score")
    order = scores[names].drop_duplicates().itertuples(index=False, name=None)
    wide = wide[[name if len(name) > 1 else name[0] for name in order]]
    if wide.isna().any(axis=None):
        raise IncompleteError(f"{int(wide.isna().any(axis=1).sum()):,} frames lack the score of some method")
    return carried(wide.reindex(scores["sample"].unique()), scores)


def facts(scores: pd.DataFrame) -> pd.DataFrame:
    """What is known of each frame (index ``sample``): label, attack, subject, in the order of ``matrix``."""
    return scores.drop_duplicates("sample").set_index("sample")[["label", "attack", "subject"]]
