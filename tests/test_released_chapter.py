"""README's table of refused frames, recomputed from the authors' files with NumPy alone."""

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

README = Path(__file__).resolve().parent.parent / "README.md"

FOLDERS = {"A": ("exp1_2stage", 1), "B": ("exp3b", 2), "C": ("exp3c", 2), "D": ("exp2", 2)}
"""Row of Table 3 -> the authors' folder less its seed, and the number of seeds."""

SNAPSHOTS = [f"epoch {epoch}, {crop}" for epoch in (31, 50) for crop in ("mirror mean", "single crop")]


@pytest.fixture(scope="module")
def labels(released) -> np.ndarray:
    return pd.read_csv(released / "data/lists/phase1_list.txt")["label"].to_numpy()


@pytest.fixture(scope="module")
def models(released) -> dict[str, dict[tuple[str, int], np.ndarray]]:
    """Snapshot -> (row, seed) -> scores of the validation frames, mean over the three folds."""

    def scores(name, epoch, crop):
        used = ["crop0", "crop0_hflip"] if crop == "mirror mean" else ["crop0"]
        files = [released / f"data/opts/{name}/fold{fold}/tta_epoch{epoch}_val_score.txt" for fold in (1, 2, 3)]
        return np.mean([pd.read_csv(file)[used] for file in files], axis=(0, 2))

    return {
        snapshot: {
            (row, seed): scores(f"{name}_seed{seed}", *snapshot.removeprefix("epoch ").split(", "))
            for row, (name, seeds) in FOLDERS.items()
            for seed in range(1, seeds + 1)
        }
        for snapshot in SNAPSHOTS
    }


def refused(labels, score) -> int:
    """Bona fide frames that do not exceed the highest attack score: at FPR = 1e-4 no attack frame may pass."""
    return int((score[labels == 1] <= score[labels == 0].max()).sum())


def ensemble(models, rows="ABCD") -> np.ndarray:
    """Mean over seeds, then over rows."""
    return np.mean([np.mean([s for (name, _), s in models.items() if name == row], axis=0) for row in rows], axis=0)


def rate(labels, score) -> str:
    count = refused(labels, score)
    return f"{100 * (1 - count / (labels == 1).sum()):.2f} ({count})"


def computed(labels, models) -> dict[tuple[str, str], str]:
    """(row's first words, seed) -> the cell of README's table, for the models of one snapshot."""
    cells = {(f"{row}:", str(seed)): rate(labels, score) for (row, seed), score in models.items()}
    cells["ensemble", "all"] = rate(labels, ensemble(models))
    choices = product(*([score for (name, _), score in models.items() if name == row] for row in "ABCD"))
    counts = [refused(labels, np.mean(choice, axis=0)) for choice in choices]
    cells["ensemble", "one each"] = f"({min(counts)} to {max(counts)})"
    for row in "ABCD":
        cells[f"ensemble without {row}", "all"] = rate(labels, ensemble(models, "ABCD".replace(row, "")))
    return cells


def readme_table() -> pd.DataFrame:
    lines = README.read_text(encoding="utf-8").splitlines()
    begin = next(i for i, line in enumerate(lines) if line.startswith("| row of Table 3 |"))
    end = next(i for i in range(begin, len(lines)) if not lines[i].startswith("|"))
    head, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[begin:end]]
    return pd.DataFrame(rows, columns=head)


def test_readme_shows_what_the_authors_files_give(labels, models):
    table = readme_table()
    assert list(table.columns[3:]) == SNAPSHOTS and (len(labels), labels.sum()) == (9608, 2994)
    rows = [name.split(" ")[0] if ":" in name else name for name in table["row of Table 3"]]
    for snapshot in SNAPSHOTS:
        shown = dict(zip(zip(rows, table["seed"], strict=True), table[snapshot], strict=True))
        assert shown == computed(labels, models[snapshot]), snapshot


def test_readme_repeats_the_published_rows(labels, models):
    """The paper prints first seeds and the ensemble; the mirror mean after epoch 31 gives the same digits."""
    table = readme_table()
    printed = table[table["published"] != "–"]
    assert list(printed["published"]) == ["99.87", "99.63", "99.33", "98.70", "100.00"]
    assert [cell.split(" ")[0] for cell in printed["epoch 31, mirror mean"]] == list(printed["published"])
