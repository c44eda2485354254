"""A study opened in a notebook: ``study, show, check = open_study(profile, settings, out)``.

In ``Study.scores`` the plan names the networks, ``train`` makes those that are missing, ``load_scores`` reads.
"""

import difflib
import importlib.util
import os
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from IPython import get_ipython

from fasnb.data.released import RELEASED_NETWORKS, read_released
from fasnb.data.store import Source
from fasnb.lab.plots import label_of, use_style
from fasnb.lab.show import SOURCES, Show
from fasnb.metrics import IncompleteError, average, check_complete, judge
from fasnb.paper import CLAIMS, EXPERIMENTS, MEMBERS, MODALITY_EXPERIMENTS, WITHOUT_D, ProfileError
from fasnb.paper import PEOPLE_EXPERIMENTS as PEOPLE
from fasnb.paper import PREPROCESSING_EXPERIMENTS as PREPROCESSING
from fasnb.paper import profile as profiles
from fasnb.tools.machine import MissingData, home, keep_time, released_root
from fasnb.training.archive import Published, is_done, load_history, load_scores
from fasnb.training.plan import Plan, plan, sources_of
from fasnb.training.run import train


class Notebook(NamedTuple):
    """What one notebook asks of a study: the sources that it serves, and the experiments whose scores it reads."""

    sources: tuple[str, ...]
    experiments: tuple[str, ...] = ()


_TRAINED = ("synthetic", "casia-surf")
_ANY = (*_TRAINED, "released")
_STARTS = ("resnet34-attack", "resnet34-imagenet", "resnet34-face", "face34-random", "face34-generic", "face34-gender")
_CLAIMED = {method for _, _, pairs in CLAIMS for pair in pairs for method in pair}
JUDGED = tuple(name for name in EXPERIMENTS if name in _CLAIMED)  # they decide the paper's claims

NOTEBOOKS = {  # what each asks of a study, in the order of execution
    "00_data": Notebook(_TRAINED),
    "01_baseline": Notebook(_TRAINED, ("zhang", "resnet34-subject")),
    "02_attack_folds": Notebook(_TRAINED, ("resnet34-subject", "resnet34-attack")),
    "03_initialization": Notebook(_TRAINED, _STARTS),
    "04_mlfa": Notebook(_TRAINED, ("resnet34-face", "A")),
    "05_ensemble": Notebook(_ANY, MEMBERS),
    "06_modalities": Notebook(_ANY, MODALITY_EXPERIMENTS),
    "07_disagreement": Notebook(_ANY, MEMBERS),
    "08_report": Notebook(_ANY, JUDGED),
    "09_released": Notebook(("released",)),
    "10_appendix": Notebook(_TRAINED, (*PREPROCESSING, *PEOPLE)),
}


def open_study(profile: str, settings: Mapping[str, Any] | None = None, out: str | Path | None = None):
    """The study of a profile, the function that shows its tables and figures, and the one that checks exercises.

    ``profile`` is a profile's name, or the path of a TOML file; ``settings`` are changed values, key -> value; ``out`` is
    the results folder, by default ``results/<profile>``, and ``results/<profile>-<hash8>`` with changed values. With
    ``FASNB_PUBLISHED=1`` the study has the published scores alone, and nothing is trained or written. ProfileError where
    a value cannot be used, or the notebook was given a parameter that it does not have.

    Returns ``study``, a ``Study``; ``show(what, name, sentence, of=None, digits=2)``, see ``Show``; and, of
    ``notebooks/exercises.py``, ``check(name, answer)`` with ``check.solution(name)``.
    """
    keep_time()
    refuse_unknown_parameters()
    use_style()
    study = Study(profile, settings, out)
    spec = importlib.util.spec_from_file_location("fasnb_exercises", home() / "notebooks" / "exercises.py")
    exercises = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(exercises)
    return study, Show(study.profile, None if study.published_only else study.out), exercises.check_for(study)


class Study:
    """One profile, opened; arguments as of ``open_study``. Where it is ``published_only``, it writes nothing."""

    def __init__(self, profile: str, settings: Mapping[str, Any] | None = None, out: str | Path | None = None):
        if not isinstance(settings, Mapping | None) or not isinstance(out, str | Path | None):
            raise ProfileError(f"settings = {settings!r} is a dictionary or None, out = {out!r} a folder or None")
        self.profile = profiles.load(profile, settings)
        self.out = home() / (out or Path("results") / profiles.results_name(profile, settings))
        self.published_only = os.environ.get("FASNB_PUBLISHED") == "1"

    def __repr__(self) -> str:
        return f"profile {self.profile.name}: {SOURCES[self.profile.source]}"

    @cached_property
    def sources(self) -> dict[str, Source]:
        """Split -> its frames (``frames``, ``read(rows)``, ``channels``, ``size``)."""
        return sources_of(self.profile)

    @cached_property
    def plan(self) -> Plan:
        """Every network of the study; of the released source none, as it has scores alone."""
        sources = {} if self.profile.source == "released" else self.sources
        return plan(self.profile, Path("nowhere") if self.published_only else self.out, sources)

    @cached_property
    def published(self) -> Published:
        """What the repository publishes of this profile."""
        return Published(home() / "results" / "published" / self.profile.name)

    @cached_property
    def released(self) -> pd.DataFrame:
        """Scores table of the authors' networks at the profile's epoch."""
        return read_released(released_root(self.profile.released_root), self.profile.released_epoch)

    def scores(self, *experiments: str, split: str = "valid") -> pd.DataFrame:
        """Scores table of all folds and seeds of some experiments on a split, valid or test.

        They are this machine's own, else the published ones; networks that have neither are trained first.
        IncompleteError where the source has no such scores; MissingScores where the study is ``published_only`` and
        they are not published.
        """
        for name in experiments:
            if not self.serves(name, split):
                raise IncompleteError(f"no {split} scores of {name}: {self._why_not(name)}")
        if self.profile.source == "released":
            chosen = self.released[self.released["experiment"].isin(experiments)].reset_index(drop=True)
            check_complete(chosen, [network for network in RELEASED_NETWORKS if network[0] in experiments])
            return chosen
        networks = self.plan.of(*experiments)
        if not self.published_only:
            train([n for n in networks if not self.published.holds(n)], **self.profile.execution)
        return load_scores(networks, split, self.published)

    def serves(self, experiment: str, split: str = "valid") -> bool:
        """Whether this source has, or can make, the labelled scores of an experiment on a split."""
        if self.profile.source == "released":
            return split == "valid" and experiment in set(self.released["experiment"])
        if experiment not in EXPERIMENTS or experiment in self.plan.left_out:
            return False
        return self.plan.labelled(split) and all(split in network.splits for network in self.plan.of(experiment))

    def served(self, *experiments: str) -> list[str]:
        """The experiments that this source serves on validation; prints the others. MissingData if it serves none."""
        reason = {name: self._why_not(name) for name in experiments if not self.serves(name)}
        if reason:
            print(f"Left out ({'; '.join(dict.fromkeys(reason.values()))}): {', '.join(map(label_of, reason))}.")
        if len(reason) == len(experiments):
            raise MissingData(f"none of {', '.join(experiments)} can be shown")
        return [name for name in experiments if name not in reason]

    def _why_not(self, experiment: str) -> str:
        known = "this source has no such scores" if experiment in EXPERIMENTS else f"there are {', '.join(EXPERIMENTS)}"
        return self.plan.left_out.get(experiment, known)

    def histories(self, *experiments: str) -> dict[str, pd.DataFrame]:
        """``<experiment> fold <k> seed <s>`` -> training history of the network, one row an epoch."""
        return {network.title: load_history(network, self.published) for network in self.plan.of(*experiments)}

    @property
    def methods(self) -> pd.DataFrame | None:
        """Scores table of the claims' methods: each seed of ``JUDGED`` (mean of folds), ensembles with and without D.

        None while networks of ``JUDGED`` are missing; nothing is trained for it.
        """
        served, over = [name for name in JUDGED if self.serves(name)], ["fold", "seed", "experiment"]
        if not all(is_done(network) or self.published.holds(network) for network in self.plan.of(*served)):
            return None
        networks = self.scores(*served)
        members = networks[networks["experiment"].isin(MEMBERS)]
        three = average(members[members["experiment"] != "D"], over).assign(experiment=WITHOUT_D)
        tables = average(networks, ["fold"]), average(members, over), three
        return pd.concat(tables).astype({"experiment": "string"})

    def claims(self, *sections: str, fpr: float | None = None) -> pd.DataFrame:
        """The paper's claims, of some sections such as "5.4" or all, with verdicts at an FPR (the headline FPR).

        A verdict is corrected for all claims and counts the seeds of all ``methods``; it is "open" until there are any.
        One row a claim, see ``fasnb.metrics.judge``.
        """
        table = pd.DataFrame([(*claim[:2], "open") for claim in CLAIMS], columns=["claim", "section", "verdict"])
        if (methods := self.methods) is not None:
            table = judge(CLAIMS, methods, self.profile.headline_fpr if fpr is None else fpr, self.profile.replicates)
        return table[table["section"].isin(sections or table["section"])].reset_index(drop=True)


def refuse_unknown_parameters() -> None:
    """ProfileError for a parameter that papermill, which only warns, gave the notebook and no cell before it has."""
    shell, known = get_ipython(), []
    for source in shell.user_ns.get("In", []) if shell is not None else []:
        names = re.findall(r"^(\w+) *=(?!=)", source, re.MULTILINE)
        for name in names if source.startswith("# Parameters\n") else ():
            if name not in known and not name.startswith("PAPERMILL_"):
                near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
                meant = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(known)}"
                raise ProfileError(f"this notebook has no parameter {name!r}; {meant}")
        known += names
