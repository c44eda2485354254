"""A study opened in a notebook: its profile, the scores of its experiments, and which experiments its source serves."""

import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from fasnb.data.released import RELEASED_NETWORKS, read_released
from fasnb.data.store import Source
from fasnb.lab.live import Interrupted, notebook_display
from fasnb.lab.palette import use_style
from fasnb.lab.parameters import check_parameters
from fasnb.lab.show import SOURCES, Show
from fasnb.metrics.scores import IncompleteError, check_complete
from fasnb.paper import profile as profiles
from fasnb.paper.experiments import EXPERIMENTS
from fasnb.tools.places import MissingData, home, released_root, workplace
from fasnb.training.archive import Published, load_scores
from fasnb.training.make import make
from fasnb.training.plan import Plan, plan, sources_of


def open_study(profile: str, settings: Mapping[str, Any] | None = None, out: str | Path | None = None):
    """The study of a profile, and the function that shows its tables and figures.

    With ``FASNB_PUBLISHED=1`` the study has the published scores alone, and nothing is trained or written.

    Args:
        profile: a profile's name, or the path of a TOML file.
        settings: changed values, key -> value.
        out: results folder; by default ``results/<profile>``, and ``results/<profile>-<hash8>`` where settings change
            what is computed, in the working folder or the repository that it belongs to.

    Returns:
        The ``Session`` and its ``Show``.

    Raises:
        ProfileError: a value that cannot be used, or a parameter given to the notebook that it does not have.
    """
    check_parameters(profile, settings, out)
    session = Session(profile, settings, out)
    use_style()
    return session, Show(session.profile, None if session.published_only else session.out)


class Session:
    """One profile, opened. Arguments as of ``open_study``."""

    def __init__(self, profile: str, settings: Mapping[str, Any] | None = None, out: str | Path | None = None):
        self.profile = profiles.load(profile, settings)
        self.out = workplace() / (out or Path("results") / profiles.results_name(profile, settings))
        self.published_only = os.environ.get("FASNB_PUBLISHED") == "1"

    def __repr__(self) -> str:
        return f"profile {self.profile.name}: {SOURCES[self.profile.source]}"

    @cached_property
    def sources(self) -> dict[str, Source]:
        """Split -> its frames, see ``fasnb.training.plan.sources_of``."""
        return sources_of(self.profile)

    @cached_property
    def plan(self) -> Plan:
        """Every network of the study, resolved."""
        sources = {} if self.profile.source == "released" else self.sources  # it has scores alone: nothing is planned
        return plan(self.profile, Path("nowhere") if self.published_only else self.out, sources)

    @cached_property
    def published(self) -> Published:
        """What the repository publishes of this profile."""
        return Published(home() / "results" / "published" / self.profile.name)

    @cached_property
    def released(self) -> pd.DataFrame:
        """The authors' scores of all their networks."""
        root = released_root(self.profile.released_root)
        return read_released(root, self.profile.released_epoch)

    @cached_property
    def _released_experiments(self) -> set[str]:
        return set(self.released["experiment"].unique())

    def scores(self, *experiments: str, split: str = "valid") -> pd.DataFrame:
        """Scores table of all folds and seeds of the experiments.

        They are this machine's own, else the published ones; networks that have neither are trained first.

        Raises:
            IncompleteError: the released source lacks an experiment.
            Interrupted: the training was stopped by hand.
        """
        unknown = [name for name in experiments if name not in EXPERIMENTS]
        if unknown:
            raise ValueError(f"no experiment {unknown[0]!r}; there are {', '.join(EXPERIMENTS)}")
        if self.profile.source == "released":
            missing = [name for name in experiments if not self.serves(name, split)]
            if missing:
                raise IncompleteError(f"no {split} scores were released for {', '.join(missing)}")
            chosen = self.released[self.released["experiment"].isin(experiments)].reset_index(drop=True)
            check_complete(chosen, [n for n in RELEASED_NETWORKS if n[0] in experiments])
            return chosen
        networks = self.plan.of(*experiments)
        if not self.published_only:
            unchanged = home() / "results" / self.profile.name
            try:
                make(self.plan, networks, self.profile.execution, self.published, unchanged, notebook_display())
            except KeyboardInterrupt:
                raise Interrupted from None
        return load_scores(networks, split, self.published)

    def serves(self, experiment: str, split: str = "valid") -> bool:
        """Whether this source has, or can make, the labelled scores of an experiment on a split."""
        if self.profile.source == "released":
            return split == "valid" and experiment in self._released_experiments
        return experiment not in self.plan.left_out and self.plan.labelled(split)

    def absent(self, *experiments: str) -> dict[str, str]:
        """Experiment -> why this source does not serve it on validation; those that it serves are left out."""

        def why(name: str) -> str:
            if self.profile.source == "released":
                return "no scores of theirs were released"
            return self.plan.left_out.get(name, "the validation frames have no labels here")

        return {name: why(name) for name in experiments if not self.serves(name)}

    def served(self, *experiments: str) -> list[str]:
        """The experiments that this source serves on validation; says in a sentence which ones it does not.

        Raises:
            MissingData: it serves none of them.
        """
        absent = self.absent(*experiments)
        why = "; ".join(dict.fromkeys(absent.values()))
        if absent:
            print(f"Left out ({why}): {'; '.join(EXPERIMENTS[name].title for name in absent)}.")
        if len(absent) == len(experiments):
            raise MissingData(f"none of {', '.join(experiments)} can be shown: {why}")
        return [name for name in experiments if name not in absent]
