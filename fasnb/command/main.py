"""The command ``fasnb``. Wrong input is answered by one sentence and exit status 2, the end of ``--minutes`` by 3."""

import argparse
import json
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from fasnb import __version__, metrics
from fasnb.metrics.scores import NETWORK, average, read_scores, write_scores
from fasnb.metrics.uncertainty import bound_name
from fasnb.paper import profile as profiles
from fasnb.tools.places import spare_home
from fasnb.tools.text import plain
from fasnb.tools.workers import OutOfTime, time_limit

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
    except BrokenPipeError:
        return 0  # the reader of a pipe, such as head, has had enough
    except OutOfTime as error:
        print(f"fasnb: {error}", file=sys.stderr)
        return 3
    except MemoryError as error:
        print(f"fasnb: not enough memory ({plain(error) or 'no more is free'}); take smaller values", file=sys.stderr)
        return 2
    except (ValueError, ArithmeticError, RuntimeError, OSError) as error:
        print(f"fasnb: {plain(' '.join(str(error).split()))}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fasnb", description="A reproducible study of multi-modal face anti-spoofing."
    )
    parser.add_argument("--version", action="version", version=f"fasnb {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for add in (
        _add_run,
        _add_evaluate,
        _add_released,
        _add_score,
        _add_runs,
        _add_check,
        _add_plan,
        _add_compare,
        _add_publish,
        _add_paper,
        _add_networks,
        _add_data,
        _add_pretrain,
        _add_doctor,
    ):
        add(commands)
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
    """Changed values of the command line, checked against the profile; paths are made absolute.

    Notebooks run in the repository, whatever the folder in which the command is given.
    """
    if args.profile.endswith(".toml"):
        args.profile = os.path.abspath(args.profile)
    if args.out is not None:
        args.out = args.out.absolute()
    if os.environ.get("FASNB_RELEASED"):
        os.environ["FASNB_RELEASED"] = os.path.abspath(os.environ["FASNB_RELEASED"])
    settings = {}
    for item in args.set:
        key, equals, value = item.partition("=")
        if not equals:
            raise profiles.ProfileError(f"--set {item}: write key=value")
        key, value = key.strip(), value.strip()
        settings[key] = os.path.abspath(value) if key.endswith("_root") and value else value
    if args.seeds is not None:
        settings |= {"seeds": args.seeds, "row_seeds": args.seeds}
    if args.recipe:
        settings["recipe"] = args.recipe
    profiles.load(args.profile, settings)
    return settings


def _add_run(commands) -> None:
    run = commands.add_parser("run", help="execute the notebooks of a profile and write its report")
    _profile_options(run)
    run.add_argument(
        "--only", nargs="+", default=[], metavar="NN", help="notebooks by the beginning of their name, as 03 06"
    )
    run.add_argument("--from-scores", action="store_true", help="take networks whose scores are published as they are")
    run.add_argument(
        "--minutes",
        type=float,
        metavar="N",
        help="end before N minutes are over, with exit status 3 if work is left; the same command goes on",
    )
    run.set_defaults(command=_run)


def _run(args: argparse.Namespace) -> None:
    spare_home()
    from fasnb.command.study import run

    with time_limit(args.minutes):
        run(args.profile, settings_of(args), args.only, args.out, args.from_scores)


def _points(report: metrics.Report) -> list[dict]:
    """Plain values of each operating point; a threshold that accepts every frame is None."""
    points = [asdict(point) for point in report.points]
    return [point | {"threshold": _finite(point["threshold"])} for point in points]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _errors_at(threshold: float, table: pd.DataFrame) -> dict:
    """Error rates at a threshold that was set on other frames; ACER takes the worst attack where attacks are known."""
    given = table["label"], table["score"], threshold
    known = "attack" in table and table.loc[table["label"] == 0, "attack"].notna().all()
    by_attack = metrics.apcer_by_attack(*given, table["attack"]) if known else None
    rates = {"apcer": metrics.apcer(*given), "apcer_max": max(by_attack.values()) if known else None}
    rates |= {"bpcer": metrics.bpcer(*given), "hter": metrics.hter(*given)}
    rates |= {"acer": metrics.acer(*given, table["attack"] if known else None), "apcer_by_attack": by_attack}
    return {"threshold": threshold} | rates


def _add_evaluate(commands) -> None:
    evaluate = commands.add_parser("evaluate", help="TPR@FPR and other metrics of a scores file, with intervals")
    evaluate.add_argument("scores", type=Path, help="CSV or parquet with at least the columns label and score")
    evaluate.add_argument(
        "--fpr", type=float, action="append", help="target FPR, may be repeated; default 1e-2 1e-3 1e-4"
    )
    evaluate.add_argument(
        "--threshold", type=float, metavar="T", help="also APCER, BPCER, ACER and HTER at this threshold, set elsewhere"
    )
    evaluate.add_argument(
        "--per-attack",
        action="store_true",
        help="ask the FPR of each attack type: the worst type's APCER is at most it",
    )
    evaluate.add_argument("--replicates", type=int, default=1000, help="bootstrap replicates")
    evaluate.add_argument("--json", action="store_true", help="print JSON")
    evaluate.set_defaults(command=_evaluate)


def _evaluate(args: argparse.Namespace) -> None:
    table = read_scores(args.scores)
    kinds = [name for name in NETWORK if name in table and table[name].nunique(dropna=False) > 1]
    if kinds or ("sample" in table and table["sample"].duplicated().any()):
        what = f"several values of {', '.join(kinds)}" if kinds else "samples more than once"
        raise ValueError(f"{args.scores} holds {what}; give one network's scores, or average first (fasnb.average)")
    columns = {name: table[name] if name in table else None for name in ("attack", "subject")}
    try:
        report = metrics.evaluate(
            table["label"],
            table["score"],
            args.fpr or metrics.FPRS,
            columns["attack"],
            columns["subject"],
            args.replicates,
            per_attack=args.per_attack,
        )
        at = None if args.threshold is None else _errors_at(args.threshold, table)
    except ValueError as error:
        raise ValueError(f"{args.scores}: {error}") from None
    if args.json:
        facts = {"n_bona_fide": report.n_bona_fide, "n_attack": report.n_attack, "n_subjects": report.n_groups}
        rates = {"auc": report.auc, "eer": report.eer, "acer_at_eer": report.acer_at_eer}
        rates |= {"apcer_max_at_eer": report.apcer_max_at_eer}
        found = facts | {"tpr_at_fpr": _points(report)} | rates | {"at_threshold": at, "notes": report.notes}
        print(json.dumps(found, indent=2, allow_nan=False))
        return
    print(f"{plain(args.scores)}: {report.n_bona_fide:,} bona fide and {report.n_attack:,} attack frames. {MEANING}\n")
    _print(report, args.per_attack)
    if at is not None:
        rates = f"APCER {100 * at['apcer']:.3f}%, BPCER {100 * at['bpcer']:.3f}%, HTER {100 * at['hter']:.3f}%"
        acer = f"ACER {100 * at['acer']:.3f}%{_worst(at['apcer_max'])}"
        print(f"at the given threshold {at['threshold']!r}: {rates}, {acer}")
    for note in report.notes:
        print(f"note: {note}")


def _print(report: metrics.Report, per_attack: bool) -> None:
    shown = report.table()
    shown["threshold"] = shown["threshold"].map(repr)  # every digit: the next number may accept other frames
    shown["attacks needed"] = shown["attacks needed"].map(lambda count: "-" if pd.isna(count) else f"{count:,}")
    print(shown.to_string(index=False, na_rep="-", float_format=lambda value: f"{value:.4g}"))
    if per_attack:
        print("the FPR is asked of each attack type")
    acer = f"ACER at the EER threshold {100 * report.acer_at_eer:.3f}%{_worst(report.apcer_max_at_eer)}"
    print(f"\nAUC {100 * report.auc:.3f}%   EER {100 * report.eer:.3f}%   {acer}")
    for point in report.points:
        if point.apcer_by_attack:
            each = ", ".join(f"{plain(attack)}: {100 * rate:.2f}%" for attack, rate in point.apcer_by_attack.items())
            print(f"APCER by attack at FPR {metrics.fpr_name(point.fpr)}: {each}")
    subjects = None if report.n_groups is None else f"{report.n_groups:,} subjects"
    unit = "independent frames" if subjects is None else f"the effective number of frames of {subjects}"
    print(
        f"system: this threshold; 95% limits of its TPR, and the FPR that it may really have, Clopper-Pearson on {unit}\n"
        f"method: TPR@FPR; 95% limits, threshold set anew, bootstrap of {subjects or 'frames'}, "
        f"{report.replicates:,} replicates"
    )


def _worst(apcer: float | None) -> str:
    return "" if apcer is None else f" (worst attack type's APCER {100 * apcer:.3f}%)"


def _add_released(commands) -> None:
    released = commands.add_parser("released", help="the paper's rows from the authors' released scores")
    released.add_argument("root", type=Path, metavar="ROOT", help="clone of the authors' repository")
    released.add_argument("--epoch", type=int, default=31, help="snapshot: 31, of the paper's rows, or 50")
    released.add_argument(
        "--crop", default="mean", choices=("mean", "crop0"), help="mean with the mirror image, or centre crop alone"
    )
    released.add_argument(
        "--readme", type=Path, metavar="FILE", help="write all snapshots and crops into this file's block, and stop"
    )
    released.add_argument("--json", action="store_true", help="print JSON")
    released.set_defaults(command=_released)


def _released(args: argparse.Namespace) -> None:
    from fasnb.data.released import RELEASED_EXPERIMENTS, RELEASED_NETWORKS, read_released, released_name
    from fasnb.metrics.snapshots import CROPS

    if args.readme:
        from fasnb.command.readme import released_block, write_block

        write_block(args.readme, released_block(args.root))
        print(f"block written: {args.readme}")
        return
    table = read_released(args.root, args.epoch, args.crop)
    rows = []
    for (experiment, seed), model in table.groupby(["experiment", "seed"]):
        expected = [(experiment, fold, seed) for fold in (1, 2, 3)]
        mean = average(model, over=["fold"], expected=expected)
        rows.append((released_name(experiment, seed), 3, mean))
    members = table[table["experiment"].isin(RELEASED_EXPERIMENTS.values())]
    everything = average(members, over=["fold", "seed", "experiment"], expected=RELEASED_NETWORKS)
    rows.append(("ensemble", 3, everything))
    reports = [(name, folds, metrics.evaluate(mean["label"], mean["score"])) for name, folds, mean in rows]
    if args.json:
        listed = [{"name": name, "folds": folds, "tpr_at_fpr": _points(report)} for name, folds, report in reports]
        print(json.dumps(listed, indent=2))
        return
    first = reports[0][2]
    print(
        f"TPR (%) at FPR on the CASIA-SURF validation set, {first.n_bona_fide:,} bona fide and {first.n_attack:,} attack\n"
        f"frames; released scores, epoch {args.epoch}, {CROPS[args.crop]}, mean over three folds.\n"
        "\nsystem: in brackets 95% limits of the TPR at the threshold found\n"
        f"{_limits(reports, 'tpr_low', 'tpr_high')}\n"
        "\nmethod: in brackets 95% limits of TPR@FPR, threshold set anew, bootstrap of frames\n"
        f"{_limits(reports, 'method_low', 'method_high')}"
    )
    highest = [max(points, key=lambda p: p.fpr_high) for points in zip(*(r.points for *_, r in reports), strict=True)]
    bounds = [f"{metrics.fpr_name(p.fpr)}: {_bounds(p)}" for p in highest]
    print(f"\nthe FPR that a threshold may really have, at a target of {'; '.join(bounds)}")
    for note in first.notes:
        print(f"note: {note}")


def _limits(reports: list[tuple[str, int, metrics.Report]], low: str, high: str) -> str:
    """TPR and the named limits in percent, one row a report, one column an FPR."""

    def text(rate: float | None) -> str:
        return "-" if rate is None else f"{100 * rate:.2f}"

    shown = {
        name: {
            metrics.fpr_name(p.fpr): f"{text(p.tpr)} [{text(getattr(p, low))}, {text(getattr(p, high))}]"
            for p in report.points
        }
        for name, _, report in reports
    }
    return pd.DataFrame(shown).T.to_string()


def _bounds(point) -> str:
    clips = "" if point.fpr_high_clips is None else f" ({bound_name(point.fpr_high_clips)} with clips as units)"
    return f"up to {bound_name(point.fpr_high)}{clips}"


def _add_score(commands) -> None:
    score = commands.add_parser("score", help="score frames with one trained network")
    score.add_argument("--checkpoint", type=Path, required=True, help="checkpoint.pt of a run, or one of the authors'")
    score.add_argument("--frames", type=Path, required=True, help="list of frames, in any format that a list may have")
    score.add_argument("--root", type=Path, default=Path(), help="folder that the list's paths are relative to")
    score.add_argument("--out", type=Path, default=Path("scores.csv"), help="scores table, CSV or parquet")
    score.add_argument("--submission", type=Path, help="also write the challenge's submission file")
    score.add_argument(
        "--calibrate", type=float, metavar="T", help="press submitted scores below T to [0, 0.5), as the authors"
    )
    score.add_argument("--onnx", type=Path, help="also export the network; needs pip install 'fasnb[onnx]'")
    score.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    score.add_argument(
        "--precision",
        default="fp32",
        choices=("fp32", "bf16", "mixed"),
        help="bf16 is faster and less exact; mixed is bf16, and fp32 for frames that bf16 may move by more than 0.002",
    )
    score.add_argument("--compile", action="store_true", help="compile the network; pays from some thousand frames")
    score.set_defaults(command=_score)


def _score(args: argparse.Namespace) -> None:
    from fasnb.command.serve import export_onnx, open_checkpoint, score_frames
    from fasnb.data.frames import read_list
    from fasnb.data.submission import write_submission

    checkpoint = open_checkpoint(args.checkpoint)
    if args.onnx:
        export_onnx(checkpoint.network, checkpoint.recipe, args.onnx)
        print(f"network: {args.onnx}")
    frames = read_list(args.frames, args.root)
    table, again = score_frames(checkpoint, frames, args.root, args.device, args.precision, args.compile)
    write_scores(table, args.out)
    kept = f", {again:,} of them again in fp32" if args.precision == "mixed" else ""
    print(f"{len(table):,} frames scored{kept}: {args.out}. {MEANING}")
    if args.submission:
        print(f"submission: {write_submission(frames, table, args.submission, args.calibrate)}")


def _add_runs(commands) -> None:
    runs = commands.add_parser("runs", help="the networks of a profile: state, metric, duration, device")
    _profile_options(runs)
    runs.set_defaults(command=_runs)


def _runs(args: argparse.Namespace) -> None:
    from fasnb.lab.session import Session
    from fasnb.training.archive import load_facts
    from fasnb.training.runs import state_of

    session = Session(args.profile, settings_of(args), args.out)
    if not session.plan.networks:
        print(f"no networks are trained on the {session.profile.source} source")
        return
    rows = pd.DataFrame([n.specification.as_dict() | {"run": n.folder.name} for n in session.plan.networks])
    rows["state"] = [
        "published" if state == "missing" and session.published.holds(network) else state
        for network, state in zip(session.plan.networks, map(state_of, session.plan.networks), strict=True)
    ]
    whole = [n for n, state in zip(session.plan.networks, rows["state"], strict=True) if state in ("done", "published")]
    columns = ["state", "experiment", "fold", "seed"]
    if whole:
        facts = load_facts(whole, session.published)
        rates = [name for name in facts if name.startswith("valid TPR@")]
        rows = rows.merge(facts[["run", *rates, "seconds", "device"]], on="run", how="left")
        columns += [*rates, "seconds", "device"]
    print(rows[[*columns, "run"]].to_string(index=False, na_rep="-", float_format=lambda value: f"{value:.4g}"))
    damaged = int((rows["state"] == "damaged").sum())
    if damaged:
        raise ValueError(f"{damaged} of {len(rows)} networks are damaged; fasnb check says what, and what to remove")


def _add_check(commands) -> None:
    check = commands.add_parser("check", help="read every byte of a profile's study, and name what is damaged")
    _profile_options(check)
    check.set_defaults(command=_check)


def _check(args: argparse.Namespace) -> None:
    from fasnb.command.check import damages
    from fasnb.lab.session import Session

    found = damages(Session(args.profile, settings_of(args), args.out))
    for sentence in found:
        print(plain(sentence))
    if found:
        raise ValueError(f"{len(found):,} damaged or missing; nothing was changed")
    print("all that is there is as it was written")


def _add_plan(commands) -> None:
    planned = commands.add_parser("plan", help="every network of a profile, resolved: what is trained on what")
    _profile_options(planned)
    planned.add_argument(
        "--time", action="store_true", help="also how long it takes here, from a few steps of a network"
    )
    planned.set_defaults(command=_plan)


def _plan(args: argparse.Namespace) -> None:
    from fasnb.lab.session import Session

    session = Session(args.profile, settings_of(args), args.out)
    plan = session.plan
    print(plan.table().to_string(index=False) if plan.networks else "this source has scores only: nothing is trained")
    for experiment, reason in plan.left_out.items():
        print(f"left out: {experiment}; {reason}")
    if args.time and plan.networks:
        from fasnb.training.cost import told_of

        print(told_of(plan, session.profile.device, session.profile.workers))


def _add_compare(commands) -> None:
    compare = commands.add_parser("compare", help="hold your results against the published ones, number by number")
    compare.add_argument("folder", type=Path, metavar="RESULTS", help="such as results/tiny")
    compare.set_defaults(command=_compare)


def _compare(args: argparse.Namespace) -> None:
    from fasnb.command.results import compare, verdicts

    table = compare(args.folder)
    print(table.to_string(index=False, na_rep="-", float_format=lambda value: f"{value:.2f}"))
    print(f"\n{verdicts(table)}")


def _add_publish(commands) -> None:
    publish = commands.add_parser("publish", help="copy what the repository shows to results/published")
    publish.add_argument("--profile", required=True)
    publish.add_argument("--out", type=Path, help="results folder of the study; default results/<profile>")
    publish.add_argument(
        "--tables-only",
        action="store_true",
        help="the report without its explorer, and the tables of its last chapter and worlds",
    )
    publish.set_defaults(command=_publish)


def _publish(args: argparse.Namespace) -> None:
    from fasnb.command.results import publish

    print(f"published: {publish(args.profile, args.out and args.out.absolute(), args.tables_only)}")


def _add_paper(commands) -> None:
    paper = commands.add_parser(
        "paper", help="Tables 1 to 5 and Figures 1 to 4 of a study as LaTeX, and one page of them"
    )
    paper.add_argument("--profile", default="tiny", help="default tiny")
    paper.add_argument("--out", type=Path, help="results folder of the study; default results/<profile>")
    paper.set_defaults(command=_paper)


def _paper(args: argparse.Namespace) -> None:
    from fasnb.command.manuscript import compile_page, write_manuscript
    from fasnb.lab.session import Session

    session = Session(args.profile, out=args.out and args.out.absolute())
    if not (session.out / "tables").is_dir():
        raise FileNotFoundError(f"{session.out} has no tables; run the study first: fasnb run --profile {args.profile}")
    folder = write_manuscript(session)
    page = compile_page(folder)
    print(f"tables and figures: {folder}")
    print(f"one page: {page}" if page else "there is no pdflatex on this machine, so page.tex was not compiled")


def _add_networks(commands) -> None:
    networks = commands.add_parser(
        "networks", help="parts, shapes, parameters and multiply-adds of an experiment's network"
    )
    _profile_options(networks)
    networks.add_argument("experiment", nargs="?", default="A")
    networks.set_defaults(command=_networks)


def _networks(args: argparse.Namespace) -> None:
    from fasnb.model.parts import describe
    from fasnb.paper.experiments import EXPERIMENTS
    from fasnb.training.plan import architecture_of, crop_of

    if args.experiment not in EXPERIMENTS:
        raise ValueError(f"no experiment {args.experiment!r}; there are {', '.join(EXPERIMENTS)}")
    profile = profiles.load(args.profile, settings_of(args))
    if profile.source == "released":
        raise ValueError("the released source has scores only: there is no network to describe")
    architecture = architecture_of(profile, EXPERIMENTS[args.experiment])
    print(f"{EXPERIMENTS[args.experiment].title}, of profile {args.profile}: {architecture}\n")
    print(describe(architecture, crop_of(profile)).to_string(index=False))


def _add_data(commands) -> None:
    data = commands.add_parser("data", help="make or check data on disk").add_subparsers(
        required=True, metavar="ACTION"
    )
    make = data.add_parser("make", help="write a profile's synthetic frames in the layout of CASIA-SURF")
    _profile_options(make)
    make.set_defaults(command=_data_make)
    check = data.add_parser("check", help="decode every file of CASIA-SURF and report all that is wrong")
    check.add_argument("--root", type=Path, required=True)
    check.set_defaults(command=_data_check)


def _data_make(args: argparse.Namespace) -> None:
    from fasnb.data.casia_write import write
    from fasnb.training.plan import sources_of

    profile = profiles.load(args.profile, settings_of(args))
    if args.out is None or profile.source != "synthetic":
        raise ValueError(
            "data make writes a synthetic profile's frames: give --out DIR and a profile such as tiny or gpu"
        )
    for split, source in sources_of(profile).items():
        write(source, args.out)
        print(f"{split}: {len(source.frames):,} frames in {args.out}")


def _data_check(args: argparse.Namespace) -> None:
    from fasnb.data.casia_check import check
    from fasnb.data.casia_surf import find

    layout = find(args.root)
    for sentence in layout.missing.values():
        print(f"note: {sentence}")
    report = check(layout.frames(list(layout.lists)), args.root)
    print(report)
    if not report.ok:
        raise ValueError(f"{len(report.problems):,} problems in {args.root}; nothing was changed")


def _add_pretrain(commands) -> None:
    pretrain = commands.add_parser("pretrain", help="pre-train a backbone on folders of real images")
    pretrain.add_argument("--task", choices=("identity", "gender"), required=True)
    pretrain.add_argument(
        "--images", type=Path, required=True, help="identity/*.jpg (CASIA-WebFace) or age/gender/*.jpg (AFAD)"
    )
    pretrain.add_argument("--backbone", default="face_resnet34", help="default face_resnet34")
    pretrain.add_argument(
        "--head", default="softmax", choices=("softmax", "arcface"), help="default softmax; arcface is for identities"
    )
    pretrain.add_argument("--epochs", type=int, default=30, help="default 30, as for gender in Section 5.1")
    pretrain.add_argument("--batch-size", type=int, default=128)
    pretrain.add_argument("--learning-rate", type=float, default=1e-3)
    pretrain.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    pretrain.add_argument(
        "--out", type=Path, required=True, help="backbone file to write, see data/README.md for names"
    )
    pretrain.set_defaults(command=_pretrain)


def _pretrain(args: argparse.Namespace) -> None:
    from fasnb.data.image_folder import gender_folder, identity_folder
    from fasnb.model.backbones import Stages
    from fasnb.tools.workers import choose_device
    from fasnb.training.pretraining import Pretraining, pretrain

    source = (gender_folder if args.task == "gender" else identity_folder)(args.images)
    specification = Pretraining(
        Stages(args.backbone),
        task=args.task,
        head=args.head,
        epochs=args.epochs,
        batch_size=args.batch_size,
        learning_rate=args.learning_rate,
        precision="bf16",
    )
    print(f"{len(source):,} images of {source.classes:,} classes")
    source.check()
    state = args.out.with_name(f"{args.out.name}.partial")  # from which the same command goes on
    made = pretrain(specification, source, choose_device(args.device), progress=print, state=state)
    made.save(args.out)
    state.unlink()
    print(f"backbone: {args.out}")


def _add_doctor(commands) -> None:
    doctor = commands.add_parser("doctor", help="what is installed, found and missing, and how to get it")
    doctor.set_defaults(command=_doctor)


def _doctor(_: argparse.Namespace) -> None:
    from fasnb.command.doctor import report

    print(report())
