"""Real faces to start from: the weights of dlib's face recognition network (King 2017), in dlib's own file format.

The file comes with the package ``face-recognition-models`` (the extra ``faces``) and is read where that is installed;
nothing of the package is imported. It is a sequence of tagged layers, the first layer first. Behind ``con_`` and a
digit stands a tensor (filters, then one bias for each), behind ``affine_`` one of scales, then shifts, behind ``fc_``
and a digit two numbers and a matrix; what else there is says nothing that the network's shape does not. A tensor is a
version, four dimensions, and float32 numbers; a whole number a byte whose low four bits say how many bytes follow,
lowest first.
"""

import math
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from fasnb.model.backbones import Backbone
from fasnb.model.network import ThreeBranchNetwork
from fasnb.tools.machine import MissingData

FILE = "dlib_face_recognition_resnet_model_v1.dat"
DESCRIPTOR = 128  # numbers that dlib gives for a face
_TAG = re.compile(rb"\x01[\x04-\x08](con_|affine_|fc_)\d?")  # behind the length of the name


def installed() -> Path:
    """The file in the installed package. Raises MissingData, which says what to install."""
    spec = find_spec("face_recognition_models")
    for folder in spec.submodule_search_locations if spec else ():
        if (path := Path(folder) / "models" / FILE).is_file():
            return path
    raise MissingData("real faces need an optional package: pip install -c constraints.txt -e .[faces]")


def read_dlib(path: str | Path) -> tuple[dict[str, Tensor], Tensor]:
    """The state dict of ``Backbone("dlib")``, and the matrix (256, 128) that makes its embeddings dlib's descriptors.

    An affine layer, together with the bias of the convolution before it, becomes a batch norm with mean 0 and variance
    1: the same in evaluation mode; for training see ``calibrate``. The filters of a layer are multiplied by one factor,
    and the scales behind them divided by it, so that they are as large as random ones (``initial_weights``): dlib's are
    some ten times smaller, and steps of Adam, which are of one size, would soon wipe them out.
    Raises ValueError where the file is damaged or of another network, and FileNotFoundError.
    """
    path = Path(path)
    with torch.device("meta"):
        backbone = Backbone("dlib")
    parts = [(name, it) for name, it in backbone.named_modules() if isinstance(it, nn.Conv2d | nn.BatchNorm2d)]
    state, bias, factor = {}, torch.zeros(0), torch.ones(())
    try:
        *layers, (_, matrix) = _layers(path.read_bytes())
        for (name, part), (kind, numbers) in zip(parts, layers, strict=True):
            if (kind == "con_") != isinstance(part, nn.Conv2d):
                raise ValueError(f"{kind} in the place of {name}")
            if kind == "con_":
                filters, bias = numbers.tensor_split([-part.out_channels])
                factor = math.sqrt(2 / part.weight[:, 0].numel()) / filters.square().mean().sqrt()
                state[f"{name}.weight"] = factor * filters.reshape(part.weight.shape)
            else:
                scale, shift = numbers.reshape(2, -1)
                values = {"weight": scale / factor * math.sqrt(1 + part.eps), "bias": scale * bias + shift}
                values |= {"running_mean": torch.zeros_like(scale), "running_var": torch.ones_like(scale)}
                values |= {"num_batches_tracked": torch.tensor(0)}
                state |= {f"{name}.{key}": value for key, value in values.items()}
        return state, matrix.reshape(backbone.embedding_size, DESCRIPTOR)
    except (ValueError, IndexError, RuntimeError) as error:
        why = f"it does not hold dlib's face recognition network ({error})"
        raise ValueError(f"{path}: {why}; install the package face-recognition-models again") from error


def _layers(data: bytes) -> Iterator[tuple[str, Tensor]]:
    """Kind and numbers (float32, flat) of every layer with weights."""
    at = 0
    while tag := _TAG.search(data, at):
        kind, at = tag[1].decode(), tag.end()
        if kind == "fc_":
            _, at = _whole_numbers(data, at, 2)
        (_, *dimensions), at = _whole_numbers(data, at, 5)
        end = at + 4 * math.prod(dimensions)
        yield kind, torch.frombuffer(bytearray(data[at:end]), dtype=torch.float32)
        at = end


def _whole_numbers(data: bytes, at: int, count: int) -> tuple[list[int], int]:
    """So many whole numbers from a place on, none of them negative, and the place behind them."""
    numbers = []
    for _ in range(count):
        start, at = at + 1, at + 1 + (data[at] & 15)
        numbers.append(int.from_bytes(data[start:at], "little"))
    return numbers, at


@torch.no_grad()
def calibrate(network: ThreeBranchNetwork, images: list[Tensor], aggregation: bool) -> ThreeBranchNetwork:
    """Make the batch norms that were affine layers ready for training, in place; the output in evaluation mode stays.

    In training a batch norm takes mean and deviation of the batch away first, which an affine layer does not. So each
    gets those that it sees of ``images``, three (N, 3, H, W), as its statistics, and puts them back by its scale and
    shift. ``aggregation``: whether the aggregation stages were affine layers too, or are new.
    """

    def measure(norm: nn.BatchNorm2d, inputs: tuple[Tensor]) -> None:
        variance, mean = torch.var_mean(inputs[0], dim=(0, 2, 3), correction=0)
        before, now = (norm.running_var + norm.eps).sqrt(), (variance + norm.eps).sqrt()
        norm.bias += norm.weight * (mean - norm.running_mean) / before
        norm.weight *= now / before
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)

    parts = ("branches.", "shared.", *(["aggregation."] if aggregation else []))
    named = [(name, it) for name, it in network.named_modules() if isinstance(it, nn.BatchNorm2d)]
    hooks = [norm.register_forward_pre_hook(measure) for name, norm in named if name.startswith(parts)]
    training = network.training
    network.eval()(*images)
    for hook in hooks:
        hook.remove()
    return network.train(training)
