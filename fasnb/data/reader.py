"""Text that people made elsewhere, as a table, for lists of frames (``frames``) and of scores (``scores``): separator,
encoding and header are found by the content, columns by their names in any order, capitals and spelling."""

import csv
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

NAMES = {  # column -> what others call it, likeliest first
    "label": "labels is_real is_live real live bonafide bona_fide target".split(),
    "subject": "subject_id person person_id client client_id".split(),
    "attack": "attack_type pai pai_type spoof_type".split(),
}
FILES = "path file filename file_name image image_path".split()
WORDS = dict.fromkeys("real live living bonafide genuine".split(), 1) | dict.fromkeys("fake spoof attack".split(), 0)
NUMBERS = {"1": 1, "true": 1, "0": 0, "-1": 0, "false": 0}
_VALUE = re.compile(r"[-+\d.,eE]*\d%?|.*[/\\].*|.*\.\w{3,4}")  # a number or a path, and so no name of a column
ADVICE = "begin with a line of names such as rgb,depth,ir,label or sample,label,score, and put commas between columns"


class ListError(ValueError):
    """A file that cannot be read whole; the message names the file, the first bad line and how many are bad."""


def read_lines(path: Path, names: Mapping, files: Sequence[str], number: str) -> tuple[pd.DataFrame, bool, str]:
    """The fields of a file as text, by line number; whether a header names them; how the file was understood.

    Columns have the keys of ``names`` in the place of their synonyms, all others their own name in small letters.
    Without a header what they hold tells: one path or three (``files``), a label, and ``number``. Comments before the
    first line are left out. Raises FileNotFoundError, ListError where a line does not fit.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist or is a folder; name the file itself")
    encoding = "UTF-16" if (raw := path.read_bytes())[:2] in (b"\xff\xfe", b"\xfe\xff") else "UTF-8"
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError:
        encoding, text = "CP1252", raw.decode("CP1252", "surrogateescape")
    lines = pd.Series(re.split(r"\r*\n|\r", text.lstrip("\ufeff")), dtype=object).str.strip(" ")
    lines.index += 1
    refuse(path, lines[~lines.str.replace("\t", " ").map(str.isprintable)], "has bytes that are not text")
    lines = lines[(lines.str.strip() != "") & ~lines.str.match(r"#|sep=.$|\s*$").cummin()]
    between = next((mark for mark in "\t;," if len(lines) and mark in lines.iloc[0]), None)
    rows = lines.map(lambda line: next(csv.reader([line], delimiter=between)) if between else line.split())
    rows = rows.map(lambda row: [field.strip() for field in row])
    header = _renamed(rows.iloc[0], names) if len(rows) else []
    named = any(name in names for name in header) and not any(map(_VALUE.fullmatch, rows.iloc[0]))
    if len(rows) <= named:
        raise ListError(f"{path} is empty, or a header and no rows; use a complete file")
    refuse(path, lines.head(int(named and len(set(header)) < len(header))), "names a column twice")
    uneven = f"does not have the {len(header)} fields of the first line: one is missing, or two formats are mixed"
    refuse(path, lines[rows.map(len) != len(header)], uneven)
    fields = pd.DataFrame(rows.to_list(), rows.index).iloc[int(named) :]
    header = header if named else _order(path, fields, files, number)
    how = f"{encoding}, columns between {between or 'blanks'!r}{'' if named else ', no header'}"
    how += "".join(f", {a} is {b}" for a, b in zip(rows.iloc[0], header, strict=True) if named and a != b in names)
    return fields.set_axis(header, axis=1), named, how


def labels_of(path: Path, written: pd.Series, live: bool = True) -> pd.Series:
    """Labels as float64, 1 (bona fide), 0 (attack) or missing, from words, truth values or numbers: 1 and 0 or -1,
    or where not ``live`` 0 and 1. ListError for anything else."""
    if pd.api.types.is_numeric_dtype(written) and written.dropna().isin([0, 1]).all():
        numbers = written.astype("Float64").astype("float64")
        return numbers if live else 1 - numbers
    key = written.astype(object).map(plain)
    numbers, words = key.map(NUMBERS).astype(float), key.map(WORDS)
    bad = numbers.isna() & words.isna() & written.notna() | (key == "-1") & (key == "0").any()
    refuse(path, written[bad], "is no label: neither 0 (attack) nor 1 (bona fide) nor a word such as fake or real")
    return (numbers if live else 1 - numbers).fillna(words).astype(float)


def attacks_of(path: Path, written: pd.Series, labels: pd.Series) -> pd.Series:
    """Attack types as whole numbers where all of attacks are 1 to 127; else words such as "type 0", none of bona fide."""
    numbers = pd.to_numeric(written.astype(object), errors="coerce").astype("float64")
    fits = (numbers % 1 == 0) & numbers.between((labels == 0).astype(int), 127)
    if (fits | written.isna() | (labels == 1)).all():
        return numbers.where(fits).astype("Int8")
    words = written.astype("string").str.strip().str.lower().str.removesuffix(".0")
    typed = words.notna() & ~words.map(plain, na_action="ignore").isin(["", "none", *WORDS])
    if typed[labels == 1].any() and not typed[labels == 0].any():
        raise ListError(f"{path}: only bona fide lines have attack types; if labels are reversed: --bona-fide-label 0")
    return words.mask(numbers.notna(), "type " + words).mask(labels == 1)


def with_types(table: pd.DataFrame, types: Mapping[str, str]) -> pd.DataFrame:
    """The table with these types of its columns; attack types that are words stay words."""
    words = pd.to_numeric(table["attack"], errors="coerce").isna() & table["attack"].notna()
    return table.astype({**types, "attack": "string"} if words.any() else types)


def summary(table: pd.DataFrame) -> str:
    """How many rows of each class there are, and what is known of subjects and attacks, in some words."""
    count, known = table["label"].value_counts(), table.reindex(columns=["subject", "attack"])
    kinds = ", ".join(map(str, sorted(known["attack"][table["label"] == 0].dropna().unique())[:9])) or "unknown"
    known = f"subjects: {known['subject'].nunique() or 'unknown'}; attack types: {kinds}"
    return f"{count.get(1, 0):,} bona fide and {count.get(0, 0):,} attack of {len(table):,}; {known}"


def refuse(path: Path, bad: pd.Series, what: str) -> None:
    """Raise one ListError for all the values of ``bad``, by line number."""
    if len(bad):
        count = f"{len(bad):,} bad line{'s' * (len(bad) > 1)}"
        first = f"{path}, line {bad.index[0]}: {bad.iloc[0]!r}"
        raise ListError(f"{first} {what} ({count}); nothing was read, correct the file")


def plain(value: object) -> str:
    """What a cell says whatever its capitals, blanks and hyphens: "Bona-fide" is "bonafide", 1.0 is "1"."""
    return re.sub(r"(?<=\w)[\s_-]+(?=\w)|\.0+$", "", str(value).strip().lower())


def _order(path: Path, fields: pd.DataFrame, files: Sequence[str], number: str) -> list[str]:
    """The columns' names, as what they hold tells; ListError where it does not."""
    labels = fields.map(plain).isin([*WORDS, *NUMBERS]).all()
    numbers = fields.apply(pd.to_numeric, errors="coerce").notna().all()
    paths = iter(files if (~labels & ~numbers).sum() == len(files) else files[:1])
    names = ["label" if labels[i] else number if numbers[i] else next(paths, "") for i in fields]
    if "" in names or len(set(names)) < len(names):
        raise ListError(f"{path}, line {fields.index[0]}: not a known format, or paths have blanks; {ADVICE}")
    return names


def _renamed(header: list[str], names: Mapping) -> list[str]:
    """Known names in the place of their first synonym that is there; the others in small letters."""
    found = [re.sub(r"[\s-]+", "_", field.lower()) for field in header]
    for name, synonyms in names.items():
        for other in [each for each in synonyms if each in found and name not in found][:1]:
            found[found.index(other)] = name
    return found
