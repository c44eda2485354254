"""The scores table: everything after training reads only this.

One row a frame and network, columns ``SCORE_COLUMNS``; ``score`` is P(bona fide) in [0, 1], in double precision. The
authors' released scores become the same table, so that one notebook serves all sources.
"""

import csv
import re
import warnings
from collections.abc import Iterable, Sequence
from decimal import Decimal
from numbers import Real
from pathlib import Path

import numpy as np
import pandas as pd

from fasnb.files import replace_file
from fasnb.frames import read_list
from fasnb.study import EXPERIMENTS

NETWORK = ("experiment", "fold", "seed")
SCORE_COLUMNS = ("sample", "label", "attack", "subject", *NETWORK, "score")
SCORE_TYPES = {"sample": "string", "label": "Int8", "attack": "Int8", "subject": "string"}
SCORE_TYPES |= {"experiment": "string", "fold": "Int64", "seed": "Int64", "score": "float64"}

PARQUET_ENCODING = {"sample": "DELTA_BYTE_ARRAY", "score": "BYTE_STREAM_SPLIT"}
"""Half the size of the defaults, which matters because scores are committed."""

RELEASED_EXPERIMENTS = {"exp1_2stage": "A", "exp2": "D", "exp3b": "B", "exp3c": "C"}
"""Folder name in the authors' repository, less its seed -> row of Table 3."""

CALIBRATION_THRESHOLD = 0.932107
"""The authors' threshold, chosen on the validation set for the lowest ACER, below which scores are pressed to [0, 0.5)."""

RELEASED_NETWORKS = tuple(
    (experiment, fold, seed)
    for experiment, seeds in (("A", 1), ("B", 2), ("C", 2), ("D", 2))
    for seed in range(1, seeds + 1)
    for fold in (1, 2, 3)
)
"""(row of Table 3, fold, seed) of the 21 networks whose scores the authors released."""

_RELEASED_FOLDER = re.compile(r"(?P<experiment>.+)_seed(?P<seed>\d+)")


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
    """Write a scores table as parquet, or as CSV by the file's ending, atomically."""
    ending = Path(path).suffix.lower()
    if ending not in (".csv", ".parquet"):
        raise ValueError(f"{path}: the ending must be .csv or .parquet")
    if ending == ".csv":
        return replace_file(path, lambda to: scores.to_csv(to, index=False))
    encoding = {name: how for name, how in PARQUET_ENCODING.items() if name in scores}
    few = [name for name in scores if name not in encoding]  # columns of few different values
    options = {"compression": "zstd", "use_dictionary": few, "column_encoding": encoding}
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
        table = pd.read_parquet(path) if as_parquet else _read_csv(path)
    except (ValueError, UnicodeDecodeError, OSError, pd.errors.ParserWarning) as error:
        raise ValueError(
            f"{path} cannot be read as a table ({str(error).splitlines()[0]}); give CSV or parquet"
        ) from None
    missing = [name for name in ("label", "score") if name not in table.columns]
    if missing:
        raise ValueError(f"{path} has no column {' and no column '.join(missing)}; found {', '.join(table.columns)}")
    if not len(table):
        raise ValueError(f"{path} has a header and no rows; give a table of scores")
    for name in ("label", "score"):
        given = table[name].astype(object)
        numbers = pd.to_numeric(given.where(given.map(lambda value: isinstance(value, Real | Decimal | str))), "coerce")
        bad = given[numbers.isna() & given.notna()]
        if len(bad):
            raise ValueError(f"{path}, row {bad.index[0] + 1}: {name} {bad.iloc[0]!r} is not a number")
        table[name] = numbers.astype("float64" if numbers.dtype == object else numbers.dtype)
    return table


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
        expected: (experiment, fold, seed) of all networks; by default each experiment needs all its folds with each of
            its seeds: those of the study, or from 1 to the highest there is for an experiment of another name.

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
            known = EXPERIMENTS.get(experiment)
            folds[experiment] = set(range(1, 1 + (known.fold_count if known else max(there)))) | there
    return [(e, fold, seed) for e in folds for seed in seeds[e] for fold in folds[e]]


def average(scores: pd.DataFrame, over: Sequence[str] = NETWORK[1:], expected=None) -> pd.DataFrame:
    """Mean score of each frame over folds, then seeds, then experiments, as far as ``over`` names them.

    The order matters where experiments have different numbers of seeds (Sections 4.1, 4.2, 4.3). The default gives one
    score an experiment; ``over=("fold", "seed", "experiment")`` gives the ensemble.

    Returns:
        A scores table; averaged columns are missing, an averaged experiment is called ``ensemble``.

    Raises:
        IncompleteError: see ``check_complete``.
    """
    strange = set(over) - set(NETWORK)
    if strange:
        raise ValueError(f"cannot average over {sorted(strange)}; choose out of fold, seed, experiment")
    check_complete(scores, expected or _expected(networks(scores), whole_folds="fold" in over))
    keys = ["sample", *NETWORK]
    mean = scores[[*keys, "score"]]
    for name in ("fold", "seed", "experiment"):
        if name in over:
            keys.remove(name)
            mean = mean.groupby(keys, observed=True, sort=False, dropna=False)["score"].mean().reset_index()
    facts = scores.drop_duplicates("sample")[["sample", "label", "attack", "subject"]]
    table = facts.merge(mean, on="sample", how="right")
    for name in over:
        table[name] = "ensemble" if name == "experiment" else pd.NA
    return table[list(SCORE_COLUMNS)].astype(SCORE_TYPES)


def first_seed(scores: pd.DataFrame) -> pd.DataFrame:
    """The rows of each experiment's first seed: the paper's rows of Table 3."""
    return scores[scores["seed"] == scores.groupby("experiment")["seed"].transform("min")]


def common_seeds(scores: pd.DataFrame) -> pd.DataFrame:
    """The rows of the seeds that all experiments have, so that none is compared with more networks than another."""
    common = set.intersection(*(set(seeds) for _, seeds in scores.groupby("experiment")["seed"]))
    return scores[scores["seed"].isin(common)] if common else first_seed(scores)


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
    return wide.reindex(scores["sample"].unique())


def facts(scores: pd.DataFrame) -> pd.DataFrame:
    """What is known of each frame (index ``sample``): label, attack, subject, in the order of ``matrix``."""
    return scores.drop_duplicates("sample").set_index("sample")[["label", "attack", "subject"]]


def read_released(root: str | Path, epoch: int = 31) -> pd.DataFrame:
    """The scores of the authors' networks on the CASIA-SURF validation set, from a clone of their repository.

    Each score is the mean of the centre crop and its mirror image. ``experiment`` is the row of Table 3 (A, B, C, D)
    where the folder is one of ``RELEASED_EXPERIMENTS``, else the folder's name less its seed. Subjects and attacks are
    not published for these frames.

    Raises:
        FileNotFoundError: the clone has no list or no scores of this epoch.
        ValueError: a file does not hold one pair of scores for each of the frames.
    """
    root = Path(root)
    frames = released_frames(root)
    tables = []
    for folder in sorted((root / "data" / "opts").glob("*_seed*")):
        name = _RELEASED_FOLDER.fullmatch(folder.name)
        for path in sorted(folder.glob(f"fold[123]/tta_epoch{epoch}_val_score.txt")) if name else ():
            experiment = RELEASED_EXPERIMENTS.get(name["experiment"], name["experiment"])
            fold = int(path.parent.name.removeprefix("fold"))
            score = _released_file(path, len(frames))
            tables.append(score_table(frames, score, experiment, fold, int(name["seed"])))
    if not tables:
        files = (root / "data" / "opts").glob("*/fold*/tta_epoch*_val_score.txt")
        epochs = sorted({int(re.search(r"epoch(\d+)_", path.name)[1]) for path in files})
        there = f"epochs {', '.join(map(str, epochs))} are there" if epochs else "no scores are there"
        raise FileNotFoundError(f"{root / 'data' / 'opts'} has no scores of epoch {epoch}; {there}")
    return pd.concat(tables, ignore_index=True).sort_values(list(NETWORK), kind="stable", ignore_index=True)


def released_frames(root: str | Path) -> pd.DataFrame:
    """The labelled frame table of the validation set, ``data/lists/phase1_list.txt`` of the authors' repository."""
    path = Path(root) / "data" / "lists" / "phase1_list.txt"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is not there; {root} is no clone of github.com/AlexanderParkin/ChaLearn_liveness_challenge"
        )
    frames = read_list(path)
    if frames["label"].isna().any():
        raise ValueError(f"{path} has no labels; it must have the columns rgb,depth,ir,label; clone the file anew")
    return frames


def released_name(experiment: str, seed: int) -> str:
    """The experiment folder's name in the authors' repository."""
    folder = next((name for name, row in RELEASED_EXPERIMENTS.items() if row == experiment), experiment)
    return f"{folder}_seed{seed}"


def _released_file(path: Path, frames: int) -> np.ndarray:
    try:
        table = pd.read_csv(path, dtype=np.float64)
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as scores ({error}); clone the file anew") from None
    if list(table.columns) != ["crop0", "crop0_hflip"] or len(table) != frames:
        raise ValueError(
            f"{path} must hold {frames:,} pairs crop0,crop0_hflip; found {len(table):,} rows of "
            f"{','.join(table.columns)}; clone the file anew"
        )
    wrong = ~((table >= 0) & (table <= 1)).all(axis=1)
    if wrong.any():
        raise ValueError(
            f"{path}, line {wrong.idxmax() + 2}: no probability in [0, 1] ({wrong.sum()} such lines); clone anew"
        )
    return table.mean(axis=1).to_numpy()


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
    return replace_file(path, lambda temporary: temporary.write_text("".join(lines), encoding="utf-8"))
