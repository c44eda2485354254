"""Published results: of all networks of a profile one table of scores, one of runs and one of histories.

``scores.parquet`` holds the scores table with a column ``split``; ``runs.csv`` one row a network, see ``runs.facts_of``;
``history.csv`` one row a network (or backbone) and epoch. Weights are not published.
"""

from collections.abc import Iterable, Sequence
from functools import cached_property, partial
from pathlib import Path

import pandas as pd

from fasnb.metrics.scores import NETWORK, SCORE_COLUMNS, IncompleteError, read_scores, write_scores
from fasnb.tools.files import replace_file
from fasnb.tools.seals import RESULT, check_sums, whole
from fasnb.training.plan import PlannedBackbone, PlannedNetwork
from fasnb.training.runs import facts_of, finished


class Published:
    """The published scores and facts of a profile's networks; empty where the folder has none."""

    def __init__(self, folder: Path):
        self.folder = folder

    @cached_property
    def runs(self) -> pd.DataFrame:
        """``runs.csv``, indexed by the key of the network's specification."""
        if not (self.folder / "runs.csv").is_file():
            return pd.DataFrame(index=pd.Index([], name="key"))
        return pd.read_csv(self._file("runs.csv")).set_index("key")

    @cached_property
    def history(self) -> pd.DataFrame:
        return pd.read_csv(self._file("history.csv"))

    def _file(self, name: str) -> Path:
        """The path of one of the files, compared with ``sums.csv`` where that is there."""
        check_sums(self.folder, [name])
        return self.folder / name

    @cached_property
    def _scores(self) -> pd.DataFrame:
        table = read_scores(self._file("scores.parquet"))
        return table.set_index(["split", *NETWORK]).sort_index(kind="stable")  # frames stay in order

    def holds(self, network: PlannedNetwork) -> bool:
        """Whether the network's scores of all its splits are here, on the very frames that it is to score."""
        if network.specification.key not in self.runs.index:
            return False
        row = self.runs.loc[network.specification.key]
        return all(row.get(f"{split} data") == network.data[split] for split in network.splits)

    def of(self, network: PlannedNetwork, split: str) -> pd.DataFrame:
        """The scores table of one network on a split."""
        it = network.specification
        found = self._scores.loc[[(split, it.experiment, it.fold, it.seed)]].reset_index()
        return found[list(SCORE_COLUMNS)]


def write_published(networks: Sequence[PlannedNetwork], backbones: Iterable[PlannedBackbone], folder: Path) -> None:
    """Write the three files of finished networks.

    Raises:
        IncompleteError: a network is not finished; all such are listed.
    """
    runs = [finished(network) for network in networks]
    missing = [n.specification.title for n, run in zip(networks, runs, strict=True) if run is None]
    if missing:
        raise IncompleteError(f"{len(missing)} of {len(networks)} networks are not finished: {'; '.join(missing)}")
    tables = [run.scores(split).assign(split=split) for run in runs for split in run.result["splits"]]
    scores = pd.concat(tables).astype({"split": "string"})
    # all networks' scores of a frame together: what is known of it is then said once, which saves a fifth of the file
    scores = scores.rename_axis("frame").sort_values(["split", "frame"], kind="stable")
    write_scores(scores, folder / "scores.parquet")
    facts = pd.DataFrame([facts_of(run) for run in runs])
    replace_file(folder / "runs.csv", partial(facts.to_csv, index=False))
    folders = dict.fromkeys([run.folder for run in runs] + [backbone.folder for backbone in backbones])
    histories = [pd.read_csv(whole(each, "history.csv")).assign(run=each.name) for each in folders]
    history = pd.concat(histories, ignore_index=True)
    history.insert(0, "run", history.pop("run"))
    replace_file(folder / "history.csv", partial(history.to_csv, index=False))


def load_scores(networks: Sequence[PlannedNetwork], split: str, published: Published) -> pd.DataFrame:
    """The scores of networks on a split, one table: of their runs, else as published.

    Raises:
        IncompleteError: networks have no scores on the split, all of them listed; or none is asked for.
    """
    tables, missing = [], []
    for network in networks:
        run = finished(network)
        if run is not None and split in run.result["splits"]:
            tables.append(run.scores(split))
        elif split in network.splits and published.holds(network):
            tables.append(published.of(network, split))
        else:
            missing.append(network.specification.title)
    if missing:
        total = len(networks)
        raise IncompleteError(f"{len(missing)} of {total} networks have no scores on {split}: {'; '.join(missing)}")
    if not tables:
        raise IncompleteError("no network is asked for; name at least one experiment")
    return pd.concat(tables, ignore_index=True)


def load_facts(networks: Sequence[PlannedNetwork], published: Published) -> pd.DataFrame:
    """One row a network that is done here or published, see ``runs.facts_of``; the others are left out."""
    rows = []
    for network in networks:
        run = finished(network)
        if run is not None:
            rows.append(facts_of(run))
        elif published.holds(network):
            rows.append({"key": network.specification.key} | published.runs.loc[network.specification.key].to_dict())
    return pd.DataFrame(rows)


def load_history(item: PlannedNetwork | PlannedBackbone, published: Published) -> pd.DataFrame:
    """One row an epoch, of a network or a backbone: from its folder, else as published."""
    if (item.folder / RESULT).is_file():
        return pd.read_csv(whole(item.folder, "history.csv"))
    found = published.history[published.history["run"] == item.folder.name].drop(columns="run")
    return found.dropna(axis=1, how="all").reset_index(drop=True)
