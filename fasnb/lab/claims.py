"""The paper's claims on the networks of a whole study: the scores they are judged by, and what each section's notebook says.

A verdict depends on all claims of the report (Holm's correction) and on all its networks (the variance between seeds), so
every notebook takes it from the same table.
"""

from collections.abc import Sequence

import pandas as pd

from fasnb.data.casia_check import KNOWN
from fasnb.data.released import read_released
from fasnb.lab.chapters import NOTEBOOKS
from fasnb.lab.session import Session
from fasnb.metrics import evidence, verdicts
from fasnb.metrics.comparisons import compare_all
from fasnb.metrics.pad import fpr_name
from fasnb.metrics.scores import IncompleteError, average
from fasnb.paper.experiments import MEMBERS
from fasnb.paper.published import FINDINGS, WITHOUT_D
from fasnb.tools.places import released_root
from fasnb.training.archive import load_scores

EXPERIMENTS_JUDGED = NOTEBOOKS["08_report"].experiments


def judged(networks: pd.DataFrame) -> pd.DataFrame:
    """Scores table of all methods that claims speak of: each experiment's seeds, the ensemble, and that without D.

    Args:
        networks: scores table of single networks.
    """
    members = networks[networks["experiment"].isin(MEMBERS)]
    over = ["fold", "seed", "experiment"]
    three = average(members[members["experiment"] != "D"], over).assign(experiment=WITHOUT_D)
    return pd.concat([average(networks, over=["fold"]), average(members, over), three.astype({"experiment": "string"})])


def evidence_of(session: Session, networks: pd.DataFrame, *fprs: float) -> list[dict[str, verdicts.Evidence]]:
    """What a session has on the claims besides the TPRs of two methods: name -> evidence, for each FPR.

    Args:
        networks: as of ``judged``.
    """
    models, replicates = average(networks, over=["fold"]), session.profile.replicates
    anywhere, test = evidence.of_scores(models, replicates), _test(session)
    found = [anywhere | evidence.of_rates(networks, models, fpr, test) for fpr in fprs]
    if session.profile.source != "released":
        return found
    single = read_released(released_root(session.profile.released_root), session.profile.released_epoch, "crop0")
    single = average(single[single["experiment"].isin(networks["experiment"])], over=["fold"])
    for fpr, given in zip(fprs, found, strict=True):
        given["test-time-augmentation"] = evidence.of_mirror(single, models, fpr, replicates)
        if fpr == evidence.PUBLISHED_FPR:
            given |= evidence.of_published(KNOWN["valid"]["bona fide"], KNOWN["test"]["bona fide"])
    return found


def _test(session: Session) -> pd.DataFrame | None:
    """The members on the test set, by seed, where it has labels and their scores are there; nothing is trained."""
    if not all(session.serves(name, "test") for name in MEMBERS):
        return None
    try:
        return average(load_scores(session.plan.of(*MEMBERS), "test", session.published), over=["fold"])
    except IncompleteError:
        return None


def findings(session: Session, networks: pd.DataFrame, *others: float) -> pd.DataFrame:
    """Every claim with its verdict and evidence at the headline FPR; see ``fasnb.metrics.verdicts.judge``.

    Args:
        networks: scores table of all networks of ``EXPERIMENTS_JUDGED`` that the session serves.
        others: further FPRs, whose verdicts are added as columns, each corrected by itself.
    """
    models, absent = judged(networks), session.absent(*EXPERIMENTS_JUDGED)
    fprs = list(dict.fromkeys([session.profile.headline_fpr, *others]))
    tables = [
        verdicts.judge(models, FINDINGS, fpr, session.profile.replicates, found, absent)
        for fpr, found in zip(fprs, evidence_of(session, networks, *fprs), strict=True)
    ]
    further = {f"at {fpr_name(fpr)}": table["verdict"] for fpr, table in zip(fprs[1:], tables[1:], strict=True)}
    return tables[0].assign(**further)


def pairs(session: Session, table: pd.DataFrame, wanted: Sequence[tuple[str, str]] | None = None) -> pd.DataFrame:
    """Paired differences at the headline FPR with the interval that notebook 08 gives the same pair.

    While networks of the study are missing, the variance between seeds is that of the table alone, and a sentence says so.
    See ``fasnb.metrics.comparisons.compare_all``.

    Args:
        table: scores table with one score a frame, experiment and seed.
        wanted: (a, b) for a - b; by default all pairs.
    """
    networks = _networks(session)
    if networks is None:
        print("Not all networks of the study are trained yet, so these intervals count the seeds of this table alone.")
    study = None if networks is None else average(networks, over=["fold"])
    return compare_all(table, session.profile.headline_fpr, wanted, session.profile.replicates, study)


def answers(session: Session, *sections: str, unmeasured: bool = False) -> str:
    """What this study says of the claims of some sections: the verdicts of notebook 08, a sentence each.

    They need the networks of all notebooks; nothing is trained for them.

    Args:
        unmeasured: also the claims that were not measured, with the reason.
    """
    networks = _networks(session)
    if networks is None:
        return (
            "A verdict counts all claims and all networks of the study, and some of the networks are not trained yet: "
            "notebook 08 trains them and judges every claim."
        )
    return verdicts.sentences(findings(session, networks), sections, unmeasured)


def _networks(session: Session) -> pd.DataFrame | None:
    """Scores table of all networks that are judged, or None where some are not trained yet."""
    served = [name for name in EXPERIMENTS_JUDGED if session.serves(name)]
    if session.profile.source == "released":
        return session.scores(*served)
    try:
        return load_scores(session.plan.of(*served), "valid", session.published)
    except IncompleteError:
        return None
