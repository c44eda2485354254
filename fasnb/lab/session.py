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
from fasnb.metrics import IncompleteError, average, check_complete, errors, judge, ratios
from fasnb.paper import EXPERIMENTS, MEMBERS, MODALITY_EXPERIMENTS, OTHER, PRIMARY, STUDENTS, WITHOUT_D, ProfileError
from fasnb.paper import PEOPLE_EXPERIMENTS as PEOPLE
from fasnb.paper import PREPROCESSING_EXPERIMENTS as PREPROCESSING
from fasnb.paper import REAL_FACES_EXPERIMENTS as REAL_FACES
from fasnb.paper import profile as profiles
from fasnb.tools.files import DONE, whole
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
_STARTS = ("resnet34-attack", "resnet34-imagenet", "resnet34-face", "face34-random", "face34-generic")
_CLAIMED = {method for _, _, pairs in (*PRIMARY, *OTHER) for pair in pairs for method in pair}
JUDGED = tuple(name for name in EXPERIMENTS if name in _CLAIMED)  # they decide the claims

ERROR_COLUMNS = ["world", "seed", "experiment", "error", "least"]

NOTEBOOKS = {  # what each asks of a study, in the order of execution
    "00_data": Notebook(_TRAINED),
    "01_baseline": Notebook(_TRAINED, ("zhang", "resnet34-subject")),
    "02_attack_folds": Notebook(_TRAINED, ("resnet34-subject", "resnet34-thirds", "resnet34-attack")),
    "03_initialization": Notebook(_TRAINED, (*_STARTS, *REAL_FACES)),
    "04_mlfa": Notebook(_TRAINED, ("resnet34-face", "A", "A-longer")),
    "05_ensemble": Notebook(_ANY, MEMBERS),
    "06_modalities": Notebook(_ANY, (*MODALITY_EXPERIMENTS, "A-longer")),
    "07_disagreement": Notebook(_ANY, MEMBERS),
    "08_report": Notebook(_ANY, JUDGED),
    "09_released": Notebook(("released",)),
    "10_appendix": Notebook(_TRAINED, (*PREPROCESSING, *PEOPLE)),
    "11_own_cameras": Notebook(("frames",), MODALITY_EXPERIMENTS),
    "12_student": Notebook(_TRAINED, (*MEMBERS, *STUDENTS)),
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
    if (shell := get_ipython()) is not None and hasattr(shell, "kernel"):
        shell.run_line_magic("matplotlib", "inline")  # pictures, whatever MPLBACKEND says
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
        self.profile, self.opened = profiles.load(profile, settings), (profile, dict(settings or {}))
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

    def in_world(self, number: int) -> "Study":
        """The same study among other people, prints and frames, with other first weights; its results lie beside."""
        name, settings = self.opened
        return Study(name, settings | {"world": number, "worlds": 1}, self.out)

    @cached_property
    def errors(self) -> pd.DataFrame:
        """Errors of the claims' methods, see ``fasnb.metrics.errors``, in each ``world`` where they are trained.

        A method is the mean of its folds, or an ensemble (with and without D). Of real data there is one world, so
        there each seed stands for one; what other people would change is left out of that.
        """
        first, count = self.profile.world, self.profile.worlds
        parts = [self._errors(), *(self.in_world(number)._errors() for number in range(first + 1, first + count))]
        return pd.concat([part for part in parts if part is not None] or [pd.DataFrame(columns=ERROR_COLUMNS)])

    def _errors(self) -> pd.DataFrame | None:
        networks = {name: self.plan.of(name) for name in JUDGED if self.serves(name)}
        made = [n for n, each in networks.items() if all(is_done(it) or self.published.holds(it) for it in each)]
        if not made:
            return None
        rows = average(self.scores(*made), ["fold"])
        parts = [rows]
        for _, members in rows[rows["experiment"].isin(MEMBERS)].groupby("seed"):
            if set(MEMBERS) <= {*members["experiment"]}:
                three = average(members[members["experiment"] != "D"], ["experiment"])
                parts += average(members, ["experiment"]), three.assign(experiment=WITHOUT_D)
        found = errors(pd.concat(parts).astype({"experiment": "string"}))
        world = self.profile.world if self.profile.source == "synthetic" else found["seed"]
        return found.assign(world=world)[ERROR_COLUMNS]

    @cached_property
    def population(self) -> pd.DataFrame | None:
        """The published errors of the worlds among which this study's single one is shown; None where there are none."""
        folder = home() / "results" / "published" / (self.profile.population or "nowhere")
        return pd.read_csv(whole(folder, "worlds.csv")) if (folder / DONE).is_file() else None

    def claims(self, *sections: str, others: bool = False) -> pd.DataFrame:
        """What the study's worlds say of the primary claims of some sections, such as "5.4", or of all; or of the others.

        See ``fasnb.metrics.judge``; Holm's correction counts all primary claims, and the others get no verdict. Where
        there is a ``population``, ``place`` says how the ratio ranks among its worlds, and ``in all worlds`` what they
        say: their ratio with its limits, and their verdict. Nothing is trained for it.
        """
        claims = OTHER if others else PRIMARY
        table = judge(claims, self.errors, not others)
        if self.population is not None:
            each, published = ratios(claims, self.population), judge(claims, self.population)
            for i, row in table.iterrows():
                of_claim, said = each.loc[each["claim"] == row["claim"], "ratio"], published.loc[i]
                if row["worlds"] == 1:
                    table.loc[i, "place"] = f"{(of_claim < row['ratio']).sum() + 1} of {len(of_claim) + 1}"
                text = f"{said['ratio']:.2f} [{said['low']:.2f}, {said['high']:.2f}]"
                table.loc[i, "in all worlds"] = text + ("" if others else f", {said['verdict']}")
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
