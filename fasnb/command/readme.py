"""The block of README.md that is made of the released scores: ``fasnb released ROOT --readme README.md``."""

from pathlib import Path

import pandas as pd

from fasnb.data.casia_check import KNOWN
from fasnb.data.released import read_snapshots
from fasnb.lab.tables import markdown
from fasnb.metrics import sentences, snapshots
from fasnb.metrics.pad import fpr_name
from fasnb.paper.experiments import EXPERIMENTS
from fasnb.paper.published import TABLE3
from fasnb.tools.files import write_text

BEGIN = "<!-- written by: fasnb released ROOT --readme README.md -->"
END = "<!-- end of what is written -->"

FPR = 1e-4


def released_block(root: str | Path) -> str:
    """Rows A to D and the ensemble at every released snapshot and crop, and what they say; Markdown.

    Args:
        root: a clone of the authors' repository.

    Raises:
        FileNotFoundError, ValueError: as ``fasnb.data.released.read_snapshots``.
    """
    models = snapshots.models_of(read_snapshots(root))
    counts, parts = snapshots.refused(models, FPR), snapshots.subsets(models, FPR)
    frames, attacks = counts.attrs["bona fide"], counts.attrs["attack"]
    caption = f"TPR in percent at FPR = {fpr_name(FPR)}, in brackets the refused ones of {frames:,} bona fide frames; "
    caption += f"{attacks:,} attack frames."
    videos = KNOWN["valid"]["subjects"] * sum(name.startswith("attack ") for name in KNOWN["valid"])
    said = {
        "Which member is the lowest": sentences.of_lowest(snapshots.lowest(counts), "D"),
        "The mirror image": sentences.of_mirror(snapshots.mirror_gain(models, FPR)),
        "How far zero errors carry": sentences.of_resolution(frames, attacks, videos),
    }
    rows = pd.concat([_rows(counts), _ensembles(parts, frames)])
    return markdown(rows, caption) + "\n" + "\n".join(f"- *{lead}.* {text}" for lead, text in said.items())


def _rows(counts: pd.DataFrame) -> pd.DataFrame:
    """One row a model and seed, and the ensemble; published and recomputed values as text."""
    shown = counts[counts["seed"].notna() | (counts["experiment"] == "ensemble")]
    cells = [f"{tpr:.2f} ({refused})" for tpr, refused in zip(shown["TPR %"], shown["refused"], strict=True)]
    wide = snapshots.beside(shown.assign(cell=cells), ["experiment", "seed"], "cell")
    published = TABLE3.set_index("experiment")["published"][wide["experiment"]].to_numpy()
    wide.insert(2, "published", pd.Series(published).where(~wide["experiment"].duplicated()))
    wide["seed"] = wide["seed"].astype("string").fillna("all")
    titles = wide.pop("experiment").map(lambda name: EXPERIMENTS[name].title if name in EXPERIMENTS else "ensemble")
    wide.insert(0, "row of Table 3", titles)
    return wide


def _ensembles(parts: pd.DataFrame, frames: int) -> pd.DataFrame:
    """The ensemble of one seed for each member, and those of all seeds without one member; columns as ``_rows``."""
    every = parts[parts["size"] == parts["size"].max()]
    members = every["methods"].iloc[0].split("+")
    single = every.assign(name="ensemble", of="one each", cell="(" + snapshots.seed_span(every) + ")")
    rest = parts[parts["size"] == len(members) - 1]
    missing = [next(iter(set(members) - set(methods.split("+")))) for methods in rest["methods"]]
    cells = [f"{100 * (1 - refused / frames):.2f} ({refused})" for refused in rest["refused"]]
    rest = rest.assign(name=[f"ensemble without {name}" for name in missing], of="all", cell=cells)
    wide = snapshots.beside(pd.concat([single, rest.sort_values("name", kind="stable")]), ["name", "of"], "cell")
    return wide.rename(columns={"name": "row of Table 3", "of": "seed"})


def write_block(path: str | Path, block: str) -> None:
    """Replace what stands between ``BEGIN`` and ``END`` in a file.

    Raises:
        ValueError: the file has no such block.
    """
    before, after = _around(path)
    write_text(Path(path), f"{before}{BEGIN}\n\n{block}\n\n{END}{after}")


def read_block(path: str | Path) -> str:
    """What stands between ``BEGIN`` and ``END``; errors as ``write_block``."""
    before, after = _around(path)
    text = Path(path).read_text(encoding="utf-8")
    return text[len(before) + len(BEGIN) : len(text) - len(after) - len(END)].strip()


def _around(path: str | Path) -> tuple[str, str]:
    text = Path(path).read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{path} has no block between the lines {BEGIN} and {END}")
    return before, after
