"""Batches against torchvision and PIL on the same images."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms
from torchvision.transforms.v2 import functional as V

from fasnb.data import augment, store
from fasnb.data.casia_surf import CasiaSurf, find, write
from fasnb.paper.recipe import PAPER, RELEASED, Normalisation
from synthsurf.dataset import SynthSurf

RESNET = Normalisation((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
PLAIN = Normalisation((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))  # outputs are pixels / 255
INNER = (..., slice(2, -2), slice(2, -2))


@pytest.fixture(scope="module")
def surf(tmp_path_factory):
    """JPEG files and the store made from them."""
    root = tmp_path_factory.mktemp("surf")
    write(SynthSurf("train", 3, frames_per_video=2, size=140), root)
    source = CasiaSurf(find(root).frames(["train"]), root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FASNB_CACHE", str(root / "cache"))
        return source, store.build_store(source, root / "store", workers=1, progress=False)


@pytest.fixture(scope="module")
def images(surf):
    return surf[1].read(range(len(surf[1])))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def grey_levels(views):
    """Five channels, as in a store, in grey levels; of views that were not normalised."""
    return 255 * torch.cat([views[0], views[1][:, :1], views[2][:, :1]], dim=1)


@pytest.mark.parametrize("mirror", [False, True])
def test_evaluation_equals_the_authors_preparation_of_the_files(surf, images, mirror):
    source, _ = surf
    steps = [transforms.Resize((125, 125)), transforms.CenterCrop(112), transforms.ToTensor()]
    steps += [transforms.RandomHorizontalFlip(1.0)] * mirror + [transforms.Normalize(RESNET.mean, RESNET.std)]
    prepare = transforms.Compose(steps)
    outputs = augment.evaluation(images, PAPER, RESNET, mirror=mirror)
    for row in range(len(images)):
        colour = Image.open(source.path(row, "rgb"))
        others = [Image.open(source.path(row, name)).resize(colour.size, Image.BICUBIC) for name in ("depth", "ir")]
        for image, output in zip([colour, *others], outputs, strict=True):
            torch.testing.assert_close(output[row], prepare(image.convert("RGB")), rtol=0, atol=2e-6)
    assert all(output.is_contiguous(memory_format=torch.channels_last) for output in outputs)


def test_another_stored_size_is_resized_as_pil_does(images):
    found = grey_levels(augment.evaluation(images, PAPER.with_(resize=64, crop=64), PLAIN))
    for image, output in zip(images, found, strict=True):
        pil = Image.fromarray(image[:3].permute(1, 2, 0).numpy()).resize((64, 64), Image.BILINEAR)
        assert (transforms.functional.pil_to_tensor(pil) - output[:3]).abs().max() < 1.01


def test_the_papers_views_are_the_centre_or_its_mirror_image(images):
    before = images.clone()
    views = augment.training(images, PAPER, RESNET, generator())
    straight, mirrored = (augment.evaluation(images, PAPER, RESNET, mirror=mirror) for mirror in (False, True))
    _, _, flip = augment.draw_geometry(len(images), 125, PAPER, generator())
    assert 0 < flip.sum() < len(images) and torch.equal(images, before)
    for view, s, m in zip(views, straight, mirrored, strict=True):
        assert torch.equal(view, torch.where(flip[:, None, None, None], m, s))


def test_random_crop_takes_every_place_and_changes_no_pixel():
    ramp = torch.arange(20).view(1, 1, 20, 1) * 12 + torch.arange(20).view(1, 1, 1, 20) // 2
    images = ramp.expand(400, 5, 20, 20).to(torch.uint8)
    recipe = PAPER.with_(resize=20, crop=17, random_crop=True, flip=0.0)
    rgb, depth, ir = augment.training(images, recipe, PLAIN, generator())
    corners = {round(value.item() * 255) for value in rgb[:, 0, 0, 0]}
    assert corners == {12 * top + left // 2 for top in range(4) for left in range(4)}
    assert torch.equal(rgb, depth) and torch.equal(rgb, ir)


def test_rotation_equals_torchvisions(images):
    """Same angle, bilinear, black corners; torchvision keeps floats here, so up to one grey level."""
    recipe = PAPER.with_(rotation=45.0, flip=0.0, resize=125, crop=125)
    views = grey_levels(augment.training(images, recipe, PLAIN, generator(3)))
    _, angles, _ = augment.draw_geometry(len(images), 125, recipe, generator(3))
    assert angles.abs().max() <= 45 and angles.std() > 10
    for image, view, angle in zip(images, views, angles.tolist(), strict=True):
        expected = V.rotate(image[None].float(), angle, interpolation=V.InterpolationMode.BILINEAR)[0]
        difference = (view - expected).abs()[INNER]
        assert difference.quantile(0.99) < 0.51 and difference.mean() < 0.3  # torchvision blends edges with its mask


def test_random_resized_crop_and_flip_equal_torchvisions():
    """Where a crop is enlarged, torchvision's resize is plain bilinear interpolation as here, save at the rim."""
    noise = torch.randint(0, 256, (24, 5, 8, 8), generator=generator()).float()
    images = torch.nn.functional.interpolate(noise, 125, mode="bicubic").clamp(0, 255).to(torch.uint8)
    recipe = PAPER.with_(scale_low=0.2, crop=112)
    views = grey_levels(augment.training(images, recipe, PLAIN, generator(1)))
    boxes, _, flips = augment.draw_geometry(24, 125, recipe, generator(1))
    compared = 0
    for image, view, (left, top, width, height), flip in zip(images, views, boxes.int().tolist(), flips, strict=True):
        if max(width, height) <= 112:
            expected = V.resized_crop(image.float(), top, left, height, width, [112, 112], antialias=True)
            expected = V.horizontal_flip(expected) if flip else expected
            assert (view - expected)[INNER].abs().max() < 0.6
            compared += 1
    assert compared > 5 and flips.any() and not flips.all()


def test_boxes_are_drawn_as_torchvision_draws_them():
    boxes, *_ = augment.draw_geometry(20000, 125, RELEASED.with_(rotation=0.0), generator())
    torch.manual_seed(0)
    frame = torch.empty(1, 125, 125)
    drawn = [transforms.RandomResizedCrop.get_params(frame, [0.2, 1.0], [3 / 4, 4 / 3]) for _ in range(20000)]
    theirs = torch.tensor(drawn)[:, [1, 0, 3, 2]].float()
    assert (boxes[:, :2] + boxes[:, 2:] <= 125).all() and (boxes[:, :2] >= 0).all()
    ours, other = (drawn.quantile(torch.tensor([0.1, 0.5, 0.9]), dim=0) for drawn in (boxes, theirs))
    assert (ours - other).abs().max() < 2.5
    areas = boxes[:, 2] * boxes[:, 3] / 125**2
    assert 0.19 < areas.min() < 0.21 and areas.max() == 1


def test_colour_changes_rgb_only_as_often_and_as_much_as_the_recipe_says(images):
    many = images.repeat(100, 1, 1, 1)[:, :, 40:60, 40:60].contiguous()
    recipe = PAPER.with_(resize=20, crop=20, flip=0.0, jitter=0.5, jitter_probability=0.2)
    plain = augment.evaluation(many, recipe, PLAIN)
    jittered = augment.training(many, recipe, PLAIN, generator())
    changed = (jittered[0] != plain[0]).flatten(1).any(dim=1).float().mean()
    assert 0.16 < changed < 0.24 and torch.equal(jittered[1], plain[1]) and torch.equal(jittered[2], plain[2])
    grey = augment.training(many, recipe.with_(jitter=0.0, grey_probability=0.2), PLAIN, generator())
    share = ((grey[0][:, 0] == grey[0][:, 1]) & (grey[0][:, 0] == grey[0][:, 2])).flatten(1).all(dim=1)
    expected = V.rgb_to_grayscale(many[share][:, :3].float())
    assert 0.16 < share.float().mean() < 0.24
    assert (grey[0][share][:, :1] * 255 - expected).abs().max() < 0.51
    even = torch.full((400, 5, 8, 8), 100, dtype=torch.uint8)  # where only brightness can change; four share a draw
    recipe = PAPER.with_(resize=8, crop=8, jitter=0.5, jitter_probability=1.0)
    found = 255 * augment.training(even, recipe, PLAIN, generator())[0].mean(dim=(1, 2, 3))
    assert 50 <= found.min() < 55 and 145 < found.max() <= 150 and abs(found.mean() - 100) < 8
    assert torch.equal(found[::4], found[3::4]) and 60 < len(found.unique()) <= 100


def test_an_epoch_holds_every_frame_once_with_its_label_and_another_comes_in_another_order(surf):
    recipe, index, options = PAPER.with_(batch_size=6, flip=0.0), np.arange(3, 23), {"seed": 0, "device": "cpu"}
    drawn, other = (list(augment.batches(surf[1], index, recipe, PLAIN, epoch=epoch, **options)) for epoch in (0, 1))
    assert [len(batch[3]) for batch in drawn] == [6, 6, 6, 2] and not torch.equal(drawn[0][1], other[0][1])
    rgb, labels = torch.cat([batch[0] for batch in drawn]), torch.cat([batch[3] for batch in drawn])
    expected = augment.evaluation(surf[1].read(index), recipe, PLAIN)[0]
    place = [int((expected == view).flatten(1).all(dim=1).nonzero()[0]) for view in rgb]
    assert sorted(place) == list(range(20)) != place
    assert labels.dtype == torch.int64 and labels.tolist() == surf[1].frames["label"].iloc[index[place]].tolist()
