"""Weights in and out: backbones to start from (torchvision's resnets, the face resnet-34, face.evoLVe's IR-50,
dlib's network, ours), checkpoints of the paper's authors, and our own networks.

Every file of PyTorch is opened with ``weights_only=True``, so that a pickle that carries code is refused and not run.
All are compared by key and shape before anything is changed. What does not fit is a ``WeightsError``, one sentence that
names the file.
"""

import io
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from fasnb.model.backbones import Backbone, Stages
from fasnb.model.dlib_file import read_dlib
from fasnb.model.network import Architecture, ThreeBranchNetwork, build
from fasnb.model.student import EarlyFusion, Student
from fasnb.tools.files import replace_file

State = Mapping[str, Tensor]
Start = str | Path | Backbone | State

RELEASED_ARCHITECTURES = {name: Architecture(name, fusion="concat") for name in ("face_resnet34", "ir50")}

# Parts of our keys -> parts of the keys in published backbones, by family.
_PUBLISHED = {
    "resnet": {"stem.conv.": "conv1.", "stem.norm.": "bn1.", "stage": "layer"},
    "face": {"stem.conv.": "conv1.", "stem.norm.": "bn1.", "stem.act.": "relu.", "stage": "layer"},
    "ir": {"stem.conv.": "input_layer.0.", "stem.norm.": "input_layer.1.", "stem.act.": "input_layer.2."},
}
_PUBLISHED["ir"] |= {".residual.": ".res_layer.", ".shortcut.": ".shortcut_layer.", "stage": "layer"}
# Parts of our keys -> parts of the keys in the authors' checkpoints, around the stages.
_AUTHORS = {"branches.0.": "rgb_backbone.", "branches.1.": "depth_backbone.", "branches.2.": "ir_backbone."}
_AUTHORS |= {f"aggregation.{n}.stage.": f"agg_layer{n + 1}.agg_layer." for n in range(3)}
_AUTHORS |= {f"aggregation.{n}.reduce.": f"agg_layer{n + 1}.conv1." for n in range(3)} | {"shared.": ""}
_UNUSED = ("fc.", "output_layer.")  # the classification layers of published backbones


class WeightsError(ValueError):
    """A weights file or dictionary that cannot be used; the message says which one, why, and what to do."""


def read(path: str | Path) -> dict:
    """The dictionary in a file of ``torch.save``, on the CPU, its CRC-32 checked. WeightsError, FileNotFoundError."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such weights file; check the path, or obtain it (data/README.md)")
    with open(path, "rb") as file:
        start = file.read(2)
    if not start.startswith((b"PK", b"\x80")):  # an archive, or a pickle of PyTorch before 1.6, which has no checksum
        raise WeightsError(f"{path}: it is no PyTorch file; take a file of weights that torch.save wrote")
    try:
        if start == b"PK" and (damaged := zipfile.ZipFile(path).testzip()):
            raise OSError(f"damaged at {damaged}")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        why = "it is not a plain weights file and was not opened: it holds more than tensors, which could run code"
        raise WeightsError(f"{path}: {why}; have its owner save the state dictionaries alone") from error
    except Exception as error:  # a damaged archive can raise nearly anything
        reason = f"{error}".strip().partition("\n")[0][:120] or type(error).__name__
        raise WeightsError(f"{path}: it cannot be read ({reason}); it may be truncated, obtain it again") from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path}: it holds a {type(content).__name__}, not a dictionary; take a file of weights")
    return content


def write(content: dict, path: str | Path) -> None:
    """Save a dictionary of tensors and plain values, equal ones to equal bytes; ``path`` keeps its old or gets all."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    replace_file(path, lambda temporary: temporary.write_bytes(buffer.getbuffer()))


def save_network(network: ThreeBranchNetwork | Student | Backbone, path: str | Path, **about) -> None:
    """Save what a network or a backbone is, its weights and, in ``about``, plain values, such as the ``key``."""
    made = {"backbone": network.stages} if isinstance(network, Backbone) else {"architecture": network.architecture}
    known = {name: asdict(value) for name, value in made.items()}
    # on the CPU in the default memory layout, so that a file does not depend on how a network was run
    state = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    write(known | {"state_dict": state, "about": about}, path)


def load_network(path: str | Path) -> ThreeBranchNetwork | Student:
    """A network ready to score (evaluation mode, float32, CPU), from our file or the authors'. Errors as ``read``."""
    content = read(path)
    if "model_state_dict" in content:
        return load_released(content, str(path))
    if not {"architecture", "state_dict"} <= content.keys():
        raise WeightsError(f"{path}: it holds no network of ours or of the authors; take a checkpoint of either")
    try:
        kind = EarlyFusion if "channels" in content["architecture"] else Architecture
        architecture = kind(**content["architecture"])
    except (TypeError, ValueError) as error:
        raise WeightsError(f"{path}: its architecture is unknown ({error}); take a file of this version") from error
    return _assemble(architecture, _tensors(content["state_dict"], f"{path}: its state_dict"), str(path), {})


def load_released(checkpoint: str | Path | Mapping, name: str = "checkpoint") -> ThreeBranchNetwork:
    """A network in the authors' checkpoint format, ready to score: evaluation mode, float32, CPU, head included.

    ``checkpoint`` is a file or a dictionary (``name``: in errors) with model_state_dict and classifier_state_dict; its
    keys say which of the two released networks it is. Raises ``WeightsError`` and FileNotFoundError.
    """
    if isinstance(checkpoint, str | Path):
        return load_released(read(checkpoint), str(checkpoint))
    parts = ("model_state_dict", "classifier_state_dict")
    if not set(parts) <= checkpoint.keys():
        raise WeightsError(f"{name}: it has no {' and '.join(parts)}; take a checkpoint in the authors' format")
    model, head = (_tensors(checkpoint[part], f"{name}: its {part}") for part in parts)
    architecture = RELEASED_ARCHITECTURES["ir50" if "rgb_backbone.input_layer.0.weight" in model else "face_resnet34"]
    names = _AUTHORS | _PUBLISHED[architecture.stages.spec.family]
    return _assemble(architecture, model | {f"head.{key}": value for key, value in head.items()}, name, names)


@torch.no_grad()
def initialise(network: ThreeBranchNetwork, backbone: Start, aggregation: bool = True) -> ThreeBranchNetwork:
    """Give every branch, the shared stages and the aggregation stages the weights of one backbone, in place.

    ``backbone`` is a file (``.dat``: dlib's), a ``Backbone`` or a state dict. Where a shared stage opens with three
    branches' channels its first weights (and IR-50's first batch norm and shortcut) are repeated three times along the
    input channels, not divided by three. The stages of the aggregation blocks take the backbone's only with
    ``aggregation``, as in the released code; in Section 5.6 they start at random. SE blocks, the 1x1 aggregation
    convolutions and the head keep the weights they have. Raises ``WeightsError`` before anything is changed, and
    FileNotFoundError.
    """
    source = _backbone_state(backbone, network.architecture.stages)
    names = {f"branches.{n}.": "" for n in range(3)} | {"shared.": ""}
    names |= {f"aggregation.{n}.stage.": f"stage{n + 2}." for n in range(3)} if aggregation else {}
    for key, target in network.state_dict().items():
        value = source.get(_renamed(key, names))
        if value is not None:
            target.copy_(value.repeat([t // s for t, s in zip(target.shape, value.shape, strict=True)]))
    return network


def _backbone_state(backbone: Start, stages: Stages) -> dict[str, Tensor]:
    """The state dict of a backbone under our names, checked against ``stages``."""
    name = str(backbone) if isinstance(backbone, str | Path) else "backbone"
    if isinstance(backbone, Backbone):
        backbone = {"backbone": asdict(backbone.stages), "state_dict": backbone.state_dict()}
    if isinstance(backbone, str | Path):
        backbone = read_dlib(backbone)[0] if name.endswith(".dat") else read(backbone)
    given = backbone
    own = given.get("backbone")  # a file of ours says which backbone it is
    for wrapper in ("state_dict", "model_state_dict"):
        given = given[wrapper] if isinstance(given.get(wrapper), Mapping) else given
    given = _tensors(given, f"{name}: it")
    # equal shapes are not enough: IR-50 for small images has them too, with its strides in other places
    takes = {"backbone": stages.backbone, "small_images": stages.small_images}
    if isinstance(own, Mapping) and not takes.items() <= own.items():
        raise WeightsError(f"{name}: it is the backbone {own}, the network takes {stages}; take weights made for it")
    with torch.device("meta"):
        expected = Backbone(stages.backbone, stages.width, stages.blocks, stages.small_images).state_dict()
    parts = {}
    if "stem.conv.weight" not in given:
        parts = dict(_PUBLISHED[stages.spec.family])
        given = {key: value for key, value in given.items() if not key.startswith(_UNUSED)}
        if stages.spec.family == "ir":  # face.evoLVe numbers the units of all stages in one list
            units = [f"layer{stage}.{unit}." for stage in range(1, 5) for unit in range(stages.depths[stage - 1])]
            parts |= {unit: f"body.{number}." for number, unit in enumerate(units)}
    return _matched(expected, given, parts, name, f"the backbone {stages.backbone} at width {stages.width:g}")


def _renamed(key: str, parts: Mapping[str, str]) -> str:
    for ours, theirs in parts.items():
        key = key.replace(ours, theirs)
    return key


def _tensors(given, what: str) -> dict[str, Tensor]:
    """``given`` without ``module.``, which training on several GPUs puts before every key; ``what`` begins an error."""
    pairs = given.items() if isinstance(given, Mapping) else [(None, None)]
    if not all(isinstance(key, str) and isinstance(value, Tensor) for key, value in pairs):
        raise WeightsError(f"{what} is not a dictionary of names and tensors; take a file of weights")
    return {key.removeprefix("module."): value for key, value in given.items()}


def _assemble(architecture, given: State, name: str, parts: Mapping[str, str]) -> ThreeBranchNetwork | Student:
    """A network in evaluation mode with copies of ``given``, in float32; ``parts`` of keys have other names there."""
    with torch.device("meta"):
        network = build(architecture)
    expected = network.state_dict()
    state = _matched(expected, given, parts, name, f"this network ({architecture})")
    copies = {key: value.to("cpu", expected[key].dtype, copy=True) for key, value in state.items()}
    network.load_state_dict(copies, assign=True)
    return network.eval()


def _matched(expected: State, given: State, parts: Mapping, source: str, what: str) -> dict[str, Tensor]:
    """``given`` under our keys, or an error with the difference. Missing batch counters (old files) count as zero."""
    names, zero = {key: _renamed(key, parts) for key in expected}, torch.zeros((), dtype=torch.long)
    state = {key: given.get(names[key], zero if key.endswith("num_batches_tracked") else None) for key in expected}
    there = {key: value for key, value in state.items() if value is not None}
    shapes = {key: f"{tuple(value.shape)} instead of {tuple(expected[key].shape)}" for key, value in there.items()}
    wrong = {
        "missing": [names[key] for key in expected if key not in there],
        "extra": sorted(given.keys() - set(names.values())),
        "of another shape": [f"{names[k]} {shapes[k]}" for k in there if there[k].shape != expected[k].shape],
        "not finite": [names[key] for key, value in there.items() if not value.isfinite().all()],
    }
    if any(wrong.values()):
        said = [f"{len(k)} {kind} ({', '.join(k[:10] + ['...'] * (len(k) > 10))})" for kind, k in wrong.items() if k]
        raise WeightsError(f"{source}: its weights do not fit {what}: {'; '.join(said)}; take weights made for it")
    return state
