"""Random damage to what strangers give: lists, profiles, settings, scores files, configs. Only documented errors may come out.

    make fuzz                                        # five minutes
    python benchmarks/fuzz.py --minutes 60 --seed 7

Each input is a good file of which a few bytes, words or lines were changed, copied or lost, or a line of such pieces at
random. What is read may be accepted or refused by an error that ``fasnb`` turns into one sentence; anything else is printed with
the input, and ends in exit status 1. The seed is printed: the same seed gives the same inputs in the same order.
"""

import argparse
import random
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

from fasnb.data.frames import read_list
from fasnb.metrics.scores import read_scores, write_scores
from fasnb.model.network import Architecture
from fasnb.paper import profile as profiles
from fasnb.paper.recipe import PAPER
from fasnb.tools.seals import read_sealed, write_sealed
from fasnb.training.specification import Specification

DOCUMENTED = (ValueError, FileNotFoundError)  # ListError, ProfileError, Damaged and IncompleteError are ValueErrors
PIECES = [
    b"",
    b"\x00",
    b"\n",
    b"\r\n",
    b",",
    b"\t",
    b'"',
    b"'",
    b"../",
    b"/",
    b"=",
    b"[",
    b"]",
    b"{",
    b"}",
    b"1e999",
    b"-1",
    b"NaN",
]
PIECES += [
    b"9" * 30,
    b"0x" + b"F" * 4000,
    b"\xff\xfe",
    b"\xe2\x80\xae",
    "ü".encode(),
    b"true",
    b"null",
    b"color",
    b"real_part/",
]
SETTINGS = [*profiles.PROFILE_FIELDS, *profiles.RECIPE_FIELDS, "A.width", "A.blocks", "Q.width", "nothing"]


def damage(good: bytes, draw: random.Random) -> bytes:
    """A few changes at random places."""
    raw = bytearray(good)
    for _ in range(draw.choice((1, 1, 1, 2, 3, 8))):
        first = draw.randrange(len(raw) + 1)
        last = min(len(raw), first + draw.choice((0, 0, 1, 2, 5, 40)))
        kind = draw.randrange(5)
        if kind == 0 and raw:
            raw[min(first, len(raw) - 1)] ^= 1 << draw.randrange(8)
        elif kind == 1:
            raw[first:last] = draw.choice(PIECES)
        elif kind == 2:
            raw[first:first] = raw[first:last]
        elif kind == 3:
            del raw[first:last]
        else:
            lines = bytes(raw).split(b"\n")
            draw.shuffle(lines)
            raw = bytearray(b"\n".join(lines))
    return bytes(raw)


def goods(folder: Path) -> dict[str, list[bytes]]:
    lists = [
        "".join(
            f"Val/0000/{n:06d}-color.jpg Val/0000/{n:06d}-depth.jpg Val/0000/{n:06d}-ir.jpg {n % 2}\n" for n in range(4)
        ),
        "rgb,depth,ir,label\n" + "".join(f"a/{n}-color.jpg,a/{n}-depth.jpg,a/{n}-ir.jpg,1\n" for n in range(3)),
        "Training/real_part/C1/real.rssdk/color/1.jpg 0\nTraining/fake_part/C1/04_en_b.rssdk/color/101.jpg 1\n",
    ]
    table = pd.DataFrame(
        {
            "sample": ["a", "b", "c"],
            "label": [1, 0, 0],
            "score": [0.9, 0.1, 0.2],
            "attack": [0, 1, 2],
            "subject": ["x", "y", "z"],
        }
    )
    parquet, result = folder / "good.parquet", folder / "good.json"
    write_scores(table, parquet)
    write_sealed(result, {"key": "k", "splits": {"valid": {"auc": 0.5}}, "sha256": {"a": "b"}})
    toml = b'source = "synthetic"\nseeds = 2\nfprs = [1e-1, 1e-2]\nheadline_fpr = 1e-1\nwidth = 0.5\n[experiments.A]\nlearning_rate = 0.1\n'
    return {
        "list": [text.encode() for text in lists],
        "profile": [toml],
        "scores.csv": [table.to_csv(index=False).encode()],
        "scores.parquet": [parquet.read_bytes()],
        "config": [Specification("A", 1, 7, Architecture(), PAPER, data="0", frames="0").to_json().encode()],
        "result": [result.read_bytes()],
        "setting": [b"1", b"0.5", b"[1e-1, 1e-2]", b"true", b"cpu"],
    }


def read(kind: str, raw: bytes, path: Path, draw: random.Random) -> None:
    if kind == "setting":
        profiles.load("smoke", {draw.choice(SETTINGS): raw.decode("utf-8", "surrogateescape")})
        return
    if kind == "config":
        try:
            Specification.from_json(raw.decode())
        except OverflowError:  # which the command line answers by a sentence
            pass
        return
    path.write_bytes(raw)
    if kind == "list":
        read_list(path)
    elif kind == "profile":
        profiles.load(str(path))
    elif kind == "result":
        read_sealed(path, "remove it")
    else:
        table = read_scores(path)
        np.asarray(table["label"], dtype=float)


SHARES = {"list": 30, "profile": 8, "scores.csv": 3, "scores.parquet": 3, "config": 30, "result": 20, "setting": 6}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--seed", type=int, default=None)
    args = parser.parse_args()
    seed = random.SystemRandom().randrange(2**32) if args.seed is None else args.seed
    print(f"seed {seed}, {args.minutes:g} minutes", flush=True)
    draw, counts, end = random.Random(seed), Counter(), time.monotonic() + 60 * args.minutes
    with tempfile.TemporaryDirectory() as name:
        examples, escaped = goods(Path(name)), 0
        paths = {
            kind: Path(name, f"input.{'toml' if kind == 'profile' else kind.rpartition('.')[2]}") for kind in SHARES
        }
        while time.monotonic() < end:
            for kind in draw.choices(list(SHARES), list(SHARES.values()), k=100):
                raw = damage(draw.choice(examples[kind]), draw)
                try:
                    read(kind, raw, paths[kind], draw)
                    counts[kind, "accepted"] += 1
                except DOCUMENTED:
                    counts[kind, "refused"] += 1
                except Exception:  # what is looked for
                    counts[kind, "escaped"] += 1
                    escaped += 1
                    print(f"{kind}: {raw!r}\n{traceback.format_exc()}", flush=True)
    table = pd.Series(counts).unstack(fill_value=0).astype(int)
    table.loc["all"] = table.sum()
    print(f"{table.to_string()}\n{counts.total():,} inputs, {escaped} escaped")
    return int(bool(escaped))


if __name__ == "__main__":
    raise SystemExit(main())
