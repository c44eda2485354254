"""Random single-bit flips in all files of a finished study: is each named where the file is next used?

    fasnb run --profile smoke --out DIR
    python benchmarks/flips.py DIR --profile smoke --flips 1000

Of every flip the times of the file stay as they were, as they do when a disk rots. What is then called is what the
package calls before it uses that kind of file; every hundredth flip is also looked for by ``fasnb check``. Prints a table;
"silent" counts flips after which everything was read as if nothing had happened. The bit is flipped back each time.
"""

import argparse
import os
import random
from collections import Counter
from pathlib import Path

import pandas as pd

from fasnb.command.check import damages
from fasnb.command.serve import open_checkpoint
from fasnb.data.store import Store
from fasnb.lab.session import Session
from fasnb.model.weights import read
from fasnb.tools.seals import check_sums, read_result, whole
from fasnb.training.archive import load_history
from fasnb.training.runs import facts_of, load_run


def uses(session: Session) -> dict[Path, object]:
    """Every file with bytes of a finished study -> what uses it, to be called."""
    found = {}

    def add(folder: Path, use) -> None:
        found.update({path: use for path in sorted(folder.rglob("*")) if path.is_file() and path.stat().st_size})

    for name in ("notebooks", "tables", "figures"):
        add(session.out / name, lambda: check_sums(session.out, edited=True))
    found |= {session.out / name: lambda: check_sums(session.out, edited=True) for name in ("report.html", "sums.csv")}
    for folder in {folder for network in session.plan.networks for folder in network.stores.values()}:
        add(folder, lambda folder=folder: Store.open(folder).check())
    for backbone in session.plan.backbones.values():
        add(backbone.folder, lambda backbone=backbone: _use_backbone(session, backbone))
    for network in session.plan.networks:
        add(network.folder, lambda network=network: _use_run(session, network))
    return found


def _use_backbone(session: Session, backbone) -> None:
    read_result(backbone.folder)
    whole(backbone.folder, backbone.file.name)
    read(backbone.file)
    load_history(backbone, session.published)


def _use_run(session: Session, network) -> None:
    run = load_run(network)
    run.history(), run.network(), facts_of(run)
    for split in run.result["splits"]:
        run.scores(split)
    open_checkpoint(network.folder / "checkpoint.pt")


def flip(path: Path, number: int) -> None:
    """Flip one bit of a file; its times stay."""
    status = path.stat()
    with open(path, "r+b") as file:
        file.seek(number // 8)
        byte = file.read(1)[0]
        file.seek(number // 8)
        file.write(bytes([byte ^ 1 << number % 8]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def kind_of(path: Path) -> str:
    names = {"notebooks": "notebooks", "tables": "tables", "figures": "figures"}
    return names.get(path.parent.name, path.name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--profile", default="smoke")
    parser.add_argument("--flips", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    session, draw = Session(args.profile, out=args.out.absolute()), random.Random(args.seed)
    files = uses(session)
    for use in dict.fromkeys(files.values()):
        use()  # nothing may be named before the first flip
    counts, names = Counter(), list(files)
    for number in range(args.flips):
        path = draw.choice(names)
        bit = draw.randrange(8 * path.stat().st_size)
        flip(path, bit)
        try:
            files[path]()
            found = "silent"
        except (ValueError, OSError) as error:
            place = str(path), str(path.parent)
            found = "named" if any(name in str(error) for name in place) else "not named"
        if number % 100 == 0:
            found = found if any(str(path.parent) in sentence for sentence in damages(session)) else "not checked"
        flip(path, bit)
        counts[kind_of(path), found] += 1
    table = pd.Series(counts).unstack(fill_value=0)
    table.loc["all"] = table.sum()
    for column in ("named", "silent"):
        table[column] = table.get(column, 0)
    print(f"{len(names):,} files, {args.flips:,} flips, seed {args.seed}\n{table.to_string()}")


if __name__ == "__main__":
    main()
