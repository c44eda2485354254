"""Batches against torchvision and PIL on the same images and factors, and against themselves for reproducibility."""

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


@pytest.fixture(scope="module")
def surf(tmp_path_factory):
    """JPEG files and the store made from them."""
    root = tmp_path_factory.mktemp("surf")
    write(SynthSurf("train", 3, frames_per_video=2, size=140), root, workers=1, progress=False)
    source = CasiaSurf(find(root).frames(["train"]), root)
    return source, store.build(source, root / "store", workers=1, progress=False)


@pytest.fixture(scope="module")
def images(surf):
    return surf[1].read(range(len(surf[1])))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


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


def test_outputs_are_channels_last_and_rounded_once(images):
    for output, exact in zip(augment.evaluation(images, PAPER, RESNET, dtype=torch.bfloat16),
                             augment.evaluation(images, PAPER, RESNET), strict=True):  # fmt: skip
        assert output.shape == (len(images), 3, 112, 112) and output.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(output, exact.bfloat16(), rtol=0, atol=0)


def test_another_stored_size_is_resized_as_pil_does(images):
    recipe = PAPER.with_(resize=64, crop=64)
    rgb, *_ = augment.evaluation(images, recipe, PLAIN)
    for image, output in zip(images, rgb, strict=True):
        pil = Image.fromarray(image[:3].permute(1, 2, 0).numpy()).resize((64, 64), Image.BILINEAR)
        assert np.abs(np.asarray(pil) / 255 - output.permute(1, 2, 0).numpy()).max() < 1.01 / 255


def test_nine_channels_and_named_channels(images):
    nine = torch.cat([images[:, :3]] * 3, dim=1)
    rgb, depth, ir = augment.evaluation(nine, PAPER, RESNET)
    assert torch.equal(rgb, depth) and torch.equal(rgb, ir)
    seven = augment.evaluation(nine[:, :7], PAPER, RESNET, channels=(3, 3, 1))
    assert torch.equal(seven[1], depth)
    with pytest.raises(ValueError, match="7 channels"):
        augment.evaluation(nine[:, :7], PAPER, RESNET)


def test_images_that_are_not_bytes_are_refused(images):
    with pytest.raises(ValueError, match="expected uint8"):
        augment.evaluation(images.float(), PAPER, RESNET)


def test_the_papers_views_are_the_centre_or_its_mirror_image(images):
    before = images.clone()
    views = augment.training(images, PAPER, RESNET, generator())
    straight = augment.evaluation(images, PAPER, RESNET)
    mirrored = augment.evaluation(images, PAPER, RESNET, mirror=True)
    flips = [[torch.equal(view[i], m[i]) for i in range(len(images))] for view, m in zip(views, mirrored, strict=True)]
    assert flips[0] == flips[1] == flips[2] and 0 < sum(flips[0]) < len(images)
    for view, s, m in zip(views, straight, mirrored, strict=True):
        chosen = torch.tensor(flips[0]).view(-1, 1, 1, 1)
        assert torch.equal(view, torch.where(chosen, m, s))
    assert torch.equal(images, before)


def test_random_crop_takes_every_place_and_changes_no_pixel():
    ramp = torch.arange(20).view(1, 1, 20, 1) * 12 + torch.arange(20).view(1, 1, 1, 20) // 2
    images = ramp.expand(400, 5, 20, 20).to(torch.uint8)
    recipe = PAPER.with_(resize=20, crop=17, random_crop=True, flip=0.0)
    rgb, depth, ir = augment.training(images, recipe, PLAIN, generator())
    corners = {round(value.item() * 255) for value in rgb[:, 0, 0, 0]}
    assert corners == {12 * top + left // 2 for top in range(4) for left in range(4)}
    assert torch.equal(rgb, depth) and torch.equal(rgb, ir)


ROTATE = PAPER.with_(rotation=45.0, flip=0.0, resize=125, crop=125)


def test_rotation_equals_torchvisions(images):
    """Same angle, bilinear, black corners; torchvision keeps floats here, so up to one grey level."""
    views = augment.training(images, ROTATE, PLAIN, generator(3))
    _, angles, _ = augment.draw_geometry(len(images), 125, ROTATE, generator(3))
    assert angles.abs().max() <= 45 and angles.std() > 10
    for i, angle in enumerate(angles.tolist()):
        expected = V.rotate(images[i : i + 1].float(), angle, interpolation=V.InterpolationMode.BILINEAR)[0]
        inner = (slice(2, -2), slice(2, -2))
        stacked = torch.cat([views[0][i], views[1][i, :1], views[2][i, :1]])
        difference = (stacked * 255 - expected).abs()[(slice(None), *inner)]
        assert difference.quantile(0.99) < 0.51 and difference.mean() < 0.3  # torchvision blends edges with its mask


def test_random_resized_crop_and_flip_equal_torchvisions():
    """Where a crop is enlarged, torchvision's resize is plain bilinear interpolation as here, save at the rim."""
    noise = torch.randint(0, 256, (24, 5, 8, 8), generator=generator()).float()
    images = torch.nn.functional.interpolate(noise, 125, mode="bicubic").clamp(0, 255).to(torch.uint8)
    recipe = PAPER.with_(scale_low=0.2, crop=112)
    views = augment.training(images, recipe, PLAIN, generator(1))
    boxes, _, flips = augment.draw_geometry(24, 125, recipe, generator(1))
    compared = 0
    for i, (left, top, width, height) in enumerate(boxes.int().tolist()):
        if max(width, height) > 112:
            continue
        expected = V.resized_crop(images[i].float(), top, left, height, width, [112, 112], antialias=True)
        expected = V.horizontal_flip(expected) if flips[i] else expected
        stacked = torch.cat([views[0][i], views[1][i, :1], views[2][i, :1]]) * 255
        assert (stacked - expected)[:, 2:-2, 2:-2].abs().max() < 0.6
        compared += 1
    assert compared > 5 and flips.any() and not flips.all()


def test_boxes_are_drawn_as_torchvision_draws_them():
    boxes, *_ = augment.draw_geometry(20000, 125, RELEASED.with_(rotation=0.0), generator())
    torch.manual_seed(0)
    frame = torch.empty(1, 125, 125)
    drawn = [transforms.RandomResizedCrop.get_params(frame, [0.2, 1.0], [3 / 4, 4 / 3]) for _ in range(20000)]
    theirs = torch.tensor(drawn)[:, [1, 0, 3, 2]].float()
    assert (boxes[:, :2] + boxes[:, 2:] <= 125).all() and (boxes[:, :2] >= 0).all()
    for ours, other in zip(boxes.T, theirs.T, strict=True):
        for share in (0.1, 0.5, 0.9):
            assert abs(ours.quantile(share) - other.quantile(share)) < 2.5
    areas = boxes[:, 2] * boxes[:, 3] / 125**2
    assert 0.19 < areas.min() < 0.21 and areas.max() == 1


def test_colour_jitter_equals_torchvisions(images):
    rgb = images[:12, :3].float() / 255
    draw = torch.rand(4, len(rgb), generator=generator())
    brightness, contrast, saturation, hue = 0.5 + draw[0], 0.5 + draw[1], 0.5 + draw[2], draw[3] / 2 - 0.25
    ours = augment.colour_jitter(rgb, brightness, contrast, saturation, hue, order=[2, 0, 3, 1])
    for i, image in enumerate(rgb):
        image = V.adjust_saturation(image, saturation[i].item())
        image = V.adjust_brightness(image, brightness[i].item())
        image = V.adjust_hue(image, hue[i].item())
        image = V.adjust_contrast(image, contrast[i].item())
        torch.testing.assert_close(ours[i], image, rtol=0, atol=1e-4)


def test_hue_keeps_grey_and_turns_red_to_green():
    red = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)
    torch.testing.assert_close(augment.turn_hue(red, torch.tensor(1 / 3)).flatten(), torch.tensor([0.0, 1.0, 0.0]))
    grey = torch.full((1, 3, 2, 2), 0.3)
    assert torch.equal(augment.turn_hue(grey, torch.tensor(0.2)), grey)


def test_colour_changes_rgb_only_and_as_often_as_the_recipe_says(images):
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


@pytest.mark.parametrize("recipe", [PAPER, RELEASED])
def test_same_seed_same_batches_whatever_was_drawn_before(surf, recipe):
    recipe = recipe.with_(batch_size=7)

    def epoch(number, seed=5, **options):
        torch.rand(3)
        options |= {"seed": seed, "epoch": number, "device": "cpu"}
        return list(augment.batches(surf[1], range(24), recipe, RESNET, **options))

    first, again, other, seeded = epoch(3), epoch(3), epoch(4), epoch(3, seed=6)
    assert [len(batch[3]) for batch in first] == [7, 7, 7, 3]
    for one, two in zip(first, again, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert not torch.equal(first[0][1], other[0][1]) and not torch.equal(first[0][1], seeded[0][1])
    later = epoch(3, drop_last=True, first=2)
    assert len(later) == 1 and all(torch.equal(a, b) for a, b in zip(later[0], first[2], strict=True))


def test_an_epoch_holds_every_frame_once_with_its_label(surf):
    index = np.arange(3, 23)
    options = {"seed": 0, "epoch": 0, "device": "cpu", "batch_size": 6}
    ordered = list(augment.batches(surf[1], index, PAPER, PLAIN, shuffle=False, augment=False, **options))
    labels = torch.cat([batch[3] for batch in ordered])
    assert labels.dtype == torch.int64 and labels.tolist() == surf[1].frames["label"].iloc[index].tolist()
    expected = augment.evaluation(surf[1].read(index), PAPER, PLAIN)[0]
    assert torch.equal(torch.cat([batch[0] for batch in ordered]), expected)
    shuffled = list(augment.batches(surf[1], index, PAPER, PLAIN, augment=False, **options))
    sums = torch.cat([batch[0] for batch in shuffled]).sum(dim=(1, 2, 3))
    assert torch.equal(sums.sort().values, expected.sum(dim=(1, 2, 3)).sort().values)
    assert not torch.equal(sums, expected.sum(dim=(1, 2, 3)))


def test_training_needs_labels_and_scoring_does_not(surf, tmp_path):
    unlabelled = store.Store(surf[1].folder)
    unlabelled.frames = unlabelled.frames.assign(label=unlabelled.frames["label"].mask(unlabelled.frames.index == 4))
    options = {"seed": 0, "epoch": 0, "device": "cpu", "shuffle": False}
    with pytest.raises(ValueError, match=f"{unlabelled.frames['sample'][4]} has no label"):
        augment.batches(unlabelled, range(24), PAPER, RESNET, **options)
    ((*_, label),) = augment.batches(unlabelled, range(24), PAPER, RESNET, augment=False, **options)
    assert label[4] == -1 and (label[:4] >= 0).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_sees_the_same_batches(surf):
    options = {"seed": 1, "epoch": 2}
    ours = next(augment.batches(surf[1], range(24), RELEASED, RESNET, device="cpu", **options))
    theirs = next(augment.batches(surf[1], range(24), RELEASED, RESNET, device="cuda", **options))
    for a, b in zip(ours, theirs, strict=True):
        assert (a - b.cpu()).abs().float().quantile(0.99 if a.ndim == 1 else 0.5) < 1e-5
        torch.testing.assert_close(a.float(), b.cpu().float(), rtol=0, atol=0.06)  # two grey levels
