"""What the released scores and the published counts say, as sentences made of their numbers: none is typed by hand."""

import pandas as pd

from fasnb.metrics.counts import error_ratio, first_distinguishable
from fasnb.metrics.pad import fpr_name
from fasnb.metrics.snapshots import READINGS, SNAPSHOT, snapshot_name
from fasnb.metrics.uncertainty import clopper_pearson


def listed(parts) -> str:
    """a, b and c."""
    *some, last = map(str, parts)
    return f"{', '.join(some)} and {last}" if some else last


def p_value(p: float) -> str:
    """As people read it."""
    return "–" if pd.isna(p) else "< 0.0001" if p < 1e-4 else f"{p:.2f}"


def _of_each(table: pd.DataFrame, say) -> str:
    """``say`` of each snapshot's only row, joined."""
    return "; ".join(f"{say(row)} at {snapshot_name(row.epoch, row.crop)}" for row in table.itertuples())


def of_headline(counts: pd.DataFrame, parts: pd.DataFrame) -> str:
    """How far the ensemble's TPR depends on snapshot and seed.

    Args:
        counts, parts: as of ``fasnb.metrics.snapshots.refused`` and ``.subsets``.
    """
    frames = counts.attrs["bona fide"]
    whole = counts[counts["experiment"] == "ensemble"].rename(columns={"TPR %": "tpr"})
    every = parts[parts["size"] == parts["size"].max()]
    return (
        f"The ensemble of all seeds refuses {_of_each(whole, lambda row: f'{row.refused} ({row.tpr:.2f}%)')}, of {frames:,} "
        f"bona fide frames. With one seed for each member it refuses "
        f"{_of_each(every, lambda row: f'{row.fewest} to {row.most}')}."
    )


def of_members(parts: pd.DataFrame) -> str:
    """What the ensemble of all seeds refuses without each member (Section 5.9)."""
    said = []
    for snapshot, part in parts.groupby(list(SNAPSHOT), sort=False):
        every = part.loc[part["size"].idxmax()]
        members = every["methods"].split("+")
        rest = part[part["size"] == len(members) - 1].set_index("methods")["refused"]
        without = {name: rest["+".join(other for other in members if other != name)] for name in members}
        each = listed(f"{count} without {name}" for name, count in without.items())
        spared = [name for name, count in without.items() if count <= every["refused"]]
        needed = (
            f"; it refuses no more without {listed(spared).replace(' and ', ' or ')}"
            if spared
            else "; without any one of them it refuses more"
        )
        said.append(
            f"At {snapshot_name(*snapshot)} the ensemble refuses {every['refused']} with all members, {each}{needed}"
        )
    return ". ".join(said) + "."


def of_outside(parts: pd.DataFrame) -> str:
    """How often averaged seeds lie outside what single seeds give; ``parts`` as of ``fasnb.metrics.snapshots.subsets``."""
    below, above = parts[parts["refused"] < parts["fewest"]], parts[parts["refused"] > parts["most"]]
    said = (
        f"Of {len(parts)} numbers {len(below)} lie below their bracket and {len(above)} above it: the mean score of several "
        "seeds is a system of its own, with its own threshold, and can refuse fewer frames than each of them, or more"
    )
    if below.empty:
        return f"{said}."
    row = below.loc[(below["fewest"] - below["refused"]).idxmax()]
    single = f"{row['fewest']}" if row["fewest"] == row["most"] else f"{row['fewest']} to {row['most']}"
    most = f"{row['refused']} with all seeds, {single} with one seed for each member"
    return f"{said}. The largest gap is that of {row['methods']} at {snapshot_name(row['epoch'], row['crop'])}: {most}."


def of_lowest(table: pd.DataFrame, claimed: str) -> str:
    """Whether the member of which the paper says so has the lowest TPR, epoch by epoch.

    Args:
        table: as of ``fasnb.metrics.snapshots.lowest``.
    """
    often = {name.partition(", of ")[0]: name for name in table if ", of " in name}
    total = int(often[claimed].rpartition(" ")[2])
    said = []
    for epoch, part in table.groupby(table["snapshot"].str.partition(",")[0], sort=False):
        times = {name: int(part[column].sum()) for name, column in often.items()}
        ties, most = times.pop("tie", 0), max(times, key=times.get)
        beside = [f"{claimed} in {times[claimed]}"] * (most != claimed) + [f"two are equally low in {ties}"] * bool(
            ties
        )
        readings = [row[reading] for row in part.to_dict("records") for reading in READINGS]
        said.append(
            f"At {epoch} {most} is the lowest in {times[most]} of {total * len(part)} choices of one seed for each member "
            f"(both crops together){''.join(f', {other}' for other in beside)}; by the {len(READINGS)} readings of "
            f"the word it is {claimed} in {readings.count(claimed)} of {len(readings)} cases"
        )
    return ". ".join(said) + "."


def of_mirror(gains: pd.DataFrame) -> str:
    """What test-time augmentation does (Section 5.2); ``gains`` as of ``fasnb.metrics.snapshots.mirror_gain``."""
    said = []
    for epoch, part in gains[gains["experiment"] != "ensemble"].groupby("epoch", sort=False):
        by, clear = part["difference"], int(((part["low"] > 0) | (part["high"] < 0)).sum())
        up, down = int((by > 0).sum()), int((by < 0).sum())
        said.append(
            f"At epoch {epoch} the mirror image raises the TPR of {up} of {len(part)} models and lowers that of {down}, by "
            f"{by.min():+.2f} to {by.max():+.2f} points; for {clear} of them the interval leaves out zero"
        )
    return ". ".join(said) + "."


def of_helpers(table: pd.DataFrame, claimed: str) -> str:
    """Whether a member helps on hard attacks, and the others in its place; ``table`` as of ``.snapshots.helpers``."""
    said, attacks = [], table.attrs["attack"]
    for snapshot, part in table.groupby(list(SNAPSHOT), sort=False):
        rows = {row["helper"]: row for row in part.to_dict("records")}
        share = {name: f"{row['right on hard']} of {row['hard']}" for name, row in rows.items()}
        others = listed(f"{name} on {text}" for name, text in share.items() if name != claimed)
        wrong = listed(f"{row['attacks wrong']} ({name})" for name, row in rows.items())
        said.append(
            f"At {snapshot_name(*snapshot)} {claimed} is right on {share[claimed]} ({rows[claimed]['%']:.0f}%) of its hard "
            f"attacks; {others} of theirs. Of all {attacks:,} attack frames {wrong} are taken for bona fide"
        )
    return ". ".join(said) + "."


def of_resolution(bona_fide: int, attacks: int, videos: int) -> str:
    """What a TPR of 100% with no attack frame accepted can mean: exact 95% limits, frames or videos as units."""
    low, high, of_videos = (
        clopper_pearson(bona_fide, bona_fide)[0],
        *(clopper_pearson(0, n)[1] for n in (attacks, videos)),
    )
    return (
        f"No frame of {bona_fide:,} refused means a TPR of at least {100 * low:.2f}% at that threshold, and no frame of "
        f"{attacks:,} accepted an FPR of at most {_rounded(high)} (exact 95% limits, frames taken as independent); with the "
        f"{videos:,} attack videos as units, at most {_rounded(of_videos)}."
    )


def _rounded(fpr: float) -> str:
    return fpr_name(float(f"{fpr:.1e}"))


def of_counts(table: pd.DataFrame, frames: int, level: float = 0.05) -> str:
    """Which of the published TPRs differ from the first by more than chance; ``table`` as of ``.counts.against_first``."""
    first, *others = table.itertuples(index=False)
    close = [other for other in others if other.p >= level]
    each = listed(f"{other.team} ({other.misses}, p = {other.p:.2f})" for other in close) if close else "none"
    enough = first_distinguishable(first.misses, frames, level)
    return (
        f"{first.misses} misses of {frames:,} cannot be told from those of {each}. Another system would need "
        f"{enough} misses, a TPR of {100 * (1 - enough / frames):.2f}% or less, to be told from it at p < {level:g}."
    )


def of_ratio(without: int, with_it: int, frames: int) -> str:
    """What a ratio of two error counts can mean (Section 5.6)."""
    ratio, low, high = error_ratio(without, with_it)
    return (
        f"{without} against {with_it} misses of {frames:,}: a factor of {ratio:.1f}, with exact 95% limits {low:.2f} and "
        f"{high:.1f}"
        + (", which hold 1: no effect, and one the other way, are possible too." if low < 1 < high else ".")
    )
