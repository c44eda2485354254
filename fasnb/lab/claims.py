"""The paper's claims on the networks of a whole study: the scores they are judged by, and what each section's notebook says.

A verdict depends on all claims of the report (Holm's correction) and on all its networks (the variance between seeds), so
every notebook takes it from the same table.
"""

import pandas as pd

from fasnb.data.casia_check import KNOWN
from fasnb.data.released import read_released
from fasnb.lab.chapters import NOTEBOOKS
from fasnb.lab.session import Session
from fasnb.metrics import evidence, verdicts
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


def evidence_of(session: Session, networks: pd.DataFrame, fpr: float) -> dict[str, verdicts.Evidence]:
    """What a session has on the claims besides the TPRs of two methods, name -> evidence at this FPR.

    Args:
        networks: as of ``judged``.
    """
    replicates = session.profile.replicates
    if session.profile.source != "released":
        return evidence.of_networks(networks, fpr, replicates, _test(session))
    found = evidence.of_networks(networks, fpr, replicates)
    if fpr == evidence.PUBLISHED_FPR:
        found |= evidence.of_published(KNOWN["valid"]["bona fide"], KNOWN["test"]["bona fide"])
    single = read_released(released_root(session.profile.released_root), session.profile.released_epoch, "crop0")
    single = single[single["experiment"].isin(networks["experiment"])]
    crops = (average(table, over=["fold"]) for table in (single, networks))
    return found | {"test-time-augmentation": evidence.of_mirror(*crops, fpr, replicates)}


def _test(session: Session) -> pd.DataFrame | None:
    """The members' scores on the test set, where it has labels and they are there; nothing is trained."""
    if not all(session.serves(name, "test") for name in MEMBERS):
        return None
    try:
        return load_scores(session.plan.of(*MEMBERS), "test", session.published)
    except IncompleteError:
        return None


def findings(session: Session, networks: pd.DataFrame, *others: float) -> pd.DataFrame:
    """Every claim with its verdict and evidence at the headline FPR; see ``fasnb.metrics.verdicts.judge``.

    Args:
        networks: scores table of all networks of ``EXPERIMENTS_JUDGED`` that the session serves.
        others: further FPRs, whose verdicts are added as columns, each corrected by itself.
    """
    models, absent = judged(networks), session.absent(*EXPERIMENTS_JUDGED)

    def table(fpr: float) -> pd.DataFrame:
        found = evidence_of(session, networks, fpr)
        return verdicts.judge(models, FINDINGS, fpr, session.profile.replicates, found, absent)

    headline = session.profile.headline_fpr
    columns = {f"at {fpr_name(fpr)}": table(fpr)["verdict"] for fpr in others if fpr != headline}
    return table(headline).assign(**columns)


def answers(session: Session, *sections: str) -> str:
    """What this study says of the claims of some sections: the verdicts of notebook 08, a sentence each.

    They need the networks of all notebooks; nothing is trained for them.
    """
    served = [name for name in EXPERIMENTS_JUDGED if session.serves(name)]
    if session.profile.source == "released":
        networks = session.scores(*served)
    else:
        try:
            networks = load_scores(session.plan.of(*served), "valid", session.published)
        except IncompleteError:
            return (
                "A verdict counts all claims and all networks of the study, and some of the networks are not trained yet: "
                "notebook 08 trains them and judges every claim."
            )
    return verdicts.sentences(findings(session, networks), sections)
