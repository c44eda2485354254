"""Score frames with a trained network (Section 5.2).

The score of a frame is P(bona fide), kept in double precision from the embedding on: TPR at an FPR of 1e-4 depends on
the order of scores that single precision would round to the same 0.0 or 1.0. Digits that are noise are then cut
(``meaningful``).
"""

import copy
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
from fasnb.tools.machine import arithmetic, autocast, choose_device


def score(network: ThreeBranchNetwork, store: Store, rows, recipe: Recipe, **options) -> np.ndarray:
    """P(bona fide) of frames ``rows`` of a store, float64 (n,), with the digits of float32 networks (``meaningful``).

    With ``recipe.mirror`` the mean over the centre crop and its mirror image, as the authors did. Options as of
    ``margins``.
    """
    return meaningful(expit(margins(folded(network), store, rows, recipe, **options)).mean(axis=0))


@torch.inference_mode()
def margins(
    network: ThreeBranchNetwork, store: Store, rows, recipe: Recipe, *, device=None, precision="fp32", batch_size=256
) -> np.ndarray:
    """Logit of bona fide minus logit of attack, float64 (views, n): centre crop and, by the recipe, its mirror image.

    The network is moved to ``device`` and set to evaluation mode. Raises FloatingPointError, with the frame, where one
    is not finite.
    """
    device, rows = choose_device(device), np.asarray(rows, dtype=np.int64)
    network = network.to(device, memory_format=torch.channels_last).eval()
    head, norm = copy.deepcopy(network.head).double(), network.architecture.normalisation
    views = (False, True) if recipe.mirror else (False,)
    found = torch.empty(len(views), len(rows), dtype=torch.float64, device=device)
    with arithmetic(precision):
        for at in range(0, len(rows), batch_size):
            frames = store.read(rows[at : at + batch_size]).to(device, non_blocking=True)
            for view in views:
                images = evaluation(frames, recipe, norm, view)
                with autocast(device, precision == "bf16"):
                    embedding = network.embed(*images)
                logits = head(embedding.double())
                found[int(view), at : at + len(frames)] = logits[:, 1] - logits[:, 0]
    found = found.cpu().numpy()
    if not np.isfinite(found).all():
        frame = store.frames["sample"].iloc[rows[np.argwhere(~np.isfinite(found))[0][-1]]]
        raise FloatingPointError(f"the score of {frame} is not finite; look at the weights of the network")
    return found


def meaningful(scores: np.ndarray, bits: int = 18) -> np.ndarray:
    """Scores rounded to so many binary digits of themselves or of 1 - score, whichever is smaller.

    A margin of float32 networks has a relative error of some 1e-6, further digits are noise, and noise cannot be
    compressed. The order of scores stays, near 0 and near 1 alike; about one frame in a thousand ties with its
    neighbour.
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
