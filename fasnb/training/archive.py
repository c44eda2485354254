"""What is kept of trained networks: the folder of each, and published results.

A network's folder holds ``config.json`` (what it is, where it was made), ``history.csv`` (one row an epoch),
``network.pt``, ``scores-<split>-<data8>.parquet`` of each split and, written last, ``done.json``: facts, and the
SHA-256 of the other files, which is compared with whatever is read. Before, training goes on from ``state.pt``.
Published are ``scores.parquet`` (the scores table with ``split`` and ``key``), ``runs.csv`` and ``history.csv``.
"""

from collections.abc import Iterable, Sequence
from functools import cached_property, partial
from pathlib import Path

import pandas as pd

from fasnb.data.scores import SCORE_COLUMNS, read_scores, write_scores
from fasnb.tools.files import DONE, replace_file, seal, sealed, whole
from fasnb.training.plan import Network, backbones_of

PUBLISHED_FILES = "scores.parquet", "runs.csv", "history.csv"


class MissingScores(ValueError):
    """Scores that neither are here nor published; the message lists the networks."""


def score_file(network: Network, split: str) -> str:
    """Name of the file with a network's scores of a split; other frames give another."""
    return f"scores-{split}-{network.splits[split].fingerprint[:8]}.parquet"


def facts_of(network: Network) -> dict | None:
    """What ``done.json`` says of a network, None where it is not trained. Raises Damaged."""
    return sealed(network.folder) if (network.folder / DONE).is_file() else None


def is_done(network: Network) -> bool:
    """Whether a network is trained and has scored all its splits. Raises as ``facts_of``."""
    facts = facts_of(network)
    return facts is not None and all(score_file(network, split) in facts["sha256"] for split in network.splits)


class Published:
    """The published results in a folder; it may have none."""

    def __init__(self, folder: Path):
        self.folder = folder

    def _table(self, name: str) -> pd.DataFrame:
        return pd.read_csv(whole(self.folder, name)).set_index("key")

    @cached_property
    def runs(self) -> pd.DataFrame:
        """``runs.csv``, indexed by the networks' keys."""
        return self._table("runs.csv") if (self.folder / "runs.csv").is_file() else pd.DataFrame()

    @cached_property
    def _scores(self) -> pd.DataFrame:
        table = read_scores(whole(self.folder, "scores.parquet"))
        return table.set_index(["split", "key"]).sort_index(kind="stable")  # frames stay in order

    def holds(self, network: Network) -> bool:
        """Whether the network's scores of all its splits are here, on the very frames that it is to score."""
        wanted = {f"{split} data": frames.fingerprint for split, frames in network.splits.items()}
        return network.key in self.runs.index and wanted.items() <= dict(self.runs.loc[network.key]).items()

    def scores(self, network: Network, split: str) -> pd.DataFrame:
        """The scores table of a network on a split. Raises KeyError where it is not here."""
        return self._scores.loc[[(split, network.key)], list(SCORE_COLUMNS)].reset_index(drop=True)

    def history(self, network: Network) -> pd.DataFrame:
        """One row an epoch, of a network or a backbone. Raises KeyError where it is not here."""
        others = ["run", "valid_loss", "valid_auc"] if network.is_backbone else ["run", "accuracy"]
        found = self._table("history.csv").loc[[network.key]]
        return found.drop(columns=others, errors="ignore").reset_index(drop=True)


NOTHING = Published(Path("nowhere"))


def load_scores(networks: Sequence[Network], split: str, published: Published = NOTHING) -> pd.DataFrame:
    """The scores of networks on a split, one table: their own, else as published. Raises MissingScores."""
    tables, missing = [], []
    for network in networks:
        if split in network.splits and is_done(network):
            tables.append(read_scores(whole(network.folder, score_file(network, split))))
        elif split in network.splits and published.holds(network):
            tables.append(published.scores(network, split))
        else:
            missing.append(network.title)
    if missing or not tables:
        which = "; ".join(missing) or "name an experiment"
        raise MissingScores(f"{len(missing)} of {len(networks)} networks have no scores on {split}: {which}")
    return pd.concat(tables, ignore_index=True)


def load_facts(networks: Iterable[Network], published: Published = NOTHING) -> pd.DataFrame:
    """One row a network that is done here or published.

    Columns: experiment, fold, seed, key, run (folder), device, commit, frames (trained on), epochs, seconds (of
    training), frames_per_second (median of the epochs), and of each split the frames' fingerprint, as "valid data".
    """
    rows = []
    for network in networks:
        if is_done(network):
            rows.append({name: value for name, value in facts_of(network).items() if name != "sha256"})
        elif published.holds(network):
            rows.append({"key": network.key} | published.runs.loc[network.key].to_dict())
    return pd.DataFrame(rows)


def load_history(network: Network, published: Published = NOTHING) -> pd.DataFrame:
    """One row an epoch of a network or a backbone, see ``fasnb.training.fit.fit``: its own, else as published."""
    return pd.read_csv(whole(network.folder, "history.csv")) if is_done(network) else published.history(network)


def write_published(networks: Sequence[Network], folder: Path, published: Published = NOTHING) -> None:
    """Write the results of networks and of the backbones they start from. MissingScores: one has none."""
    tables = [load_scores([n], split, published).assign(split=split, key=n.key) for n in networks for split in n.splits]
    # all networks' scores of a frame together: what is known of it is then said once, which saves a fifth of the file
    scores = pd.concat(tables).rename_axis("frame").sort_values(["split", "frame"], kind="stable")
    write_scores(scores.astype({"split": "string", "key": "string"}), folder / "scores.parquet")
    every = [*networks, *backbones_of(networks)]
    history = pd.concat([load_history(n, published).assign(run=n.folder.name, key=n.key) for n in every])
    for name, table in (("runs.csv", load_facts(networks, published)), ("history.csv", history)):
        replace_file(folder / name, partial(table.to_csv, index=False))
    seal(folder, {}, PUBLISHED_FILES)
