"""Folders of real face images to pre-train on: CASIA-WebFace by identity, AFAD-Lite by gender."""

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image
from torchvision.datasets.folder import IMG_EXTENSIONS, make_dataset
from tqdm.auto import tqdm

from fasnb.data.images import ImageError, open_image

AFAD_GENDERS = {"111": 0, "112": 1}  # folder names of AFAD: male, female


class ImageFolder:
    """A source of image files, decoded on demand to RGB and resized to ``size`` x ``size`` pixels (bilinear).

    ``fingerprint`` covers names, lengths in bytes and labels of the files, the classes and ``size``, not the pixels.
    """

    def __init__(self, root: str | Path, files: Sequence[Path], labels: Sequence[int], names: Sequence[str], size: int):
        self.root, self.files, self.size = Path(root), list(files), size
        self.labels, self.names, self.classes = np.asarray(labels, dtype=np.int64), tuple(names), len(names)
        digest = hashlib.sha256(repr((size, self.names)).encode())
        for path, label in zip(self.files, labels, strict=True):
            digest.update(f"{path.relative_to(root).as_posix()} {path.stat().st_size} {label}\n".encode())
        self.fingerprint = digest.hexdigest()

    def __len__(self) -> int:
        return len(self.files)

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """Images as uint8 (n, 3, size, size). Raises ValueError with the name of a file that is no image."""
        with ThreadPoolExecutor(8) as pool:  # decoding releases the interpreter's lock
            return np.stack(list(pool.map(self._decode, [self.files[int(index)] for index in indices])))

    def check(self, progress: bool = True) -> None:
        """Decode every file once. Raises ValueError with the first ten that are no images, and their number."""
        broken = []
        with ThreadPoolExecutor(8) as pool, tqdm(total=len(self), unit="image", disable=not progress) as bar:
            for problem in pool.map(self._problem, self.files):
                broken += [problem] if problem else []
                bar.update()
        if broken:
            raise ValueError(
                f"{len(broken):,} of {len(self):,} images cannot be used, the first: {'; '.join(broken[:10])}"
            )

    def _problem(self, path: Path) -> str | None:
        try:
            self._decode(path)
        except ValueError as error:
            return str(error)
        return None

    def _decode(self, path: Path) -> np.ndarray:
        try:
            with open_image(path) as image:
                image.draft("RGB", (self.size, self.size))  # a JPEG decodes no larger than needed
                image = image.convert("RGB").resize((self.size, self.size), Image.Resampling.BILINEAR)
        except (OSError, ImageError) as error:
            raise ValueError(f"{path}: it cannot be read as an image ({error}); replace or remove it") from error
        return np.asarray(image).transpose(2, 0, 1)


def identity_folder(root: str | Path, size: int = 112) -> ImageFolder:
    """Face recognition data in the layout of CASIA-WebFace: ``root/identity/*.jpg``, one folder per person.

    Raises FileNotFoundError if ``root`` is missing, ValueError for an empty identity or fewer than two.
    """
    names = _folders(root)
    return _image_folder(root, {name: label for label, name in enumerate(names)}, names, size, "identity/*.jpg")


def gender_folder(root: str | Path, size: int = 112) -> ImageFolder:
    """Gender data in the layout of AFAD-Lite: ``root/age/gender/*.jpg``, gender folders 111 (male) and 112 (female).

    Raises FileNotFoundError if ``root`` is missing, ValueError if it has no image of one gender.
    """
    labels = {f"{age}/{gender}": label for age in _folders(root) for gender, label in AFAD_GENDERS.items()}
    return _image_folder(root, labels, ("male", "female"), size, "age/111/*.jpg and age/112/*.jpg")


def _folders(root: str | Path) -> list[str]:
    if not Path(root).is_dir():
        raise FileNotFoundError(f"{root}: there is no such folder; check the path, or obtain the data (data/README.md)")
    return sorted(folder.name for folder in Path(root).iterdir() if folder.is_dir())


def _image_folder(
    root: str | Path, labels: Mapping[str, int], names: Sequence[str], size: int, layout: str
) -> ImageFolder:
    """The images of the folders in ``labels``, some of which may be absent; every class in ``names`` needs an image."""
    paths = make_dataset(root, labels, IMG_EXTENSIONS, allow_empty=True) if labels else []
    found = [(Path(path), label) for path, label in paths]
    # make_dataset also looks further down, where a folder in the other layout has its images
    found = [(path, label) for path, label in found if path.parent.relative_to(root).as_posix() in labels]
    filled = {label for _, label in found}
    empty = [name for label, name in enumerate(names) if label not in filled]
    if len(names) < 2 or empty:
        which = f"{len(empty)} of {len(names)} classes have no images ({', '.join(empty[:10])})"
        raise ValueError(f"{root}: {which if empty else 'fewer than two classes'}; the layout must be {layout}")
    return ImageFolder(root, [path for path, _ in found], [label for _, label in found], names, size)
