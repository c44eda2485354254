"""The one number that the stand-in's difficulty is set by.

    python benchmarks/difficulty.py --profile tiny --difficulties 0.3 0.5 0.7

The rule: on a development world, which no profile uses, ONE network that sees all three cameras and starts from random
weights (the face network without MLFA, first attack fold, first seed, at the profile's size) is trained as the profile
says and scores 9,608 validation frames. Its TPR at an FPR of 1e-3 must lie between 80 and 95%. Nothing else is looked at:
no single camera, no other fold, no other start and no MLFA.
"""

import argparse
import time

import torch

from fasnb.data import store
from fasnb.lab.session import Session
from fasnb.metrics.pad import tpr_at_fpr
from fasnb.training.fit import fit
from fasnb.training.inference import score

DEVELOPMENT_WORLD = 77001
FPRS = (1e-2, 1e-3, 1e-4)


def one_number(profile: str, difficulty: float, settings: dict, precision: str) -> dict[float, float]:
    """FPR -> TPR of the one network."""
    changed = {"data_seed": DEVELOPMENT_WORLD, "difficulty": difficulty, "valid_frames": 9608, "valid_subjects": 100}
    session = Session(profile, changed | settings)
    network = session.plan.of("face34-random")[0]
    stores = {split: store.build(session.sources[split], network.stores[split], 1) for split in ("train", "valid")}
    model, _ = fit(network.specification, stores["train"], network.train_index, progress=print)
    valid = stores["valid"]
    scores = score(model, valid, range(len(valid)), network.specification.recipe, precision=precision)
    labels = valid.frames["label"].to_numpy(int)
    return {fpr: tpr_at_fpr(labels, scores, fpr) for fpr in FPRS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="tiny")
    parser.add_argument("--difficulties", type=float, nargs="+", default=[0.5])
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="changed values of the profile")
    parser.add_argument("--precision", default="fp32", help="of scoring: bf16 where fp32 takes too long")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    settings = dict(pair.split("=", 1) for pair in args.set)
    for difficulty in args.difficulties:
        start = time.perf_counter()
        rates = one_number(args.profile, difficulty, settings, args.precision)
        shown = "  ".join(f"TPR@{fpr:.0e} {100 * rate:.1f}%" for fpr, rate in rates.items())
        print(f"{args.profile}, difficulty {difficulty:g}: {shown}  ({time.perf_counter() - start:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
