"""The command ``fasnb``. Wrong input is answered by one sentence and exit status 2, the end of ``--minutes`` by 3."""

import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import click
import pandas as pd

from fasnb import __version__, metrics
from fasnb.metrics import Report, fpr_name
from fasnb.paper import profile as profiles
from fasnb.paper.experiments import EXPERIMENTS
from fasnb.tools.machine import OutOfTime, time_limit

MEANING = (
    "A score is P(bona fide): high means a living face, low means an attack. A frame is accepted at score >= threshold."
)
LIMITS = (
    "system low, system high, FPR up to: 95% limits of the TPR at this threshold, and of the FPR that it may really have",
    "low, high: 95% limits of the method's TPR@FPR, threshold set anew (bootstrap)",
)
RATES = ("apcer", "apcer_max", "bpcer", "hter", "acer")
FILE = click.Path(path_type=Path)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    status = 2
    try:
        return cli.main(arguments, prog_name="fasnb", standalone_mode=False) or 0
    except click.Abort:
        status, said = 130, "interrupted; what was finished is kept, run the same command to go on"
    except click.ClickException as error:
        said = error.format_message()
    except OutOfTime as error:
        status, said = 3, error
    except MemoryError as error:
        said = f"not enough memory ({str(error) or 'no more is free'}); take smaller values"
    except (ValueError, ArithmeticError, RuntimeError, OSError) as error:
        said = error
    print(f"fasnb: {_plain(' '.join(str(said).split()))}", file=sys.stderr)
    return status


def _plain(text: object) -> str:
    """Characters that cannot be seen, or that move others (controls, escape sequences, marks of direction), as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


@click.group()
@click.version_option(__version__)
def cli() -> None:
    """A reproducible study of multi-modal face anti-spoofing."""


def profile_options(command: Callable) -> Callable:
    """The options that choose a study; ``_study`` opens it."""
    known = f"{', '.join(profiles.names())}, or a .toml."
    for option in (
        click.option("--out", type=FILE, help="Results folder; default results/<profile>."),
        click.option("--recipe", type=click.Choice(list(profiles.RECIPES))),
        click.option("--seeds", type=int, metavar="N", help="Train every experiment with N seeds."),
        click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change one value; may be repeated."),
        click.option("--profile", default="tiny", show_default=True, help=known),
    ):
        command = option(command)
    return command


def settings_of(profile: str, changes=(), seeds: int | None = None, recipe: str | None = None, out: Path | None = None):
    """Profile, settings and results folder, checked; paths are made absolute, because notebooks run in the repository."""
    if os.environ.get("FASNB_RELEASED"):
        os.environ["FASNB_RELEASED"] = os.path.abspath(os.environ["FASNB_RELEASED"])
    settings = {}
    for item in changes:
        key, equals, value = (part.strip() for part in item.partition("="))
        if not equals:
            raise profiles.ProfileError(f"--set {item}: write key=value")
        settings[key] = os.path.abspath(value) if key.endswith("_root") and value else value
    if seeds is not None:
        settings |= {"seeds": seeds, "row_seeds": seeds}
    if recipe:
        settings["recipe"] = recipe
    name = os.path.abspath(profile) if profile.endswith(".toml") else profile
    profiles.load(name, settings)
    return name, settings, out and out.absolute()


def _study(**chosen):
    from fasnb.lab.session import Study

    return Study(*settings_of(**chosen))


@cli.command()
@profile_options
@click.option("--only", multiple=True, metavar="NN...", help="Notebooks by the beginning of their name, as 03 06.")
@click.option("--from-scores", is_flag=True, help="Take networks whose scores are published as they are.")
@click.option("--minutes", type=float, metavar="N", help="End before; exit status 3 if work is left. Repeat to go on.")
@click.argument("more", nargs=-1, metavar="")
def run(only, more, from_scores, minutes, **chosen) -> None:
    """Execute the notebooks of a profile, write its report."""
    if more and not only:
        raise click.UsageError(f"unexpected {more[0]!r}; notebooks are chosen with --only")
    from fasnb.command.study import run

    with time_limit(minutes):
        profile, settings, out = settings_of(**chosen)
        run(profile, settings, [*only, *more], out, from_scores)


@cli.command()
@click.argument("scores", type=FILE)
@click.option("--fpr", "fprs", type=float, multiple=True, help="Target FPR, may be repeated; default 1e-2 1e-3 1e-4.")
@click.option("--threshold", type=float, metavar="T", help="Also the errors at this threshold, set elsewhere.")
@click.option("--per-attack", is_flag=True, help="Ask the FPR of each attack type.")
@click.option("--replicates", type=int, default=1000, show_default=True, help="Of the bootstrap.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def evaluate(scores, fprs, threshold, per_attack, replicates, as_json) -> None:
    """TPR@FPR and other metrics of a scores file."""
    table = metrics.read_scores(scores)
    several = [
        name for name in ("experiment", "fold", "seed") if name in table and table[name].nunique(dropna=False) > 1
    ]
    if several or ("sample" in table and table["sample"].duplicated().any()):
        what = f"several values of {', '.join(several)}" if several else "samples more than once"
        raise ValueError(f"{scores} holds {what}; give one network's scores, or average them first")
    try:
        given = table["label"], table["score"], fprs or metrics.FPRS, table.get("attack"), table.get("subject")
        report = metrics.evaluate(*given, replicates, per_attack=per_attack)
        at = None if threshold is None else _errors_at(threshold, table)
    except ValueError as error:
        raise ValueError(f"{scores}: {error}") from None
    if as_json:
        print(json.dumps(report.as_dict() | {"at_threshold": at}, indent=2, allow_nan=False))
    else:
        print(f"{_plain(scores)}: {report.n_bona_fide:,} bona fide and {report.n_attack:,} attack frames. {MEANING}\n")
        _print(report, at)


def _errors_at(threshold: float, table: pd.DataFrame) -> dict:
    """Error rates at a threshold that was set on other frames; ACER takes the worst attack where attacks are known."""
    given = table["label"], table["score"], threshold
    known = "attack" in table and table.loc[table["label"] == 0, "attack"].notna().all()
    by_attack = metrics.apcer_by_attack(*given, table["attack"]) if known else None
    rates = {"apcer": metrics.apcer(*given), "apcer_max": max(by_attack.values()) if known else None}
    rates |= {"bpcer": metrics.bpcer(*given), "hter": metrics.hter(*given)}
    rates |= {"acer": metrics.acer(*given, table["attack"] if known else None), "apcer_by_attack": by_attack}
    return {"threshold": threshold} | rates


def _table(report: Report) -> str:
    shown = report.table()
    shown["threshold"] = shown["threshold"].map(repr)  # every digit: the next number may accept other frames
    for name in shown.columns[shown.columns.str.startswith("FPR")]:
        shown[name] = shown[name].map(lambda fpr: fpr if isinstance(fpr, str) else fpr_name(fpr, 2))
    return shown.to_string(index=False, na_rep="-", float_format=lambda value: f"{value:.2f}")


def _print(report: Report, at: dict | None) -> None:
    """The table, the other rates in percent, and what a reader of the limits must know."""
    print(f"{_table(report)}\n")
    rates = {name: getattr(report, name) for name in ("auc", "eer", "acer_at_eer", "apcer_max_at_eer")}
    for point in report.points:
        at_fpr = f"at FPR {fpr_name(point.fpr)}"
        rates |= {f"APCER of attack {kind} {at_fpr}": rate for kind, rate in (point.apcer_by_attack or {}).items()}
    if at is not None:
        rates |= {f"{name} at threshold {at['threshold']!r}": at[name] for name in RATES}
    for name, rate in rates.items():
        if rate is not None:
            print(f"{_plain(name)}: {100 * rate:.3f}%")
    for note in (*LIMITS, *report.notes):
        print(f"note: {note}")


@cli.command()
@click.argument("root", type=FILE)
@click.option("--epoch", type=int, default=31, show_default=True, help="Snapshot: 31, of the paper's rows, or 50.")
@click.option(
    "--crop", type=click.Choice(["mean", "crop0"]), default="mean", help="Mean with the mirror image, or not."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def released(root, epoch, crop, as_json) -> None:
    """The paper's rows from a clone of the authors' scores."""
    from fasnb.data.released import RELEASED_EXPERIMENTS, RELEASED_NETWORKS, read_released, released_name

    table, reports = read_released(root, epoch, crop), {}
    for (experiment, seed), model in table.groupby(["experiment", "seed"]):
        expected = [(experiment, fold, seed) for fold in (1, 2, 3)]
        mean = metrics.average(model, over=["fold"], expected=expected)
        reports[released_name(experiment, seed)] = metrics.evaluate(mean["label"], mean["score"])
    members = table[table["experiment"].isin(RELEASED_EXPERIMENTS.values())]
    mean = metrics.average(members, over=["fold", "seed", "experiment"], expected=RELEASED_NETWORKS)
    reports["ensemble"] = metrics.evaluate(mean["label"], mean["score"])
    if as_json:
        rows = [{"name": n, "folds": 3, "tpr_at_fpr": r.as_dict()["tpr_at_fpr"]} for n, r in reports.items()]
        print(json.dumps(rows, indent=2))
        return
    print(f"The authors' scores of the CASIA-SURF validation set, epoch {epoch}, {crop}, mean over three folds")
    for name, report in reports.items():
        print(f"\n{name}\n{_table(report)}")
    for note in (*LIMITS, *reports["ensemble"].notes):
        print(f"note: {note}")


@cli.command()
@click.option("--checkpoint", type=FILE, required=True, help="network.pt of a run, or a checkpoint of the authors.")
@click.option("--frames", type=FILE, required=True, help="List of frames, in any format that a list may have.")
@click.option("--root", type=FILE, default=Path(), help="Folder that the list's paths are relative to.")
@click.option("--out", type=FILE, default=Path("scores.csv"), help="Scores table, CSV or parquet.")
@click.option("--submission", type=FILE, help="Also write the challenge's submission file.")
@click.option(
    "--calibrate", type=float, metavar="T", help="Press submitted scores below T to [0, 0.5), as the authors."
)
@click.option("--onnx", type=FILE, help="Also export the network; needs pip install 'fasnb[onnx]'.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto")
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), default="fp32", help="bf16 is faster and less exact.")
def score(checkpoint, frames, root, out, submission, calibrate, onnx, device, precision) -> None:
    """Score frames with one trained network."""
    from fasnb.command.score import export_onnx, open_checkpoint, score_frames
    from fasnb.data import read_list, write_submission

    opened = open_checkpoint(checkpoint)
    if onnx:
        print(f"network: {export_onnx(opened.network, opened.recipe, onnx)}")
    listed = read_list(frames, root)
    table = score_frames(opened, listed, root, device, precision)
    metrics.write_scores(table, out)
    print(f"{len(table):,} frames scored: {out}. {MEANING}")
    if submission:
        print(f"submission: {write_submission(listed, table, submission, calibrate)}")


@cli.command()
@profile_options
@click.option("--time", "timed", is_flag=True, help="Also how long the rest takes here, from a few steps of a network.")
def plan(timed, **chosen) -> None:
    """Every network of a profile, and what is done."""
    from fasnb.training.archive import load_facts, state_of
    from fasnb.training.run import estimate

    study = _study(**chosen)
    networks = study.plan.networks
    if not networks:
        print("this source has scores only: nothing is trained")
        return
    state = {n.folder.name: state_of(n) for n in networks}
    held = {n.folder.name for n in networks if study.published.holds(n)}
    table, facts = study.plan.table(), load_facts(networks, study.published)
    shown = [("published" if state[run] == "missing" and run in held else state[run]) for run in table["run"]]
    table.insert(0, "state", shown)
    if len(facts):
        table = table.merge(facts[["run", "seconds", "device"]], on="run", how="left")
    print(table.to_string(index=False, na_rep="-", float_format=lambda value: f"{value:.4g}"))
    for experiment, reason in study.plan.left_out.items():
        print(f"left out: {experiment}; {reason}")
    rest = [network for network in networks if state[network.folder.name] != "done"]
    if timed and rest:
        minutes = estimate(rest, study.profile.workers, study.profile.device) / 60
        print(f"about {minutes:.1f} minutes for {len(rest)} networks")
    if "damaged" in shown:
        raise ValueError(f"{shown.count('damaged')} networks are damaged; fasnb doctor --profile says what to remove")


@cli.command()
@profile_options
@click.argument("experiment", default="A")
def networks(experiment, **chosen) -> None:
    """Parts, shapes and cost of an experiment's network."""
    from fasnb.model.parts import describe
    from fasnb.training.plan import architecture_of, crop_of

    if experiment not in EXPERIMENTS:
        raise ValueError(f"no experiment {experiment!r}; there are {', '.join(EXPERIMENTS)}")
    profile = profiles.load(*settings_of(**chosen)[:2])
    if profile.source == "released":
        raise ValueError("the released source has scores only: there is no network to describe")
    architecture = architecture_of(profile, EXPERIMENTS[experiment])
    print(f"{EXPERIMENTS[experiment].title}, of profile {profile.name}: {architecture}\n")
    print(describe(architecture, crop_of(profile)).to_string(index=False))


@cli.command()
@click.argument("folder", type=FILE, metavar="RESULTS")
def compare(folder) -> None:
    """Hold results against the published ones."""
    from fasnb.command.results import compare

    table = compare(folder)
    print(table.to_string(index=False, na_rep="-", float_format=lambda value: f"{value:.2f}"))
    said = ", ".join(f"{(table['verdict'] == verdict).sum():,} {verdict}" for verdict in ("equal", "within", "outside"))
    print(f"\n{len(table):,} numbers: {said} the spread of seeds and machines")


@cli.command()
@click.option("--profile", required=True)
@click.option("--out", type=FILE, help="Results folder of the study; default results/<profile>.")
def publish(profile, out) -> None:
    """Copy what the repository shows to results/published."""
    from fasnb.command.results import publish

    print(f"published: {publish(_study(profile=profile, out=out))}")


@cli.command()
@profile_options
def paper(**chosen) -> None:
    """Tables and figures of a study as LaTeX and PDF."""
    from fasnb.command.results import write_paper

    folder, page = write_paper(_study(**chosen).out)
    print(f"tables and figures: {folder}")
    print(f"one page: {page}" if page else "there is no pdflatex on this machine, so page.tex was not compiled")


@cli.command()
@click.option("--profile", help="Read every byte of this profile's study and name what is damaged.")
@click.option("--out", type=FILE, help="Its results folder; default results/<profile>.")
def doctor(profile, out) -> None:
    """What is missing here; of a study, what is damaged."""
    from fasnb.command import doctor

    if profile is None:
        print("\n".join(doctor.inventory()))
        return
    found = list(doctor.damages(_study(profile=profile, out=out)))
    print("\n".join(map(_plain, found)) or "all that is there is as it was written")
    if found:
        raise ValueError(f"{len(found):,} damaged or missing; nothing was changed")


@cli.group()
def data() -> None:
    """Make or check data on disk."""


@data.command()
@profile_options
def make(**chosen) -> None:
    """Write a profile's synthetic frames as CASIA-SURF."""
    from fasnb.data import casia_surf

    study = _study(**chosen)
    if chosen["out"] is None or study.profile.source != "synthetic":
        raise ValueError("data make writes a synthetic profile's frames: give --out DIR and a profile such as tiny")
    for split, source in study.sources.items():
        casia_surf.write(source, study.out)
        print(f"{split}: {len(source.frames):,} frames in {study.out}")


@data.command()
@click.option("--root", type=FILE, required=True)
def check(root) -> None:
    """Decode every file of CASIA-SURF; report all that is wrong."""
    from fasnb.data import casia_surf

    layout = casia_surf.find(root)
    for sentence in layout.missing.values():
        print(f"note: {sentence}")
    report = casia_surf.check(layout.frames(list(layout.lists)), root)
    print(report)
    if not report.ok:
        raise ValueError(f"{len(report.problems):,} problems in {root}; nothing was changed")
