"""``fasnb check``: read every byte of a study that has a checksum."""

from collections.abc import Callable, Iterator

from fasnb.data.store import Store
from fasnb.lab.session import Session
from fasnb.model.weights import read
from fasnb.tools.seals import RESULT, check_sums, read_result, whole
from fasnb.training.fit import STATE_FILE
from fasnb.training.runs import load_run


def damages(session: Session) -> list[str]:
    """One sentence for each store, backbone, run or shown file of a study that is there and not as it was written."""
    found = []
    for look in _looks(session):
        try:
            look()
        except (ValueError, OSError) as error:
            found.append(str(error))
    return found


def _looks(session: Session) -> Iterator[Callable]:
    yield from (lambda folder=folder: check_sums(folder) for folder in (session.out, session.published.folder))
    networks, backbones = session.plan.networks, session.plan.backbones.values()
    for folder in dict.fromkeys(folder for network in networks for folder in network.stores.values()):
        if folder.is_dir():
            yield lambda folder=folder: Store.open(folder).check()
    for folder in dict.fromkeys(backbone.folder for backbone in backbones):
        if (folder / RESULT).is_file():
            yield lambda folder=folder: [whole(folder, name) for name in read_result(folder)["sha256"]]
    for network in networks:
        yield lambda network=network: (run := load_run(network)) and run.check()
    for folder in dict.fromkeys(item.folder for item in (*networks, *backbones)):
        if (folder / STATE_FILE).is_file():
            yield lambda folder=folder: read(folder / STATE_FILE)
