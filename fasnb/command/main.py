"""The command ``fasnb``. Wrong input is answered by one sentence and exit status 2, the end of ``--minutes`` by 3."""

import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import click
import pandas as pd

from fasnb import __version__, metrics
from fasnb.data import read_list, write_submission
from fasnb.data.pictures import scales_of
from fasnb.data.scores import NETWORK
from fasnb.paper import profile as profiles
from fasnb.paper.experiments import EXPERIMENTS, STUDENTS
from fasnb.tools.machine import OutOfTime, time_limit

NOTES = (
    "a score is P(bona fide): high means a living face; a frame is accepted at score >= threshold",
    "system low, system high, FPR up to: 95% limits of the TPR at this threshold, and of the FPR that it may really have",
    "low, high: 95% limits of the method's TPR@FPR, threshold set anew (bootstrap)",
)
FILE = click.Path(path_type=Path)
LIVE = click.option("--bona-fide-label", type=click.IntRange(0, 1), help="The number that means bona fide: 1 or 0.")


def own_frames(command: Callable) -> Callable:
    """What to know of lists and files of one's own: which number is bona fide, what of 16 bits is black and white."""
    command = click.option("--depth-mm", metavar="NEAR:FAR", help="Of 16-bit depth, in mm, such as 300:1000.")(command)
    return LIVE(click.option("--ir-range", metavar="LOW:HIGH", help="Of 16-bit infrared, such as 0:1023.")(command))


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    status = 2
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # whatever the terminal's encoding lacks
    try:
        return cli.main(arguments, prog_name="fasnb", standalone_mode=False) or 0
    except click.Abort:
        status, said = 130, "interrupted; what was finished is kept, run the same command to go on"
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message())
        return status
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


def _say(understood: str) -> None:
    print(f"read {_plain(understood)}", file=sys.stderr)  # apart from what is found


def _text(table: pd.DataFrame) -> str:
    return table.to_string(index=False, na_rep="-", float_format=lambda value: f"{value:.2f}")


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
    places = {name: os.environ[name] for name in ("FASNB_RELEASED", "FASNB_THIRD_TEAM") if os.environ.get(name)}
    os.environ.update({name: os.path.abspath(path) for name, path in places.items()})
    settings = {}
    for item in changes:
        key, equals, value = (part.strip() for part in item.partition("="))
        if not equals:
            raise profiles.ProfileError(f"--set {item}: write key=value")
        settings[key] = os.path.abspath(value) if key in profiles.PLACES and value else value
    settings |= {} if seeds is None else {"seeds": seeds, "row_seeds": seeds}
    settings |= {"recipe": recipe} if recipe else {}
    name = os.path.abspath(profile) if profile.endswith(".toml") else profile
    profiles.load(name, settings)
    return name, settings, out and out.absolute()


def _study(**chosen):
    from fasnb.lab.session import Study

    return Study(*settings_of(**chosen))


@cli.command()
@profile_options
@click.option("--only", multiple=True, metavar="NN", help="A notebook by the beginning of its name; may be repeated.")
@click.option("--from-scores", is_flag=True, help="Take networks whose scores are published as they are.")
@click.option("--minutes", type=float, metavar="N", help="End after N minutes, exit status 3; repeat to go on.")
def run(only, from_scores, minutes, **chosen) -> None:
    """Execute the notebooks of a profile, write its report."""
    from fasnb.command.study import run

    with time_limit(minutes):
        run(*settings_of(**chosen), only, from_scores)


@cli.command()
@profile_options
@click.option("--student", "folder", type=FILE, required=True, metavar="DIR", help="Folder for the copies.")
def notebooks(folder, **chosen) -> None:
    """Copy a profile's notebooks for a class: without answers."""
    from fasnb.command.study import write_student_copies

    print(f"{len(write_student_copies(*settings_of(**chosen), folder))} notebooks without answers: {folder}")


@cli.command()
@click.argument("scores", type=FILE)
@click.option("--fpr", "fprs", type=click.FloatRange(0, 1), multiple=True, help="Target; default 1e-2, 1e-3, 1e-4.")
@click.option("--threshold", type=float, metavar="T", help="Also the errors at this threshold, set elsewhere.")
@LIVE
@click.option("--frames", type=FILE, help="List of the frames: labels, subjects and attacks that SCORES lacks.")
@click.option("--replicates", type=click.IntRange(min=10), default=1000, show_default=True, help="Of the bootstrap.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def evaluate(scores, fprs, threshold, bona_fide_label, frames, replicates, as_json) -> None:
    """TPR@FPR and other metrics of a scores file."""
    listed = None if frames is None else read_list(frames, bona_fide_label=bona_fide_label, say=_say)
    table = metrics.read_scores(scores, bona_fide_label=bona_fide_label, frames=listed, say=_say)
    several = [name for name in NETWORK if name in table and table[name].nunique(dropna=False) > 1]
    if several or ("sample" in table and table["sample"].duplicated().any()):
        what = f"several values of {', '.join(several)}" if several else "samples more than once"
        raise ValueError(f"{scores} holds {what}; give one network's, average them, or, of clips, call the column clip")
    try:
        given = table["label"], table["score"], fprs or metrics.FPRS, table.get("attack"), table.get("subject")
        report = metrics.evaluate(*given, replicates)
        found = report.as_dict() | {"at_threshold": None if threshold is None else _errors_at(threshold, table)}
    except ValueError as error:
        raise ValueError(f"{scores}: {error}") from None
    if as_json:
        print(json.dumps(found, indent=2, allow_nan=False))
        return
    print(f"{_plain(scores)}\n\n{_points(report)}\n")
    for name, value in found.items():
        if name not in ("tpr_at_fpr", "notes") and value is not None:
            print(f"{name}: {_plain(value)}")
    print("\n".join(f"note: {note}" for note in (*NOTES, *report.notes)))


def _errors_at(threshold: float, table: pd.DataFrame) -> dict:
    """Error rates at a threshold that was set on other frames; ACER takes the worst attack where attacks are known."""
    given = table["label"], table["score"], threshold
    known = "attack" in table and table.loc[table["label"] == 0, "attack"].notna().all()
    by_attack = metrics.apcer_by_attack(*given, table["attack"]) if known else None
    rates = {"threshold": threshold, "apcer": metrics.apcer(*given)}
    rates |= {"apcer_max": max(by_attack.values()) if known else None, "bpcer": metrics.bpcer(*given)}
    rates |= {"hter": metrics.acer(*given), "acer": metrics.acer(*given, table["attack"] if known else None)}
    return rates | {"apcer_by_attack": by_attack}


def _points(report: metrics.Report) -> str:
    """TPR at each FPR in percent, with every digit of the threshold: the next number may accept other frames."""
    shown = report.table()
    shown["threshold"] = shown["threshold"].map(repr)
    for name in shown.columns[shown.columns.str.startswith("FPR")]:
        shown[name] = shown[name].map(lambda fpr: fpr if isinstance(fpr, str) else metrics.fpr_name(fpr, 2))
    return _text(shown)


@cli.command()
@click.argument("root", type=FILE)
@click.option("--epoch", type=int, default=31, show_default=True, help="Snapshot: 31, of the paper's rows, or 50.")
@click.option("--crop", type=click.Choice(["mean", "crop0"]), default="mean", help="With the mirror image, or not.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def released(root, epoch, crop, as_json) -> None:
    """The paper's rows from a clone of the authors' scores."""
    from fasnb.data.released import RELEASED_EXPERIMENTS, RELEASED_NETWORKS, read_released

    table, means = read_released(root, epoch, crop), {}
    folders = {row: folder for folder, row in RELEASED_EXPERIMENTS.items()}
    for (experiment, seed), model in table.groupby(["experiment", "seed"]):
        expected = [(experiment, fold, seed) for fold in (1, 2, 3)]
        name = f"{folders.get(experiment, experiment)}_seed{seed}"
        means[name] = metrics.average(model, over=["fold"], expected=expected)
    members = table[table["experiment"].isin(RELEASED_EXPERIMENTS.values())]
    means["ensemble"] = metrics.average(members, over=["fold", "seed", "experiment"], expected=RELEASED_NETWORKS)
    reports = {name: metrics.evaluate(mean["label"], mean["score"]) for name, mean in means.items()}
    if as_json:
        rows = [{"name": n, "folds": 3, "tpr_at_fpr": r.as_dict()["tpr_at_fpr"]} for n, r in reports.items()]
        print(json.dumps(rows, indent=2))
        return
    print(f"The authors' scores of the CASIA-SURF validation set, epoch {epoch}, {crop}, mean over three folds")
    print("\n".join(f"\n{name}\n{_points(report)}" for name, report in reports.items()))
    print("\n".join(f"note: {note}" for note in (*NOTES, *reports["ensemble"].notes)))


@cli.command()
@click.option("--checkpoint", type=FILE, help="network.pt of a run, or a checkpoint of the authors.")
@click.option("--onnx", "graph", type=FILE, help="Or a file of fasnb export, on the CPU; needs the extra onnx.")
@click.option("--frames", type=FILE, required=True, help="List of frames, in any format that a list may have.")
@click.option("--root", type=FILE, default=Path(), help="Folder that the list's paths are relative to.")
@click.option("--out", type=FILE, default=Path("scores.csv"), help="Scores table, CSV or parquet.")
@own_frames
@click.option("--submission", type=FILE, help="Also write the challenge's submission file.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto")
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), default="fp32", help="bf16 is faster and less exact.")
def score(checkpoint, graph, frames, root, out, bona_fide_label, depth_mm, ir_range, submission, **how) -> None:
    """Score frames with one trained network, or an exported file."""
    from fasnb.command import checkpoint as trained
    from fasnb.command import onnx_file

    if (checkpoint is None) == (graph is None):
        raise ValueError("score takes one network: give --checkpoint FILE or --onnx FILE")
    listed = read_list(frames, root, bona_fide_label=bona_fide_label, say=_say)
    scales = scales_of(depth_mm, ir_range)
    if graph is None:
        table = trained.score_frames(checkpoint, listed, root, scales=scales, **how)
    else:
        table = onnx_file.score_onnx(graph, listed, root, scales)
    metrics.write_scores(table, out)
    print(f"{len(table):,} frames scored: {out}; {NOTES[0]}")
    if submission:
        print(f"submission: {write_submission(listed, table, submission)}")


@cli.command()
@click.argument("checkpoints", type=FILE, nargs=-1, required=True, metavar="CHECKPOINT...")
@click.option("--onnx", "graph", type=FILE, required=True, metavar="FILE", help="To write; needs the extra onnx.")
def export(checkpoints, graph) -> None:
    """Write networks, or the mean of several, as ONNX.

    It prepares frames itself: uint8 (N, 5, S, S) in, red, green, blue, depth and IR; P(bona fide), float32 (N,), out.
    """
    from fasnb.command.onnx_file import export

    about, apart = export(checkpoints, graph)
    count, sources = len(about["networks"]), {each["source"] for each in about["networks"]}
    print(f"{graph}: {about['experiment']}, {count} network{'s' * (count > 1)}, frames of {about['pixels']} pixels")
    print(f"trained on: {', '.join(sorted(sources))}; scores at most {apart:.1g} from PyTorch's")


@cli.command()
@profile_options
@click.option("--time", "timed", is_flag=True, help="Also how long the rest takes here, by a step of the largest.")
def plan(timed, **chosen) -> None:
    """Every network of a profile, and what is done."""
    from fasnb.training.archive import is_done, load_facts
    from fasnb.training.run import estimate

    study = _study(**chosen)
    networks, table = study.plan.networks, study.plan.table()
    rest = [network for network in networks if not is_done(network)]
    table["state"] = ["published" if study.published.holds(n) else "missing" if n in rest else "done" for n in networks]
    if len(facts := load_facts(networks, study.published)):
        table = table.merge(facts[["run", "seconds", "device"]], on="run", how="left")
        table["seconds"] = table["seconds"].round(1)
    print(table.to_string(index=False, na_rep="-") if networks else "this source has scores only: nothing is trained")
    for experiment, reason in study.plan.left_out.items():
        print(f"left out: {experiment}; {reason}")
    if timed and rest:
        minutes = estimate(rest, study.profile.workers, study.profile.device) / 60
        print(f"about {minutes:.1f} minutes for {len(rest)} networks")


@cli.command()
@profile_options
@click.argument("experiment", default="A", type=click.Choice(list(EXPERIMENTS)), metavar="EXPERIMENT")
def networks(experiment, **chosen) -> None:
    """Parts, shapes and cost of an experiment's network.

    At the profile's size; a student has one size, and is shown for the paper's images.
    """
    from fasnb.model.parts import describe
    from fasnb.training.plan import architecture_of

    profile = profiles.load(*settings_of(**chosen)[:2])
    if profile.source == "released":
        raise ValueError("the released source has scores only: there is no network to describe")
    architecture = architecture_of(profile, EXPERIMENTS[experiment])
    pixels = 112 if experiment in STUDENTS else profile.recipe_of(EXPERIMENTS[experiment]).crop
    print(f"{EXPERIMENTS[experiment].title}, of profile {profile.name}, {pixels} pixels: {architecture}\n")
    print(describe(architecture, pixels).to_string(index=False))


@cli.command()
@click.argument("folder", type=FILE, metavar="RESULTS")
def compare(folder) -> None:
    """Hold results against the published ones."""
    from fasnb.command.results import compare

    table = compare(folder)
    print(f"{_text(table)}\n")
    for what, part in table.groupby("what", sort=False):
        said = ", ".join(f"{count:,} {verdict}" for verdict, count in part["verdict"].value_counts().items())
        print(f"{what}: {said}; largest difference {(part['here'] - part['published']).abs().max():.2f} points")


@cli.command()
@profile_options
def publish(**chosen) -> None:
    """Copy what the repository shows to results/published, and the report to docs."""
    from fasnb.command.results import publish

    print(f"published: {publish(_study(**chosen))}")


@cli.command()
@profile_options
def paper(**chosen) -> None:
    """Tables and figures of a study as LaTeX and PDF."""
    from fasnb.command.results import write_paper

    print(f"tables, figures and one page of them: {write_paper(_study(**chosen))}")


@cli.command()
@click.option("--profile", help="Read every byte of this profile's study and name what is damaged.")
@click.option("--out", type=FILE, help="Its results folder; default results/<profile>.")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="A value that it was run with.")
def doctor(profile, out, changes) -> None:
    """What is missing here; of a study, what is damaged."""
    from fasnb.command import doctor

    if profile is None:
        for found, text in doctor.inventory():
            print(f"{'ok     ' if found else 'missing'} {text}")
        return
    damages = list(doctor.damages(_study(profile=profile, out=out, changes=changes)))
    print("\n".join(map(_plain, damages)) or "all that is there is as it was written")
    if damages:
        raise ValueError(f"{len(damages):,} damaged or missing; nothing was changed")


@cli.command()
@click.option("--seed", default=0, show_default=True, help="Other numbers take other frames.")
@click.option("--out", type=FILE, default=Path("demo.png"), show_default=True, help="Picture of the three frames.")
def demo(seed, out) -> None:
    """A small trained network judges a face and two prints."""
    from fasnb.command.demo import demo

    print(demo(None, seed, out))


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
@click.option("--root", type=FILE, required=True, help="CASIA-SURF, or the folder that a list's paths begin at.")
@click.option("--frames", type=FILE, help="List of one's own frames.")
@click.option("--checkpoint", type=FILE, help="network.pt in its run: compare with the frames it was trained on.")
@own_frames
def check(root, frames, checkpoint, bona_fide_label, depth_mm, ir_range) -> None:
    """Decode every file of CASIA-SURF, or of a list; report all that is wrong."""
    from fasnb.command.inspection import report
    from fasnb.data import casia_surf

    if frames is None:
        layout = casia_surf.find(root)
        listed = layout.frames(list(layout.lists), say=_say)
        lines = [f"note: {sentence}" for sentence in layout.missing.values()]
        lines += [casia_surf.counts(listed).to_string(index=False, na_rep="unknown")]
    else:
        listed, lines = read_list(frames, root, bona_fide_label=bona_fide_label, say=_say), []
    found, problems = report(listed, root, scales_of(depth_mm, ir_range), checkpoint)
    print("\n".join(_plain(line) for text in (*lines, *found, *problems[:10]) for line in text.split("\n")))
    if problems:
        raise ValueError(f"{len(problems):,} problems in {root}, the first ten above; nothing was changed")
