"""The command ``fasnb``. Wrong input is answered by one sentence and exit status 2."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from fasnb import __version__, metrics, profiles
from fasnb import scores as score_tables

MEANING = (
    "A score is P(bona fide): high means a living face, low means an attack. A frame is accepted at score >= threshold."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    args = _parser().parse_args(arguments)
    try:
        args.command(args)
    except KeyboardInterrupt:
        print("fasnb: interrupted; what was finished is kept, run the same command to go on", file=sys.stderr)
        return 130
    except (ValueError, FileNotFoundError, RuntimeError, OSError) as error:
        print(f"fasnb: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fasnb", description="A reproducible study of multi-modal face anti-spoofing."
    )
    parser.add_argument("--version", action="version", version=f"fasnb {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="execute the notebooks of a profile and write its report")
    _profile_options(run)
    run.add_argument(
        "--only", nargs="+", default=[], metavar="NN", help="notebooks by the beginning of their name, as 03 06"
    )
    run.set_defaults(command=_run)

    evaluate = commands.add_parser("evaluate", help="TPR@FPR and other metrics of a scores file, with intervals")
    evaluate.add_argument("scores", type=Path, help="CSV or parquet with at least the columns label and score")
    evaluate.add_argument(
        "--fpr", type=float, action="append", help="target FPR, may be repeated; default 1e-2 1e-3 1e-4"
    )
    evaluate.add_argument("--replicates", type=int, default=1000, help="bootstrap replicates")
    evaluate.add_argument("--json", action="store_true", help="print JSON")
    evaluate.set_defaults(command=_evaluate)

    released = commands.add_parser("released", help="the paper's rows from the authors' released scores")
    released.add_argument("root", type=Path, metavar="ROOT", help="clone of the authors' repository")
    released.add_argument("--epoch", type=int, default=31)
    released.add_argument("--json", action="store_true", help="print JSON")
    released.set_defaults(command=_released)

    doctor = commands.add_parser("doctor", help="what is installed, found and missing, and how to get it")
    doctor.set_defaults(command=_doctor)
    return parser


def _profile_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--profile", default="tiny", help=f"{', '.join(profiles.names())}, or a .toml file; default tiny"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change one value, may be repeated"
    )
    parser.add_argument("--seeds", type=int, metavar="N", help="train every experiment with N seeds")
    parser.add_argument("--recipe", choices=("paper", "released"))
    parser.add_argument("--out", type=Path, help="results folder; default results/<profile>")


def settings_of(args: argparse.Namespace) -> dict:
    """Changed values of the command line, checked against the profile."""
    settings = {}
    for item in args.set:
        key, equals, value = item.partition("=")
        if not equals:
            raise profiles.ProfileError(f"--set {item}: write key=value")
        settings[key.strip()] = value.strip()
    if args.seeds is not None:
        settings |= {"seeds": args.seeds, "row_seeds": args.seeds}
    if args.recipe:
        settings["recipe"] = args.recipe
    profiles.load(args.profile, settings)
    return settings


def _run(args: argparse.Namespace) -> None:
    from fasnb.run import run  # imports torch and jupyter, which other commands need not wait for

    run(args.profile, settings_of(args), args.only, args.out)


def _points(report: metrics.Report) -> list[dict]:
    return [{"fpr": p.fpr, "tpr": p.tpr, "low": p.low, "high": p.high} for p in report.points]


def _evaluate(args: argparse.Namespace) -> None:
    table = score_tables.read_scores(args.scores)
    columns = {name: table[name] if name in table else None for name in ("attack", "subject")}
    try:
        report = metrics.evaluate(
            table["label"],
            table["score"],
            args.fpr or metrics.FPRS,
            columns["attack"],
            columns["subject"],
            args.replicates,
        )
    except ValueError as error:
        raise ValueError(f"{args.scores}: {error}") from None
    if args.json:
        facts = {"n_bona_fide": report.n_bona_fide, "n_attack": report.n_attack, "n_subjects": report.n_groups}
        rates = {"auc": report.auc, "eer": report.eer, "acer_at_eer": report.acer_at_eer}
        print(json.dumps(facts | {"tpr_at_fpr": _points(report)} | rates | {"notes": report.notes}, indent=2))
        return
    print(f"{args.scores}: {report.n_bona_fide:,} bona fide and {report.n_attack:,} attack frames. {MEANING}\n")
    print(report.table().to_string(index=False, float_format=lambda value: f"{value:.4g}"))
    print(
        f"\nAUC {100 * report.auc:.3f}%   EER {100 * report.eer:.3f}%   ACER at the EER threshold {100 * report.acer_at_eer:.3f}%"
    )
    for point in report.points:
        if point.apcer_by_attack:
            each = ", ".join(f"{attack}: {100 * rate:.2f}%" for attack, rate in point.apcer_by_attack.items())
            print(f"APCER by attack at FPR {metrics.fpr_name(point.fpr)}: {each}")
    unit = "frames" if report.n_groups is None else f"{report.n_groups} subjects"
    print(
        f"95% low, high: bootstrap of {unit}, {report.replicates:,} replicates; exact: Clopper-Pearson at a fixed threshold"
    )
    for note in report.notes:
        print(f"note: {note}")


def _released(args: argparse.Namespace) -> None:
    table = score_tables.read_released(args.root, args.epoch)
    rows = []
    for (experiment, seed), model in table.groupby(["experiment", "seed"]):
        folds = sorted(int(fold) for fold in model["fold"].unique())
        if len(folds) != 3:
            raise score_tables.IncompleteError(f"{experiment} seed {seed} has the folds {folds}, not 1, 2, 3")
        rows.append((score_tables.released_name(experiment, seed), 3, score_tables.average(model, over=["fold"])))
    rows.append(("ensemble", 3, score_tables.average(table, over=["fold", "seed", "experiment"])))
    reports = [(name, folds, metrics.evaluate(mean["label"], mean["score"])) for name, folds, mean in rows]
    if args.json:
        listed = [{"name": name, "folds": folds, "tpr_at_fpr": _points(report)} for name, folds, report in reports]
        print(json.dumps(listed, indent=2))
        return
    first = reports[0][2]
    print(
        f"TPR (%) at FPR on the CASIA-SURF validation set, {first.n_bona_fide:,} bona fide and {first.n_attack:,} attack"
    )
    print(
        "frames; released scores, mean of centre crop and mirror image, mean over three folds; 95% bootstrap of frames.\n"
    )
    shown = {}
    for name, _, report in reports:
        limits = [f"{100 * p.tpr:.2f} [{100 * p.low:.2f}, {100 * p.high:.2f}]" for p in report.points]
        shown[name] = dict(zip([metrics.fpr_name(p.fpr) for p in report.points], limits, strict=True))
    print(pd.DataFrame(shown).T.to_string())


def _doctor(_: argparse.Namespace) -> None:
    from fasnb.doctor import report

    print(report())
