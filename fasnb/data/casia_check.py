"""Check a copy of CASIA-SURF: decode every file once, count, and report all that is wrong."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd
from tqdm.auto import tqdm

from fasnb.data.casia_surf import CasiaSurf
from fasnb.tools.workers import parallel_map

KNOWN = {  # the challenge subset of Zhang et al.: what a complete copy counts
    "train": {"frames": 29266, "bona fide": 8942, "attack": 20324, "attack 4": 6518, "attack 5": 6942,
              "attack 6": 6864, "subjects": 300},
    "valid": {"frames": 9608, "bona fide": 2994, "attack": 6614, "attack 1": 2243, "attack 2": 2118,
              "attack 3": 2253, "subjects": 100},
    "test": {"frames": 57710, "bona fide": 17458, "attack": 40252, "subjects": 600},
}  # fmt: skip


@dataclass(frozen=True)
class DataCheck:
    """What ``check`` found. ``str(found)`` is for people.

    Attributes:
        frames: frames looked at.
        counts: columns split, what, found, expected (missing where the set is not the full challenge).
        problems: columns sample, kind (count, missing, unreadable, mode, size, mismatched), problem; one row each.
        unlisted: image files in the folders of the frames that no row of the table names; no problem in themselves.
    """

    frames: int
    counts: pd.DataFrame
    problems: pd.DataFrame
    unlisted: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return self.problems.empty

    def __str__(self) -> str:
        lines = []
        for count in self.counts.itertuples():
            known = "" if pd.isna(count.expected) else f" of {count.expected:,}"
            lines.append(f"{count.split}: {count.found:,}{known} {count.what}")
        small = self.counts[(self.counts["what"] == "frames") & self.counts["expected"].isna()]
        lines += [
            f"note: {split} is not the full challenge, which has {KNOWN[split]['frames']:,} frames"
            for split in small["split"]
        ]
        if self.unlisted:
            lines.append(f"note: {len(self.unlisted):,} image files are on no list, the first {self.unlisted[0]}")
        if self.ok:
            return "\n".join([*lines, f"{self.frames:,} frames, no problems"])
        kinds = ", ".join(f"{n:,} {kind}" for kind, n in self.problems["kind"].value_counts().items())
        lines.append(f"{self.frames:,} frames, {len(self.problems):,} problems ({kinds}); the first ten:")
        return "\n".join(lines + [f"  {text}" for text in self.problems["problem"].head(10)])


def check(
    frames: pd.DataFrame,
    root: str | Path,
    *,
    complete: bool | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> DataCheck:
    """Decode every file of a frame table once and report all that is wrong with the files.

    Args:
        frames: the frame table.
        root: the data root.
        complete: whether the set claims to be the whole challenge, so that other counts than the known ones are
            problems; by default a split claims it when it has at least half of the known number of frames.
        workers: processes, by default one a core.
        progress: show a bar.

    Raises:
        ValueError: as ``CasiaSurf``, where the table itself is wrong.
    """
    source = CasiaSurf(frames, root)
    counts = _counts(source.frames, complete)
    wrong = counts[counts["expected"].notna() & (counts["found"] != counts["expected"])]
    texts = [f"{c.split}: {c.found:,} {c.what} instead of {c.expected:,}" for c in wrong.itertuples()]
    found = [(-1, "", "count", text) for text in texts]
    chunks = [range(first, min(first + 64, len(frames))) for first in range(0, len(frames), 64)]
    source.channels  # decided once, here, and sent to the workers  # noqa: B018
    with tqdm(total=len(frames), unit="frame", desc="checking", disable=not progress) as bar:
        for chunk, problems in parallel_map(partial(_check_rows, source), chunks, workers):
            found += problems
            bar.update(len(chunk))
    table = pd.DataFrame(sorted(found), columns=["row", "sample", "kind", "problem"]).drop(columns="row")
    return DataCheck(len(frames), counts, table, source.unlisted())


def _check_rows(source: CasiaSurf, rows: Iterable[int]) -> list[tuple[int, str, str, str]]:
    samples = source.frames["sample"]
    return [(row, samples[row], kind, text) for row in rows for kind, text in source.inspect(row)[1]]


def _counts(frames: pd.DataFrame, complete: bool | None) -> pd.DataFrame:
    rows = []
    for split, part in frames.groupby("split", sort=False):
        found = {"frames": len(part), "bona fide": (part["label"] == 1).sum(), "attack": (part["label"] == 0).sum()}
        found |= {f"attack {k}": (part["attack"] == k).sum() for k in range(1, 7)}
        found |= {"subjects": part["subject"].nunique()}
        known = KNOWN[split] if complete or complete is None and 2 * len(part) >= KNOWN[split]["frames"] else {}
        unknown = {"bona fide", "attack"} if part["label"].isna().all() else set()
        unknown |= {what for what in found if what.startswith("attack ") and part["attack"].isna().all()}
        unknown |= {"subjects"} if part["subject"].isna().all() else set()
        rows += [(split, what, int(n), known.get(what)) for what, n in found.items()
                 if what not in unknown and (n or known.get(what))]  # fmt: skip
    counts = pd.DataFrame(rows, columns=["split", "what", "found", "expected"])
    return counts.astype({"found": "int64", "expected": "Int64"})
