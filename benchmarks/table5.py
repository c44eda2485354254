"""Table 5 on several synthetic worlds: does the order of the modalities hold for new subjects, frames and weights?

    python benchmarks/table5.py --profile tiny --worlds 3101 3102 3103 --out DIR

Each world is a data seed: its own train subjects, validation subjects, source faces and prints. In each, the networks
A-rgb, A-ir, A-depth and A (mean of three attack folds, one seed) are trained as the profile says. Printed are TPR@FPR in
percent, each world and mean +- standard deviation, and the same for a logistic regression on simple statistics of the
frames, which would be high if a shortcut explained the order.
"""

import argparse
from pathlib import Path

import pandas as pd

from fasnb import metrics
from fasnb.data.shortcut import shortcut_report
from fasnb.lab.session import Session
from fasnb.lab.views import statistics
from fasnb.metrics import comparisons, scores
from fasnb.paper.experiments import MODALITY_EXPERIMENTS


def one_world(profile: str, world: int, out: Path) -> dict[tuple[str, str], float]:
    """(row, FPR) -> TPR in percent."""
    session = Session(profile, {"data_seed": world, "seeds": 1}, out / str(world))
    models = scores.average(session.scores(*MODALITY_EXPERIMENTS), over=["fold"])
    measured = comparisons.measure(models, session.profile.fprs, replicates=100)
    found = {(row.experiment, metrics.fpr_name(row.FPR)): row.measured for row in measured.itertuples()}
    simple = shortcut_report(
        *(statistics(session.sources[split]) for split in ("train", "valid")), session.profile.fprs
    )
    return found | {("shortcut", metrics.fpr_name(point.fpr)): 100 * point.tpr for point in simple.points}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="tiny")
    parser.add_argument("--worlds", type=int, nargs="+", default=[3101, 3102, 3103])
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    table = pd.DataFrame({world: one_world(args.profile, world, args.out) for world in args.worlds})
    table.index.names = ["row", "FPR"]
    table["mean"], table["deviation"] = table.mean(axis=1), table[args.worlds].std(axis=1)
    print(table.loc[[*MODALITY_EXPERIMENTS, "shortcut"]].round(1).to_string())


if __name__ == "__main__":
    main()
