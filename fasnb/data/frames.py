"""The frame table: which frames there are and what is known of each, read from any of the published lists.

A frame is one capture with three registered images. The table has one row a frame and the columns ``FRAME_COLUMNS``:
``sample`` (unique: the colour path relative to the data root), ``rgb``, ``depth``, ``ir`` (relative paths), ``label``
(1 bona fide, 0 attack, missing where the list has none), ``subject``, ``attack`` (0 bona fide, 1 to 6 as in Table 1 of
the paper, missing where unknown) and ``split`` (train, valid or test).
"""

import csv
import os
import posixpath
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from fasnb.paper.experiments import MODALITIES
from fasnb.tools.files import is_regular

FRAME_COLUMNS = ("sample", *MODALITIES, "label", "subject", "attack", "split")

FRAME_TYPES = {"label": "Int8", "attack": "Int8"} | dict.fromkeys(("sample", *MODALITIES, "subject", "split"), "string")

ATTACK_FOLDERS = {"01_e_s": 1, "02_e_b": 2, "03_en_s": 3, "04_en_b": 4, "05_enm_s": 5, "06_enm_b": 6}
"""Folder name -> attack of Table 1: e, n, m = eyes, nose, mouth cut out; s = flat (still), b = bent."""

TRAIN_ATTACKS = (4, 5, 6)

_SPLIT_OF_FOLDER = {"train": "train", "training": "train", "val": "valid", "valid": "valid", "dev": "valid"}

_SPLIT_OF_FOLDER |= {"test": "test", "testing": "test"}

_CAPTURE = re.compile(r"(?:^|/)(?P<part>real|fake)_part/(?P<subject>[^/]+)/(?P<kind>[^/]+?)(?:\.rssdk)?/")

_MODALITY_OF_WORD = {"color": "rgb", "colour": "rgb", "rgb": "rgb", "depth": "depth", "ir": "ir"}

_WORD_IN_NAME = re.compile(r"(?<![^-_])(color|colour|rgb|depth|ir)(?=[-_.])")

_CSV_HEADERS = (["rgb", "depth", "ir", "label"], ["rgb", "depth", "ir"])


class ListError(ValueError):
    """A list file that cannot be read whole; the message names the file, the first bad line and how many are bad."""


def read_list(
    path: str | Path, root: str | Path | None = None, *, bona_fide_label: int | None = None, split: str | None = None
) -> pd.DataFrame:
    """Read one list file into a frame table.

    Three formats are recognised by their content:

    - the challenge organisers' lines ``color depth ir [label]``, separated by blanks, 1 = bona fide;
    - the authors' CSV with the header ``rgb,depth,ir,label``, 1 = bona fide;
    - the data set owner's later release, lines ``color label``; depth and IR stand in the sibling folders ``depth``
      and ``ir``. Its labels are reversed (0 = bona fide), which the folders ``real_part`` and ``fake_part`` show.

    Args:
        path: the list file.
        root: data root; absolute paths below it are made relative to it. Without it absolute paths are refused.
        bona_fide_label: 0 or 1, the label that means bona fide. Needed where neither the format nor the folder names
            tell, which is the case of ``color label`` lines without ``real_part`` and ``fake_part``, and where the two
            contradict each other: a list of three images and a reversed label.
        split: train, valid or test for all frames; by default read from the folder names.

    Returns:
        The frame table. Subject and attack come from the folder names and are missing where those have none.

    Raises:
        FileNotFoundError: there is no such list.
        ListError: anything wrong in any line; nothing is returned then.
    """
    path = Path(path)
    if bona_fide_label not in (None, 0, 1):
        raise ValueError(f"bona_fide_label is {bona_fide_label!r}; it must be 0 or 1, the label that means bona fide")
    if split not in (None, "train", "valid", "test"):
        raise ValueError(f"split is {split!r}; it must be train, valid or test")
    rows, first = _rows(path)
    columns = list(zip(*rows, strict=True))
    paths = _image_paths(path, columns, root, first)
    colour = paths["rgb"]
    _refuse(path, _duplicates(colour, first))

    captures = [_CAPTURE.search(sample) for sample in colour]
    splits = [split or _split_of(sample) for sample in colour]
    _refuse(path, ((n, _unknown_attack(*pair)) for n, pair in enumerate(zip(captures, splits, strict=True), first + 1)))
    labels = None
    if len(columns) in (2, 4):
        written = [int(value) for value in columns[-1]]
        known = 1 if len(columns) == 4 else None
        live = _bona_fide_label(path, written, captures, bona_fide_label, known, first)
        labels = [int(value == live) for value in written]
    return frame_table(
        sample=colour,
        **paths,
        label=labels,
        subject=[c and c["subject"] for c in captures],
        attack=[c and (0 if c["part"] == "real" else ATTACK_FOLDERS.get(c["kind"])) for c in captures],
        split=splits,
    )


def frame_table(**columns) -> pd.DataFrame:
    """A frame table from its columns; a column may be a list, one value for all rows, or None where unknown."""
    table = pd.DataFrame({name: columns.get(name) for name in FRAME_COLUMNS}, index=range(len(columns["sample"])))
    return table.astype(FRAME_TYPES)


def wrong_modality(names: Iterable[str]) -> str | None:
    """What is wrong with the paths of one frame in the order ``MODALITIES``, if one stands in another's place.

    A file name (``000000-depth.jpg``) or the folder it lies in (``depth/1.jpg``) may tell the modality; where one does
    it must agree, and no path may stand twice.
    """
    names = list(names)
    for name, modality in zip(names, MODALITIES, strict=True):
        folder, file = posixpath.split(name.lower())
        words = {posixpath.basename(folder), *_WORD_IN_NAME.findall(file)} & _MODALITY_OF_WORD.keys()
        if any(_MODALITY_OF_WORD[word] != modality for word in words):
            return f"{name!r} stands in the place of {modality}"
    twice = next((name for name in names if names.count(name) > 1), None)
    return twice and f"{twice!r} stands there twice"


def _text_lines(path: Path) -> list[str]:
    if path.is_dir():
        raise ListError(f"{path} is a folder; name the list file in it")
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such list; check the path")
    if not is_regular(path):
        raise ListError(f"{path} is a pipe or device; name an ordinary file")
    raw = path.read_bytes()
    if not raw.strip():
        raise ListError(f"{path} is empty (0 lines); use a complete list")
    lines, problems = [], []
    for number, line in enumerate(raw.rstrip().split(b"\n"), 1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        except UnicodeDecodeError as error:
            problems.append((number, f"byte 0x{line[error.start]:02x} is not text"))
            continue
        control = next((c for c in text if not c.isprintable() and c != "\t"), None)
        if control:
            problems.append((number, f"byte 0x{ord(control):02x} is not text"))
        lines.append(text)
    _refuse(path, problems)
    return lines


def _rows(path: Path) -> tuple[list[list[str]], int]:
    """The fields of each frame's line, 2, 3 or 4 of them, and the number of lines before the first frame."""
    lines = _text_lines(path)
    header = _csv_fields(lines[0]) in _CSV_HEADERS
    rows = [_csv_fields(line) if header else line.split() for line in lines]
    width = len(rows[0])
    if not header and ("," in lines[0] or width not in (2, 3, 4)):
        raise ListError(
            f"{path}, line 1: not a known list format; expected the header 'rgb,depth,ir,label' or lines "
            "'color depth ir', 'color depth ir label' or 'color label'"
        )
    first = 1 if header else 0
    if len(rows) == first:
        raise ListError(f"{path} holds a header and no frames (0 lines of data); use a complete list")
    _refuse(path, ((n, _field_problem(row, width, header)) for n, row in enumerate(rows[first:], first + 1)))
    return rows[first:], first


def _image_paths(
    path: Path, columns: Sequence[Sequence[str]], root: str | Path | None, first: int
) -> dict[str, list[str]]:
    """Modality -> one path a frame, relative to the data root; where only colour is named, depth and IR beside it."""
    colour = _relative(path, columns[0], root, first)
    if len(columns) == 2:
        depth, ir = ([_sibling(sample, name) for sample in colour] for name in ("depth", "ir"))
        _refuse(path, ((n, _no_sibling(*pair)) for n, pair in enumerate(zip(colour, ir, strict=True), first + 1)))
    else:
        depth, ir = (_relative(path, column, root, first) for column in columns[1:3])
    triples = zip(colour, depth, ir, strict=True)
    _refuse(path, ((n, wrong_modality(names)) for n, names in enumerate(triples, first + 1)))
    return {"rgb": colour, "depth": depth, "ir": ir}


def _csv_fields(line: str) -> list[str] | None:
    """The fields of one line of CSV, or None where a quoted field does not end."""
    try:
        return [field.strip() for field in next(csv.reader([line], strict=True))] or [""]
    except csv.Error:
        return None


def _refuse(path: Path, problems) -> None:
    """Raise one ListError for all problems, (line number, what) with what = None for a good line."""
    bad = [(number, what) for number, what in problems if what]
    if bad:
        number, what = bad[0]
        count = "1 bad line" if len(bad) == 1 else f"{len(bad):,} bad lines"
        raise ListError(f"{path}, line {number}: {what} ({count}); nothing was read, correct the list")


def _field_problem(row: list[str] | None, width: int, comma: bool) -> str | None:
    if row is None:
        return "a quoted field is malformed"
    if not any(row):
        return f"an empty line, where the first line has {width} fields"
    if len(row) != width or not all(row):
        found = sum(map(bool, row))
        other = len(row) == 1 and "," in row[0] if not comma else " " in row[0]
        kind = "mixed list formats" if other or found in (2, 3, 4) and found > width else "missing field"
        return f"{kind}: {found} fields where the first line has {width}"
    if width in (2, 4) and row[-1] not in ("0", "1"):
        return f"label {row[-1]!r} is neither 0 nor 1"
    return None


def _relative(path: Path, column: Sequence[str], root: str | Path | None, first: int) -> list[str]:
    base = None if root is None else os.path.abspath(root).rstrip("/") + "/"

    def inside(name: str) -> str | None:
        clean = posixpath.normpath(name).replace("//", "/", 1) if name.startswith("/") else posixpath.normpath(name)
        if base and clean.startswith(base):
            clean = clean[len(base) :]
        return None if clean.startswith(("/", "../")) or clean in (".", "..") else clean

    backslash = "has a backslash; write '/' between folders"
    _refuse(
        path,
        ((n, f"the path {name!r} {backslash}" if "\\" in name else None) for n, name in enumerate(column, first + 1)),
    )
    cleaned = [inside(name) for name in column]
    outside = zip(column, cleaned, strict=True)
    where = "the data root" if root is None else f"the data root {root}"
    problems = (
        (number, None if clean else f"the path {name!r} leaves {where}")
        for number, (name, clean) in enumerate(outside, first + 1)
    )
    _refuse(path, problems)
    return cleaned


def _sibling(colour: str, modality: str) -> str:
    """``.../color/0022.jpg`` -> ``.../depth/0022.jpg``; ``000000-color.jpg`` -> ``000000-depth.jpg``; others as is."""
    folder, name = posixpath.split(colour)
    if posixpath.basename(folder) == "color":
        return posixpath.join(posixpath.dirname(folder), modality, name)
    return posixpath.join(folder, name.replace("-color.", f"-{modality}."))


def _no_sibling(colour: str, sibling: str) -> str | None:
    if colour != sibling:
        return None
    return (
        f"{colour!r} has neither a folder color nor '-color.' in its name, so its depth and IR are unknown; "
        "name the three files in lines 'color depth ir label'"
    )


def _unknown_attack(capture: re.Match | None, split: str | None) -> str | None:
    """Training needs every frame's attack, for the attack folds; elsewhere an unknown one may stay missing."""
    if split != "train" or capture is None or capture["part"] == "real" or capture["kind"] in ATTACK_FOLDERS:
        return None
    return f"the folder {capture['kind']!r} below fake_part is none of the attacks {', '.join(ATTACK_FOLDERS)}"


def _duplicates(samples: Sequence[str], first: int):
    line_of = {}
    for number, sample in enumerate(samples, first + 1):
        earlier = line_of.setdefault(sample, number)
        yield number, None if earlier == number else f"duplicate sample {sample!r}, first in line {earlier}"


def _bona_fide_label(path, written, captures, given, known, first) -> int:
    """Which label means bona fide, as the folder names, the argument and the format (``known``) tell."""
    implied = [None if c is None else value if c["part"] == "real" else 1 - value
               for value, c in zip(written, captures, strict=True)]  # fmt: skip
    telling = [(number, value) for number, value in enumerate(implied, first + 1) if value is not None]
    evidence = None
    if telling:
        number, evidence = telling[0]
        where, count = f"{path}, line {number}", f"({len(telling):,} lines with such folders)"
        if given not in (None, evidence):
            raise ListError(
                f"{where}: bona_fide_label={given} contradicts the folders real_part and fake_part {count}; nothing "
                "was read, leave it out"
            )
        if given is None and known not in (None, evidence):
            raise ListError(
                f"{where}: the labels are reversed, {evidence} where the folders say real_part {count}; nothing was "
                f"read, pass bona_fide_label={evidence} if that is meant, else correct the list"
            )
    expected = next((value for value in (evidence, given, known) if value is not None), None)
    if expected is None:
        raise ListError(
            f"{path}: nothing in the {len(written):,} lines 'color label' tells which label means bona fide; "
            "pass bona_fide_label=1 (challenge) or bona_fide_label=0 (the owner's later release)"
        )
    clash = "the label contradicts the folder real_part or fake_part, judged by the first line"
    _refuse(path, ((n, clash if v not in (None, expected) else None) for n, v in enumerate(implied, first + 1)))
    return expected


def _split_of(sample: str) -> str | None:
    folders = sample.lower().split("/")[:-1]
    return next((_SPLIT_OF_FOLDER[folder] for folder in folders if folder in _SPLIT_OF_FOLDER), None)
