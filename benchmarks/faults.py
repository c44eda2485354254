"""Faults on purpose: kills of a study, flipped bits in what it made, damage to what strangers give.

    make faults                                               # five minutes and the kills
    python benchmarks/faults.py --minutes 60 --kills 40 --seed 7

*Kills*: the smoke study of one notebook is killed at random moments and started again; it must end with the bytes of an
undisturbed one and nothing left behind. *Flips*: single bits of its files, whose times stay, as when a disk rots; each must be
named where the file is next used. *Fuzz*: lists, profiles, settings and scores files with a few bytes or lines changed are
accepted, or refused by an error that ``fasnb`` turns into a sentence. Exit status 1 where anything else happened.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd

from fasnb.data import read_list, read_scores, write_scores
from fasnb.data.store import Store
from fasnb.lab.session import Study
from fasnb.model import load_network
from fasnb.paper import profile as profiles
from fasnb.tools.files import DONE, sealed, whole
from fasnb.training.archive import is_done, load_history, load_scores
from fasnb.training.plan import backbones_of

REPOSITORY = Path(__file__).resolve().parent.parent
EQUAL = (".parquet", ".npy", ".pt", ".png", ".tex")  # files that hold no times
PIECES = b"\x00 , ' ../ / = [ ] { } 1e999 -1 NaN \xff\xfe true null color real_part/".split() + [
    b"\n",
    b"\t",
    b'"',
    b"9" * 4000,
]


def start(folder: Path, only: str) -> subprocess.Popen:
    """A process that runs the study of one notebook below a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    study = ["run", "--profile", "smoke", "--only", only, "--out", str(folder / "smoke")]
    places = {"env": os.environ | {"FASNB_CACHE": str(folder / "cache")}, "cwd": REPOSITORY, "start_new_session": True}
    with open(folder / "log.txt", "a") as log:
        return subprocess.Popen([sys.executable, "-m", "fasnb", *study], stdout=log, stderr=log, **places)


def kills(out: Path, only: str, count: int, draw: random.Random) -> list[str]:
    """Kill the study at random moments of an undisturbed one's time; what is different at the end."""
    began, expected, mine = time.monotonic(), out / "whole", out / "killed"
    if status := start(expected, only).wait():
        raise SystemExit(f"the undisturbed study ended with {status}, see {expected}/log.txt")
    seconds, killed = time.monotonic() - began, 0
    for _ in range(count):
        study = start(mine, only)
        time.sleep(draw.uniform(0, seconds))
        if study.poll() is None:
            os.killpg(study.pid, signal.SIGKILL)
            killed += 1
        study.wait()
    time.sleep(3)  # workers and kernels that lost their parent end within a second
    status = start(mine, only).wait()
    print(f"kills: {killed} in a study that takes {seconds:.0f} s undisturbed; the last run ended with {status}")
    listed = [{path.relative_to(of).as_posix() for path in of.rglob("*") if path.is_file()} for of in (mine, expected)]
    found = [f"left behind or missing: {name}" for name in sorted(listed[0] ^ listed[1])]
    both = [name for name in sorted(listed[0] & listed[1]) if name.endswith(EQUAL)]
    return found + [f"differs: {name}" for name in both if (mine / name).read_bytes() != (expected / name).read_bytes()]


def uses(study: Study) -> dict[Path, Callable]:
    """Every file with bytes of a study -> what reads it."""
    found = {study.out / name: partial(_read_all, study.out) for name in (*sealed(study.out)["sha256"], DONE)}
    for network in filter(is_done, [*study.plan.networks, *backbones_of(study.plan.networks)]):
        found |= dict.fromkeys(network.folder.iterdir(), partial(_use_network, network))
        for frames in network.splits.values():
            found |= dict.fromkeys(frames.folder.iterdir(), partial(_use_store, frames.folder))
    return {path: use for path, use in found.items() if path.stat().st_size}


def _read_all(folder: Path) -> None:
    for name in sealed(folder)["sha256"]:
        whole(folder, name)


def _use_store(folder: Path) -> None:
    Store(folder).check()


def _use_network(network) -> None:
    load_history(network), network.weights(), whole(network.folder, "config.json")
    for split in network.splits:
        load_scores([network], split)
        load_network(network.weights())


def flips(out: Path, seconds: float, draw: random.Random) -> list[str]:
    """Flip random bits of a finished study, and use the file; those that nothing named."""
    os.environ["FASNB_CACHE"] = str(out / "cache")
    files, found, end, count = uses(Study("smoke", out=out / "smoke")), [], time.monotonic() + seconds, 0
    for use in dict.fromkeys(files.values()):
        use()  # nothing may be named before the first flip
    while time.monotonic() < end:
        path = draw.choice(list(files))
        before, status, bit = path.read_bytes(), path.stat(), draw.randrange(8 * path.stat().st_size)
        changed = bytearray(before)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        try:
            files[path]()
            found.append(f"silent: bit {bit} of {path}")
        except (ValueError, OSError) as error:
            found += [] if str(path.parent) in str(error) else [f"not named: bit {bit} of {path}: {error}"]
        path.write_bytes(before)
        count += 1
    print(f"flips: {count:,} in {len(files):,} files")
    return found


def damaged(good: bytes, draw: random.Random) -> bytes:
    """A few changes at random places: a bit, bytes put in, doubled or lost, lines in another order."""
    for _ in range(draw.choice((1, 1, 1, 2, 3, 8))):
        first = draw.randrange(len(good) + 1)
        last = min(len(good), first + draw.choice((0, 0, 1, 2, 5, 40)))
        before, middle, after = good[:first], good[first:last], good[last:]
        lines = good.split(b"\n")
        draw.shuffle(lines)
        flipped = bytes(byte ^ 1 << draw.randrange(8) for byte in middle)
        replaced = draw.choice((flipped, draw.choice(PIECES), middle * 2, b""))
        good = draw.choice((before + replaced + after, before + replaced + after, b"\n".join(lines)))
    return good


def goods(folder: Path) -> dict[str, list[bytes]]:
    """Ending of a file -> good contents."""
    names = [f"Val/0000/{n:06d}" for n in range(4)]
    lists = ["".join(f"{name}-color.jpg {name}-depth.jpg {name}-ir.jpg {n % 2}\n" for n, name in enumerate(names))]
    lists += ["rgb,depth,ir,label\n" + "".join(f"a/{n}-color.jpg,a/{n}-depth.jpg,a/{n}-ir.jpg,1\n" for n in range(3))]
    lists += ["Training/real_part/C1/real.rssdk/color/1.jpg 0\nTraining/fake_part/C1/04_en_b.rssdk/color/101.jpg 1\n"]
    known = {"sample": ["a", "b", "c"], "label": [1, 0, 0], "score": [0.9, 0.1, 0.2], "attack": [0, 1, 2]}
    write_scores(pd.DataFrame(known), folder / "good.parquet")
    toml = (
        b'source = "synthetic"\nseeds = 2\nfprs = [1e-1]\nheadline_fpr = 1e-1\n[experiments.A]\nlearning_rate = 0.1\n'
    )
    scores = {
        "csv": [pd.DataFrame(known).to_csv(index=False).encode()],
        "parquet": [(folder / "good.parquet").read_bytes()],
    }
    settings = [b"1", b"0.5", b"[1e-1, 1e-2]", b"true", b"cpu"]
    return {"txt": [text.encode() for text in lists], "toml": [toml], "setting": settings} | scores


def fuzz(seconds: float, draw: random.Random) -> list[str]:
    """Read damaged files; the errors that no sentence is made of."""
    settings = [*profiles.load("smoke").as_dict(), *profiles.RECIPE_FIELDS, "A.width", "A.blocks", "Q.width"]
    readers = {
        "txt": read_list,
        "toml": lambda path: profiles.load(str(path)),
        "csv": read_scores,
        "parquet": read_scores,
    }
    end, counts, found = time.monotonic() + seconds, Counter(), []
    with tempfile.TemporaryDirectory() as name:
        examples = goods(Path(name))
        while time.monotonic() < end:
            kind = draw.choice(list(examples))
            path, raw = Path(name, f"input.{kind}"), damaged(draw.choice(examples[kind]), draw)
            path.write_bytes(raw)
            try:
                if kind == "setting":
                    profiles.load("smoke", {draw.choice(settings): raw.decode("utf-8", "surrogateescape")})
                else:
                    readers[kind](path)
                counts["accepted"] += 1
            except (ValueError, ArithmeticError, OSError):
                counts["refused"] += 1
            except Exception:  # what is looked for
                found.append(f"{kind}: {raw!r}\n{traceback.format_exc()}")
    print(f"fuzz: {dict(counts)}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5, help="for flips and fuzz together, a half each")
    parser.add_argument("--kills", type=int, default=4)
    parser.add_argument("--only", default="04", help="the notebook whose networks are trained")
    parser.add_argument("--out", type=Path, help="folder for the studies; default a temporary one")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    args = parser.parse_args()
    out = (args.out or Path(tempfile.mkdtemp(prefix="faults-"))).absolute()
    print(f"seed {args.seed}, studies in {out}", flush=True)
    draw, seconds = random.Random(args.seed), 30 * args.minutes
    found = kills(out, args.only, args.kills, draw)
    found += flips(out / "whole", seconds, draw) + fuzz(seconds, draw)
    print("\n".join(found) or "every fault was met")
    return int(bool(found))


if __name__ == "__main__":
    raise SystemExit(main())
