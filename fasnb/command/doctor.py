"""``fasnb doctor``: what is installed, which device, which data and weights are found, what is missing and how to get it."""

import os
import sys
from importlib.metadata import PackageNotFoundError, version

from fasnb.data.casia_surf import find
from fasnb.tools.places import MissingData, home, released_root
from fasnb.training.plan import WEIGHT_FILES

PACKAGES = (
    "torch",
    "torchvision",
    "jupyterlab",
    "papermill",
    "matplotlib",
    "seaborn",
    "pandas",
    "scikit-learn",
    "nbval",
)


def report() -> str:
    """Lines ``ok`` or ``missing``, one a thing that the study can use."""
    lines = [f"python {sys.version.split()[0]}, {os.cpu_count()} logical cores, repository {home().name}"]
    lines += [_package(name) for name in PACKAGES]
    lines += [_device(), _released(), *_casia_surf(), *_weights()]
    return "\n".join(lines)


def _line(found: bool, text: str) -> str:
    return f"{'ok     ' if found else 'missing'} {text}"


def _package(name: str) -> str:
    try:
        return _line(True, f"{name} {version(name)}")
    except PackageNotFoundError:
        return _line(False, f"{name}: install the package with make setup, or pip install -c constraints.txt -e .")


def _device() -> str:
    import torch

    if torch.cuda.is_available():
        return _line(True, f"GPU: {torch.cuda.get_device_name(0)}, {torch.cuda.device_count()} of them")
    return _line(True, "no GPU; the CPU is used, which serves the profiles smoke, tiny, small and released")


def _casia_surf() -> list[str]:
    root = home() / "data" / "casia-surf"
    try:
        layout = find(root)
    except FileNotFoundError as error:
        return [_line(False, str(error))]
    lines = [_line(True, f"CASIA-SURF {split}: {path.relative_to(root)}") for split, path in layout.lists.items()]
    return lines + [_line(False, sentence) for sentence in layout.missing.values()]


def _weights() -> list[str]:
    folder = home() / "data" / "weights"
    return [
        _line((folder / name).is_file(), f"weights of {initialisation!r}: data/weights/{name} (see data/README.md)")
        for initialisation, name in WEIGHT_FILES.items()
    ]


def _released() -> str:
    try:
        return _line(True, f"released scores in {released_root()}")
    except MissingData as error:
        return _line(False, str(error))
