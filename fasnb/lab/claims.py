"""The paper's claims on the networks of a whole study: the scores they are judged by, and what each section's notebook says.

A verdict depends on all claims of the report (Holm's correction) and on all its networks (the variance between seeds), so
every notebook takes it from the same table.
"""

import pandas as pd

from fasnb.lab.chapters import NOTEBOOKS
from fasnb.lab.session import Session
from fasnb.metrics import comparisons
from fasnb.metrics.scores import IncompleteError, average
from fasnb.paper.experiments import MEMBERS
from fasnb.paper.published import FINDINGS, WITHOUT_D
from fasnb.training.archive import load_scores


def judged(networks: pd.DataFrame) -> pd.DataFrame:
    """Scores table of all methods that claims speak of: each experiment's seeds, the ensemble, and that without D.

    Args:
        networks: scores table of single networks.
    """
    members = networks[networks["experiment"].isin(MEMBERS)]
    over = ["fold", "seed", "experiment"]
    three = average(members[members["experiment"] != "D"], over).assign(experiment=WITHOUT_D)
    return pd.concat([average(networks, over=["fold"]), average(members, over), three.astype({"experiment": "string"})])


def answers(session: Session, section: str) -> str:
    """What this study says of the claims of one section: the verdicts of notebook 08, a sentence each.

    They need the networks of all notebooks; nothing is trained for them.
    """
    served = [name for name in NOTEBOOKS["08_report"].experiments if session.serves(name)]
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
    profile = session.profile
    return comparisons.answers(judged(networks), FINDINGS, section, profile.headline_fpr, profile.replicates)
