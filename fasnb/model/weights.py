"""Weights in and out: initialisation from other networks, released checkpoints, our own files.

Three kinds of files are read:

* backbones, to initialise from: torchvision's ImageNet resnets, the face resnet-34 and face.evoLVe's IR-50 in their
  published key layouts, and our own pretrained backbones (``save_backbone``);
* checkpoints released by the paper's authors (``load_released``);
* our own networks (``save_network``, ``load_network``).

Every file is opened with ``weights_only=True``, so a pickle that carries code is refused and not run, and is compared
with what is expected by key and shape before anything is changed. Files of ours, saved states of trainings too, carry a
hash of all they hold, by which damage is noticed. All errors about content are ``WeightsError``, a
``ValueError``; a missing file is ``FileNotFoundError``.
"""

import hashlib
import io
import pickle
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn

from fasnb.model.backbones import Backbone, Stages
from fasnb.model.network import Architecture, ThreeBranchNetwork, build
from fasnb.tools.files import file_sha256, replace_file

State = Mapping[str, Tensor]

RELEASED = {
    "face_resnet34": Architecture("face_resnet34", fusion="concat", mlfa=True),
    "ir50": Architecture("ir50", fusion="concat", mlfa=True),
}

# Our key -> the key in published backbone files, by family; regular expressions applied in order.
_LAYER = (r"\bstage([1-4])\.", r"layer\1.")
_FAMILY_KEYS = {
    "resnet": ((r"\bstem\.conv\.", "conv1."), (r"\bstem\.norm\.", "bn1."), _LAYER),
    "face": (
        (r"\bstem\.conv\.", "conv1."),
        (r"\bstem\.norm\.", "bn1."),
        (r"\bstem\.act\.", "relu."),
        _LAYER,
    ),
    "ir": (
        (r"\bstem\.conv\.", "input_layer.0."),
        (r"\bstem\.norm\.", "input_layer.1."),
        (r"\bstem\.act\.", "input_layer.2."),
        (r"\.residual\.", ".res_layer."),
        (r"\.shortcut\.", ".shortcut_layer."),
        _LAYER,
    ),
}
# Our key -> the authors' key for the parts around the stages.
_RELEASED_KEYS = (
    (r"^branches\.0\.", "rgb_backbone."),
    (r"^branches\.1\.", "depth_backbone."),
    (r"^branches\.2\.", "ir_backbone."),
    (r"^shared\.", ""),
    (r"^aggregation\.(\d)\.stage\.", lambda match: f"agg_layer{int(match[1]) + 1}.agg_layer."),
    (r"^aggregation\.(\d)\.reduce\.", lambda match: f"agg_layer{int(match[1]) + 1}.conv1."),
)
# The classification layers of published backbones, which nothing here uses.
_UNUSED = ("fc.", "output_layer.")


SEAL = "seal"
_OURS = ("architecture", "backbone", "optimiser")  # one of these keys is in each file of ours


class WeightsError(ValueError):
    """A weights file or dictionary that cannot be used; the message says which one, why, and what to do."""


# ---------------------------------------------------------------------------------------------------------------------
# Reading and writing files
# ---------------------------------------------------------------------------------------------------------------------


def read(path: str | Path) -> dict:
    """The dictionary in a weights file, tensors on the CPU, checked against its seal if the file is one of ours.

    Raises ``WeightsError`` and FileNotFoundError.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such weights file; check the path, or obtain it (data/README.md)")
    with open(path, "rb") as file:
        if not file.read(2).startswith((b"PK", b"\x80")):  # an archive, or a pickle of PyTorch before 1.6
            raise WeightsError(f"{path}: it is no PyTorch file; take a file of weights that torch.save wrote")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path}: it is not a plain weights file and was not opened, because it holds more than tensors and plain "
            "values, which could run code; have its owner save the state dictionaries alone"
        ) from error
    except Exception as error:  # a damaged archive can raise nearly anything
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise WeightsError(
            f"{path}: it cannot be read ({reason[:120]}); it may be truncated, obtain it again"
        ) from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path}: it holds a {type(content).__name__}, not a dictionary; take a file of weights")
    seal = content.pop(SEAL, None)
    if seal != _seal(content) and (seal is not None or any(key in content for key in _OURS)):
        raise WeightsError(
            f"{path}: it is damaged, or was written by an earlier version; remove it and make it again, or take another"
        )
    return content


def write(content: dict, path: str | Path) -> None:
    """Save a dictionary of tensors and plain values, with a seal; ``path`` keeps what it had or holds all of it."""
    buffer = io.BytesIO()  # so that it is known what it takes before anything is written
    torch.save(content | {SEAL: _seal(content)}, buffer)
    replace_file(path, lambda temporary: temporary.write_bytes(buffer.getbuffer()), need=buffer.tell())


def _seal(content) -> str:
    """SHA-256 over keys, values and the bytes of all tensors."""
    digest = hashlib.sha256()

    def add(value) -> None:
        if isinstance(value, Tensor):
            digest.update(f"{value.dtype} {tuple(value.shape)}\n".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
        elif isinstance(value, Mapping | list | tuple):
            digest.update(f"{len(value)}\n".encode())
            for part in value.items() if isinstance(value, Mapping) else value:
                add(part)
        else:
            digest.update(f"{type(value).__name__} {value!r}\n".encode())

    add(content)
    return digest.hexdigest()


# ---------------------------------------------------------------------------------------------------------------------
# Our own files
# ---------------------------------------------------------------------------------------------------------------------


def save_network(network: ThreeBranchNetwork, path: str | Path, **about) -> None:
    """Save architecture and weights of a network and, in ``about``, plain values, such as its specification's ``key``."""
    write({"architecture": asdict(network.architecture), "state_dict": _plain(network), "about": about}, path)


def load_network(path: str | Path) -> ThreeBranchNetwork:
    """A network ready to score (evaluation mode), from our own file or from a released checkpoint."""
    content = read(path)
    if "model_state_dict" in content:
        return _released(content, str(path))
    if not {"architecture", "state_dict"} <= content.keys():
        raise WeightsError(f"{path}: it holds no network of ours or of the authors; take a checkpoint of either")
    try:
        architecture = Architecture(**content["architecture"])
    except (TypeError, ValueError) as error:
        raise WeightsError(f"{path}: its architecture is unknown ({error}); take a file of this version") from error
    return _assemble(architecture, _state(content["state_dict"], f"{path}: its state_dict"), str(path))


def save_backbone(backbone: Backbone, path: str | Path, **about) -> None:
    """Save a pretrained backbone with its stages and, in ``about``, plain values that say where it comes from."""
    write({"backbone": asdict(backbone.stages), "state_dict": _plain(backbone), "about": about}, path)


def identities(path: str | Path) -> tuple[str, ...]:
    """What a backbone's weights may be named by: their file's SHA-256 and, in a file of ours, the pre-training's key.

    Raises ``WeightsError`` and FileNotFoundError as ``read`` does.
    """
    about = read(path).get("about")
    key = about.get("key") if isinstance(about, Mapping) else None
    return (file_sha256(path), key) if isinstance(key, str) else (file_sha256(path),)


def _plain(module: nn.Module) -> dict[str, Tensor]:
    """State dict on the CPU in the default memory layout, so that a file does not depend on how a network was run."""
    return {key: value.detach().cpu().contiguous() for key, value in module.state_dict().items()}


# ---------------------------------------------------------------------------------------------------------------------
# Checkpoints of the paper's authors
# ---------------------------------------------------------------------------------------------------------------------


def load_released(checkpoint: str | Path | Mapping) -> ThreeBranchNetwork:
    """A network in the authors' checkpoint format, ready to score: evaluation mode, float32, CPU, head included.

    ``checkpoint`` is a file or a dictionary with ``model_state_dict`` and ``classifier_state_dict``, keys with or
    without the prefix ``module.``. Which of the two released networks it is follows from its keys.
    """
    if isinstance(checkpoint, str | Path):
        return _released(read(checkpoint), str(checkpoint))
    return _released(checkpoint, "checkpoint")


def _released(checkpoint: Mapping, name: str) -> ThreeBranchNetwork:
    if not {"model_state_dict", "classifier_state_dict"} <= checkpoint.keys():
        raise WeightsError(
            f"{name}: it has no model_state_dict and classifier_state_dict; take a checkpoint in the authors' format"
        )
    parts = ("model_state_dict", "classifier_state_dict")
    model, head = (_without_prefix(_state(checkpoint[part], f"{name}: its {part}")) for part in parts)
    if "rgb_backbone.conv1.weight" in model:
        architecture = RELEASED["face_resnet34"]
    elif "rgb_backbone.input_layer.0.weight" in model:
        architecture = RELEASED["ir50"]
    else:
        raise WeightsError(
            f"{name}: its {len(model)} keys belong to neither released network (face resnet-34 or IR-50 with MLFA); "
            "take a checkpoint of one of them"
        )
    given = model | {f"head.{key}": value for key, value in head.items()}
    return _assemble(architecture, given, name, renamed=_released_names(architecture))


def _released_names(architecture: Architecture) -> dict[str, str]:
    """Our key -> the authors' key; the head keeps ``head.``, which their format stores apart."""
    rules = _RELEASED_KEYS + _FAMILY_KEYS[architecture.stages.spec.family]
    with torch.device("meta"):
        return {key: _rename(key, rules) for key in build(architecture).state_dict()}


# ---------------------------------------------------------------------------------------------------------------------
# Initialisation from a backbone (paper, Sections 4.2 and 5.5; the repeated stage 4 as in the released code)
# ---------------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def initialise(
    network: ThreeBranchNetwork, backbone: str | Path | Backbone | State, aggregation: bool = True
) -> ThreeBranchNetwork:
    """Give every branch, the shared stages and the aggregation stages the weights of one backbone, in place.

    ``backbone`` is a file, a ``Backbone`` or a state dict: torchvision's, the face resnet-34's, face.evoLVe's IR-50's
    or our own. Where a shared stage opens with three branches' channels its first weights (and IR-50's first batch
    norm and shortcut) are repeated three times along the input channels, not divided by three. The stages of the
    aggregation blocks take the backbone's only with ``aggregation``, as in the released code; in Section 5.6 they start
    at random. SE blocks, the 1x1 aggregation convolutions and the head keep the weights they have. Raises
    ``WeightsError`` with what is missing, what is extra and where shapes differ, before anything is changed.
    """
    name = str(backbone) if isinstance(backbone, str | Path) else "backbone"
    source = _backbone_state(backbone, network.architecture.stages, name)
    target = network.state_dict()
    for key, value in target.items():
        part, _, rest = key.partition(".")
        if part == "branches":
            _copy(value, source[rest.partition(".")[2]])
        elif part == "shared":
            _copy(value, source[rest])
        elif aggregation and part == "aggregation" and ".stage." in key:
            level, _, inner = rest.partition(".stage.")
            _copy(value, source[f"stage{int(level) + 2}.{inner}"])
    return network


def _copy(target: Tensor, source: Tensor) -> None:
    """Copy, repeating ``source`` three times along the one dimension in which ``target`` has three times as much."""
    repeats = [t // s for t, s in zip(target.shape, source.shape, strict=True)]
    target.copy_(source.repeat(repeats))


def _backbone_state(backbone: str | Path | Backbone | State, stages: Stages, name: str) -> dict[str, Tensor]:
    """The state dict of a backbone under our names, checked against ``stages``."""
    if isinstance(backbone, Backbone):
        given, own = backbone.state_dict(), backbone.stages
    else:
        given = backbone if isinstance(backbone, Mapping) else read(backbone)
        known = given.get("backbone")  # a file of ours says which backbone it is
        own = _stages_of(known, name) if isinstance(known, Mapping) else None
    for wrapper in ("state_dict", "model_state_dict"):
        given = given[wrapper] if isinstance(given.get(wrapper), Mapping) else given
    given = _without_prefix(_state(given, f"{name}: it"))
    with torch.device("meta"):
        expected = Backbone(stages.backbone, stages.width, stages.blocks, stages.small_images).state_dict()
    names = {key: key for key in expected}
    if "stem.conv.weight" not in given:
        names = _published_names(expected, stages)
        given = {key: value for key, value in given.items() if not key.startswith(_UNUSED)}
    state = _matched(expected, given, names, name, f"the backbone {stages.backbone} at width {stages.width:g}")
    # equal shapes are not enough: IR-50 for small images has them too, with its strides in other places
    if own is not None and (own.backbone, own.small_images) != (stages.backbone, stages.small_images):
        raise WeightsError(f"{name}: it is the backbone {own}, the network takes {stages}; take weights made for it")
    return state


def _stages_of(values: Mapping, name: str) -> Stages:
    try:
        return Stages(**values)
    except (TypeError, ValueError) as error:
        raise WeightsError(f"{name}: its backbone is unknown ({error}); take a file of this version") from error


def _published_names(keys: Iterable[str], stages: Stages) -> dict[str, str]:
    """Our key -> the key in a published backbone file of the same family."""
    names = {key: _rename(key, _FAMILY_KEYS[stages.spec.family]) for key in keys}
    if stages.spec.family != "ir":
        return names
    blocks = stages.depths

    def flat(match: re.Match) -> str:  # face.evoLVe numbers the units of all stages in one list
        return f"body.{sum(blocks[: int(match[1]) - 1]) + int(match[2])}."

    return {key: re.sub(r"^layer(\d)\.(\d+)\.", flat, name) for key, name in names.items()}


# ---------------------------------------------------------------------------------------------------------------------
# Comparing keys and shapes
# ---------------------------------------------------------------------------------------------------------------------


def _rename(key: str, rules: Iterable[tuple]) -> str:
    for pattern, replacement in rules:
        key = re.sub(pattern, replacement, key)
    return key


def _state(given, what: str) -> State:
    """``given`` if it maps text to tensors; ``what`` begins the error's sentence."""
    if not isinstance(given, Mapping):
        raise WeightsError(f"{what} is a {type(given).__name__}, not a dictionary of tensors; take a file of weights")
    wrong = [key for key, value in given.items() if not (isinstance(key, str) and isinstance(value, Tensor))]
    if wrong:
        raise WeightsError(
            f"{what} has {len(wrong)} entries that are not text and a tensor, first {wrong[0]!r}; "
            "take a file of weights"
        )
    return given


def _without_prefix(state: State) -> dict[str, Tensor]:
    """Drop ``module.``, which training on several GPUs puts before every key."""
    return {key.removeprefix("module."): value for key, value in state.items()}


def _assemble(
    architecture: Architecture, given: State, name: str, renamed: dict[str, str] | None = None
) -> ThreeBranchNetwork:
    """A network in evaluation mode with copies of ``given``, in float32; ``renamed``: our key -> its key there."""
    with torch.device("meta"):
        network = build(architecture)
    expected = network.state_dict()
    what = f"this ThreeBranchNetwork ({architecture})"
    state = _matched(expected, given, renamed or {key: key for key in expected}, name, what)
    copies = {key: value.to("cpu", expected[key].dtype, copy=True) for key, value in state.items()}
    network.load_state_dict(copies, assign=True)
    return network.eval()


def _matched(expected: State, given: State, names: dict[str, str], source: str, what: str) -> dict[str, Tensor]:
    """``given`` under our keys, or an error with the difference. Missing batch counters (old files) count as zero."""
    missing, shapes, values, state = [], [], [], {}
    for key, value in expected.items():
        found = given.get(names[key])
        if found is None and key.endswith("num_batches_tracked"):
            state[key] = torch.zeros((), dtype=torch.long)
        elif found is None:
            missing.append(names[key])
        elif found.shape != value.shape:
            shapes.append(f"{names[key]} {tuple(found.shape)} instead of {tuple(value.shape)}")
        elif found.is_floating_point() != value.is_floating_point() or not found.isfinite().all():
            values.append(f"{names[key]} {found.dtype}")
        else:
            state[key] = found
    extra = sorted(given.keys() - set(names.values()))
    found = {"missing": missing, "extra": extra, "of another shape": shapes, "of another type or not finite": values}
    if any(found.values()):
        parts = [f"{len(keys)} {kind} ({_first_ten(keys)})" for kind, keys in found.items() if keys]
        raise WeightsError(f"{source}: its weights do not fit {what}: {'; '.join(parts)}; take weights made for it")
    return state


def _first_ten(keys: list[str]) -> str:
    return ", ".join(keys[:10]) + (", ..." if len(keys) > 10 else "")
