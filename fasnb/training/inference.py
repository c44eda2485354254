"""Score frames with trained networks (Section 5.2).

The score of a frame is P(bona fide), kept in double precision from the embedding on: TPR at an FPR of 1e-4 depends on
the order of scores that single precision would round to the same 0.0 or 1.0.
"""

import copy
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from scipy.special import expit
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from fasnb.data.augment import evaluation
from fasnb.data.store import Store
from fasnb.model.network import ThreeBranchNetwork
from fasnb.paper.recipe import Recipe
from fasnb.tools.precision import autocast, exact
from fasnb.tools.workers import choose_device


def score(network: ThreeBranchNetwork, store: Store, index, recipe: Recipe, **options) -> np.ndarray:
    """P(bona fide) of frames ``index``, float64 (n,). See ``score_many``."""
    return score_many([network], store, index, recipe, **options)[0]


def score_many(
    networks: Sequence[ThreeBranchNetwork],
    store: Store,
    index,
    recipe: Recipe,
    *,
    device: str | None = None,
    batch_size: int = 256,
    mirror: bool | None = None,
    precision: str = "fp32",
) -> np.ndarray:
    """P(bona fide) of frames ``index`` by several networks over one pass of the data, float64 (networks, n).

    ``mirror`` (None: as the recipe says) takes the mean of the probabilities of the centre crop and its mirror image,
    as the authors did. Scores have the digits that float32 networks give, see ``meaningful``.

    Raises:
        FloatingPointError: a score is not finite.
    """
    views = margins(
        [folded(network) for network in networks],
        store,
        index,
        recipe,
        device=device,
        batch_size=batch_size,
        mirror=recipe.mirror if mirror is None else mirror,
        precision=precision,
    )
    return meaningful(expit(views).mean(axis=0))


def meaningful(scores: np.ndarray, bits: int = 18) -> np.ndarray:
    """Scores rounded to so many binary digits of themselves or of 1 - score, whichever is smaller.

    A margin of float32 networks has a relative error of some 1e-6, further digits are noise, and noise cannot be
    compressed. The order of scores stays, near 0 and near 1 alike; about one frame in a thousand ties with its neighbour.
    """
    smaller = np.minimum(scores, 1 - scores)
    step = np.ldexp(1.0, np.frexp(smaller)[1] - bits)
    return np.where(smaller > 0, np.round(scores / step) * step, scores)


def folded(network: ThreeBranchNetwork) -> ThreeBranchNetwork:
    """A copy for scoring: every batch norm that follows a convolution is part of it, equal up to rounding."""
    network = copy.deepcopy(network).eval()
    for module in list(network.modules()):
        for (first, conv), (second, norm) in pairwise(list(module.named_children())):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, first, fuse_conv_bn_eval(conv, norm))
                setattr(module, second, nn.Identity())
    return network


@torch.inference_mode()
def margins(
    networks: Sequence[ThreeBranchNetwork],
    store: Store,
    index,
    recipe: Recipe,
    *,
    device: str | torch.device | None = None,
    batch_size: int = 256,
    mirror: bool = False,
    precision: str = "fp32",
) -> np.ndarray:
    """Logit of bona fide minus logit of attack, float64 (views, networks, n); views: centre crop, its mirror image.

    The networks are moved to ``device`` and set to evaluation mode. Raises FloatingPointError if one is not finite.
    """
    device, index = choose_device(device), np.asarray(index, dtype=np.int64)
    networks = [network.to(device, memory_format=torch.channels_last).eval() for network in networks]
    heads = [copy.deepcopy(network.head).double() for network in networks]
    channels = tuple(store.channels.values())
    found = torch.empty(1 + mirror, len(networks), len(index), dtype=torch.float64, device=device)
    with exact(precision):
        for at in range(0, len(index), batch_size):
            frames = store.read(index[at : at + batch_size]).to(device, non_blocking=True)
            for view in range(1 + mirror):
                images = {}
                for k, network in enumerate(networks):
                    norm = network.architecture.normalisation
                    if norm not in images:
                        images[norm] = evaluation(frames, recipe, norm, bool(view), channels=channels)
                    with autocast(device, precision == "bf16"):
                        embedding = network.embed(*images[norm])
                    logits = heads[k](embedding.double())
                    found[view, k, at : at + len(frames)] = logits[:, 1] - logits[:, 0]
    found = found.cpu().numpy()
    if not np.isfinite(found).all():
        frame = store.frames["sample"].iloc[index[np.argwhere(~np.isfinite(found))[0][-1]]]
        raise FloatingPointError(f"the score of {frame} is not finite; look at the weights of the network")
    return found
