"""The frame table: which frames there are and what is known of each, read from any of the published lists.

A frame is one capture with three registered images. The table has one row a frame and the columns ``FRAME_COLUMNS``:
``sample`` (unique: the colour path relative to the data root), ``rgb``, ``depth``, ``ir`` (relative paths), ``label``
(1 bona fide, 0 attack, missing where the list has none), ``subject``, ``attack`` (0 bona fide, 1 to 6 as in Table 1 of
the paper, missing where unknown) and ``split`` (train, valid or test).
"""

import csv
import os
import posixpath
from pathlib import Path

import pandas as pd

from fasnb.paper.experiments import MODALITIES

FRAME_COLUMNS = ("sample", *MODALITIES, "label", "subject", "attack", "split")

FRAME_TYPES = {"label": "Int8", "attack": "Int8"} | dict.fromkeys(("sample", *MODALITIES, "subject", "split"), "string")

ATTACK_FOLDERS = {"01_e_s": 1, "02_e_b": 2, "03_en_s": 3, "04_en_b": 4, "05_enm_s": 5, "06_enm_b": 6}
"""Folder name -> attack of Table 1: e, n, m = eyes, nose, mouth cut out; s = flat (still), b = bent."""

_CAPTURE = r"(?:^|/)(?P<part>real|fake)_part/(?P<subject>[^/]+)/(?P<kind>[^/]+?)(?:\.rssdk)?/"
_SPLIT = r"(?i)(?:^|/)(?:(?P<train>train|training)|(?P<valid>val|valid|dev)|(?P<test>test|testing))/"
_MODALITY = r"(?i)(?:^|[/_-])(?:(?P<rgb>colou?r|rgb)|(?P<depth>depth)|(?P<ir>ir))(?:[_.-][^/]*|/[^/]*)$"
_COLOUR = r"(?<![^/])color(?=/[^/]*$)|(?<=-)color(?=\.[^/]*$)"  # in whose place depth and IR write their names
_COLUMNS = {2: ["rgb", "label"], 3: [*MODALITIES], 4: [*MODALITIES, "label"]}  # fields of a line -> what they are


class ListError(ValueError):
    """A list file that cannot be read whole; the message names the file, the first bad line and how many are bad."""


def read_list(
    path: str | Path, root: str | Path | None = None, *, bona_fide_label: int | None = None, split: str | None = None
) -> pd.DataFrame:
    """Read one list file into a frame table. Three formats are recognised by their content:

    - the challenge organisers' lines ``color depth ir [label]``, separated by blanks, 1 = bona fide;
    - the authors' CSV with the header ``rgb,depth,ir,label``, 1 = bona fide;
    - the data set owner's later release, lines ``color label``; depth and IR stand in the sibling folders ``depth``
      and ``ir``. Its labels are reversed (0 = bona fide), which the folders ``real_part`` and ``fake_part`` show.

    Subject and attack come from the folder names and are missing where those have none.

    Args:
        root: data root; absolute paths below it are made relative to it. Without it absolute paths are refused.
        bona_fide_label: 0 or 1, the label that means bona fide. Needed where neither the format nor the folder names
            tell (lines ``color label`` without such folders), and where the two contradict each other.
        split: train, valid or test for all frames; by default read from the folder names.

    Raises FileNotFoundError where there is no such list, ListError for anything wrong in any line.
    """
    path = Path(path)
    if bona_fide_label not in (None, 0, 1):
        raise ValueError(f"bona_fide_label is {bona_fide_label!r}; it must be 0 or 1, the label that means bona fide")
    fields = _fields(path)
    images = _images(path, fields, root)
    capture = images["rgb"].str.extract(_CAPTURE)
    labels = _labels(path, fields, capture["part"], bona_fide_label) if "label" in fields else None
    return frame_table(
        sample=images["rgb"],
        **images,
        label=labels,
        subject=capture["subject"],
        attack=capture["kind"].map(ATTACK_FOLDERS).mask(capture["part"] == "real", 0),
        split=split or _named(images["rgb"], _SPLIT),
    )


def frame_table(**columns) -> pd.DataFrame:
    """A frame table from its columns; a column may be a list, one value for all rows, or None where unknown."""
    rows = range(len(columns["sample"]))
    table = {name: getattr(columns.get(name), "array", columns.get(name)) for name in FRAME_COLUMNS}
    return pd.DataFrame(table, index=rows).astype(FRAME_TYPES)


def _fields(path: Path) -> pd.DataFrame:
    """The text of a list by line number: columns rgb, depth, ir and label, as far as its lines have them."""
    if path.is_dir():
        raise ListError(f"{path} is a folder; name the list file in it")
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such list; check the path")
    text = path.read_text(encoding="utf-8-sig", errors="surrogateescape").rstrip()
    lines = pd.Series(text.split("\n"), dtype=object).str.strip()
    lines.index += 1
    _refuse(path, lines[~lines.str.replace("\t", " ").map(str.isprintable)], "has bytes that are not text")
    header = _csv_fields(lines[1])
    comma = header in (_COLUMNS[3], _COLUMNS[4])
    rows = (lines[1:] if comma else lines).map(_csv_fields if comma else str.split)
    if not text or rows.empty:
        raise ListError(f"{path} is empty, or a header and no frames; use a complete list")
    width = len(header if comma else rows[1])
    if not comma and ("," in lines[1] or width not in _COLUMNS):
        known = "the header 'rgb,depth,ir,label' or lines 'color depth ir', 'color depth ir label' or 'color label'"
        raise ListError(f"{path}, line 1: not a known list format; expected {known}")
    bad = rows.map(lambda row: len(row) != width or not all(row))
    problem = f"does not have the {width} fields of the first line: one is missing, or two list formats are mixed"
    _refuse(path, lines[bad[bad].index], problem)
    return pd.DataFrame(rows.to_list(), rows.index, columns=_COLUMNS[width])


def _csv_fields(line: str) -> list[str]:
    return [field.strip() for field in next(csv.reader([line]), [])]


def _images(path: Path, fields: pd.DataFrame, root: str | Path | None) -> pd.DataFrame:
    """The three paths of each frame, below the data root; where only colour is named, depth and IR beside it."""
    images = fields.drop(columns="label", errors="ignore").map(_below, root=root)
    for name in images:
        _refuse(path, fields[name][images[name].isna()], "has a backslash, or leaves the data root")
    colour = images["rgb"]
    _refuse(path, colour[colour.duplicated()], "is a duplicate sample, named in an earlier line too")
    for name in MODALITIES:
        if name not in images:
            images[name] = colour.str.replace(_COLOUR, name, n=1, regex=True)
            unknown = f"has no folder color and no '-color.' to find its {name} by; name all in lines 'color depth ir'"
            _refuse(path, colour[images[name] == colour], unknown)
        other = _named(images[name], _MODALITY).fillna(name) != name
        _refuse(path, images[name][other], f"stands in the place of {name}")
    return images


def _below(written: str, root: str | Path | None) -> str | None:
    """A path relative to the data root; None where it is not below it."""
    name = posixpath.normpath(written)
    if root is not None and name.startswith("/"):
        name = os.path.relpath(name, root)
    return None if "\\" in name or name == "." or name.startswith("/") or name.split("/")[0] == ".." else name


def _named(paths: pd.Series, pattern: str) -> pd.Series:
    """Which of the pattern's named groups is in each path, missing where none is."""
    found = paths.str.extract(pattern).notna()
    return found.idxmax(axis=1).where(found.any(axis=1), None)


def _labels(path: Path, fields: pd.DataFrame, part: pd.Series, given: int | None) -> pd.Series:
    """1 bona fide, 0 attack: which written label means which the folders, the argument or the format tell."""
    _refuse(path, fields["label"][~fields["label"].isin(["0", "1"])], "is no label: neither 0 nor 1")
    written = fields["label"].astype(int)
    told = written.where(part == "real", 1 - written)[part.notna()]  # the label of bona fide, as each folder tells
    live = given if given is not None else 1 if "depth" in fields else None  # lists of three images write 1
    if live is None and told.empty:
        advice = "pass bona_fide_label=1 (challenge) or bona_fide_label=0 (the owner's later release)"
        raise ListError(f"{path}: nothing in its lines 'color label' tells which label means bona fide; {advice}")
    live = told.iloc[0] if live is None else live
    clash = f"contradicts its folder: bona fide is {live} by the list, pass bona_fide_label={1 - live} if reversed"
    _refuse(path, fields["rgb"][told[told != live].index], clash)
    return (written == live).astype(int)


def _refuse(path: Path, bad: pd.Series, what: str) -> None:
    """Raise one ListError for all the values of ``bad``, by line number."""
    if len(bad):
        count = f"{len(bad):,} bad line{'s' * (len(bad) > 1)}"
        first = f"{path}, line {bad.index[0]}: {bad.iloc[0]!r}"
        raise ListError(f"{first} {what} ({count}); nothing was read, correct the list")
