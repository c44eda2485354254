"""The frame table: which frames there are and what is known of each, read from any of the published lists.

A frame is one capture with three registered images. The table has one row a frame and the columns ``FRAME_COLUMNS``:
``sample`` (unique: the first camera's path relative to the data root), ``rgb``, ``depth``, ``ir`` (relative paths, all
missing of a camera that is not there), ``label`` (1 bona fide, 0 attack, missing where the list has none),
``subject``, ``attack`` (0 bona fide, 1 to 6 as in Table 1 of the paper, missing where unknown) and ``split`` (train,
valid or test).
"""

import os
import posixpath
import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from fasnb.data import reader
from fasnb.data.reader import ListError, refuse, with_types
from fasnb.paper.experiments import MODALITIES

FRAME_COLUMNS = ("sample", *MODALITIES, "label", "subject", "attack", "split")

FRAME_TYPES = {"label": "Int8", "attack": "Int8"} | dict.fromkeys(("sample", *MODALITIES, "subject", "split"), "string")

ATTACK_FOLDERS = {"01_e_s": 1, "02_e_b": 2, "03_en_s": 3, "04_en_b": 4, "05_enm_s": 5, "06_enm_b": 6}
"""Folder name -> attack of Table 1: e, n, m = eyes, nose, mouth cut out; s = flat (still), b = bent."""

_NAMES = reader.NAMES | {
    "rgb": "color colour rgb_path color_path colour_path profile sample".split() + reader.FILES,
    "depth": "depth_path depth_image".split(),
    "ir": "infrared nir ir_path infrared_path nir_path".split(),
    "split": "subset partition".split(),
}
_CAPTURE = r"(?:^|/)(?P<part>real|fake)_part/(?:(?:real|fake)_\w+_part/)?"  # of whole paths of CASIA-SURF
_CAPTURE += r"(?P<subject>[^/]+)/(?P<kind>real|\d\d_\w+)(?:\.rssdk)?/colou?r/[^/]+$"
_SPLIT = r"(?i)(?:^|/)(?:(?P<train>train|training)|(?P<valid>val|valid|validation|dev)|(?P<test>test|testing|eval))/"
_PHASES = r"(?:^|/)(?:(?P<train>Training)|(?P<valid>Val)|(?P<test>Testing))/"  # the folders of CASIA-SURF
_MODALITY = r"(?i)(?:^|[/_-])(?:(?P<rgb>colou?r|rgb)|(?P<depth>depth)|(?P<ir>ir))(?:[_.-][^/]*|/[^/]*)$"
_COLOUR = r"(?<![^/])color(?=/[^/]*$)|(?<=-)color(?=\.[^/]*$)"  # in whose place depth and IR write their names


def read_list(path, root=None, *, bona_fide_label=None, split=None, say: Callable[[str], object] = str) -> pd.DataFrame:
    """Read one list file into a frame table. ``reader`` finds its separator and encoding, and columns rgb (or color,
    path), depth, ir, label, subject, attack, split by a header, which may have others, kept as they are. Without one it
    has lines ``color depth ir [label]``, as of the challenge's organisers, or ``color label``, as of the data set's
    owner, whose labels are reversed (0 = bona fide), which the folders ``real_part`` and ``fake_part`` show. Labels are
    words, or numbers of which 1 is bona fide in lists of three files. Where colour alone is named, depth and IR stand in
    sibling folders ``depth`` and ``ir``; a header that names depth or IR, or colour whose names lead to no siblings, has
    all the cameras that there are. Subject and attack, numbers or words, are missing where neither a column nor a
    path of CASIA-SURF's shape has them.

    Args:
        root: data root; absolute paths below it are made relative to it. Without it absolute paths are refused.
        bona_fide_label: 0 or 1, which is bona fide. Needed where the format and the folders do not tell, or disagree.
        split: train, valid or test for all frames; by default read from its column or the folder names.
        say: called with one sentence: how the list was understood.

    Raises FileNotFoundError where there is no such list, ListError for anything wrong in any line.
    """
    path = Path(path)
    if bona_fide_label not in (None, 0, 1):
        raise ValueError(f"bona_fide_label is {bona_fide_label!r}; it must be 0 or 1, the label that means bona fide")
    fields, named, how = reader.read_lines(path, _NAMES, MODALITIES, "label")
    images = _images(path, fields, root, named)
    capture = images.iloc[:, 0].str.extract(_CAPTURE)
    label = _labels(path, fields, capture["part"], bona_fide_label) if "label" in fields else None
    subject = fields["subject"].replace("", None) if "subject" in fields else capture["subject"]
    attack = capture["kind"].map(ATTACK_FOLDERS).mask(capture["part"] == "real", 0)
    if "attack" in fields:
        labels = pd.Series(label, fields.index, dtype=float)
        attack = reader.attacks_of(path, fields["attack"].replace("", None), labels)
    where = fields["split"] + "/" if "split" in fields else images.iloc[:, 0]
    split = split or _named(where, _PHASES if named and "split" not in fields else _SPLIT)  # a header is believed
    frames = frame_table(sample=images.iloc[:, 0], **images, label=label, subject=subject, attack=attack, split=split)
    others = fields.drop(columns=[*_NAMES, "sample"], errors="ignore").reset_index(drop=True)
    say(f"{path}: {reader.summary(frames)}; cameras: {', '.join(images)}; others: {', '.join(others) or 'none'}; {how}")
    return frames.join(others)


def frame_table(**columns) -> pd.DataFrame:
    """A frame table from its columns; a column may be a list, one value for all rows, or None where unknown."""
    rows = range(len(columns["sample"]))
    table = {name: getattr(columns.get(name), "array", columns.get(name)) for name in FRAME_COLUMNS}
    return with_types(pd.DataFrame(table, index=rows), FRAME_TYPES)


def cameras_of(frames: pd.DataFrame) -> list[str]:
    """The cameras that a frame table has pictures of, in the order of ``MODALITIES``."""
    return [name for name in MODALITIES if frames[name].notna().any()]


def _images(path: Path, fields: pd.DataFrame, root: str | Path | None, named: bool) -> pd.DataFrame:
    """The paths of each frame below the data root, a column for each camera; beside colour alone those of its siblings."""
    written = fields[[name for name in MODALITIES if name in fields and fields[name].any()]]  # of an empty column none
    if written.empty:
        raise ListError(f"{path} has no column rgb (or color, path), depth or ir; found {', '.join(fields)}")
    images, first = written.map(_below, root=root), written.columns[0]
    for name in images:
        refuse(path, fields[first][written[name] == ""], f"has nothing in the column {name}")
        refuse(path, written[name][images[name].isna()], "leaves the data root (--root); name what is below")
        refuse(path, images[name][images[name].duplicated()], "is a duplicate sample, named in an earlier line too")
    seen = images[first]
    for name in MODALITIES[1:] if {*MODALITIES} & {*fields} == {"rgb"} else ():
        beside = seen.str.replace(_COLOUR, name, n=1, regex=True)
        if not (named and (beside == seen).all()):
            unknown = f"has no folder color and no '-color.' to find its {name} by; name all in lines 'color depth ir'"
            refuse(path, seen[beside == seen], unknown)
            images[name] = beside
    for name in images if not named else ():  # a header is believed; without it only the order says what is what
        other = (_named(images[name], _MODALITY).fillna(name) != name) & ~images[name].str.contains(name, case=False)
        refuse(path, images[name][other], f"stands in the place of {name}")
    return images


def _below(written: str, root: str | Path | None) -> str | None:
    """A path relative to the data root, with / between folders; None where it is not below it."""
    name = posixpath.normpath(written.replace("\\", "/"))
    if root is not None and os.path.isabs(name):
        name = Path(os.path.relpath(name, root)).as_posix()
    return None if name.split("/")[0] in ("", ".", "..") or re.match("[A-Za-z]:", name) else name


def _named(paths: pd.Series, pattern: str) -> pd.Series:
    """Which of the pattern's named groups is in each path, missing where none is."""
    found = paths.str.extract(pattern).notna()
    return found.idxmax(axis=1).where(found.any(axis=1), None)


def _labels(path: Path, fields: pd.DataFrame, part: pd.Series, given: int | None) -> pd.Series:
    """1 bona fide, 0 attack: which written number means which the folders, the argument or the format tell."""
    written = reader.labels_of(path, fields["label"])
    if fields["label"].map(reader.plain).isin(reader.WORDS).all():
        return written
    told = written.where(part == "real", 1 - written)[part.notna()]  # the label of bona fide, as each folder tells
    live = given if given is not None else 1 if {"depth", "ir"} & {*fields} else None  # lists of three images write 1
    option = "pass bona_fide_label={0} (fasnb score: --bona-fide-label {0})"
    if live is None and told.empty:
        raise ListError(f"{path}: nothing in lines 'color label' tells what is bona fide; {option.format('0 or 1')}")
    live = int(told.iloc[0]) if live is None else live
    clash = f"contradicts its folder: bona fide is {live} by the list, {option.format(1 - live)} if reversed"
    refuse(path, fields.iloc[:, 0][told[told != live].index], clash)
    return reader.labels_of(path, fields["label"], live == 1)
