"""The networks against torchvision, the authors' parameter counts and the shapes of Figure 2."""

import pytest
import torch
import torchvision
from torch import nn

from fasnb.model import BACKBONES, Architecture, build, describe, initialise, multiply_adds

TINY = {"width": 0.125, "blocks": (1, 1, 1, 1), "small_images": True}


def frames(count=2, size=44, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(count, 3, size, size, generator=generator) for _ in range(3)]


@pytest.mark.parametrize("name", ["resnet18", "resnet34"])
def test_backbone_is_torchvisions_resnet(name):
    torch.manual_seed(0)
    theirs = getattr(torchvision.models, name)(weights=None).eval()
    for module in theirs.modules():  # statistics that a wrong order of layers would show in
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    network = build(Architecture(name, fusion="se", mlfa=True)).eval()
    initialise(network, theirs.state_dict())
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        levels = network.branches[2].levels(images)
        levels.append(network.aggregation[2].stage(levels[2]))  # a copy of stage 4
        x = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(images))))
        for stage, ours in zip((theirs.layer1, theirs.layer2, theirs.layer3, theirs.layer4), levels, strict=True):
            x = stage(x)
            torch.testing.assert_close(ours, x, rtol=1e-5, atol=1e-5 * float(x.abs().max()))


@pytest.mark.parametrize("name", ["resnet18", "resnet34"])
def test_parts_have_the_multiply_adds_and_parameters_that_torchvision_publishes(name):
    """Theirs has 1000 classes; ours takes 512 channels more into its last stage, by a 3x3 and a 1x1 convolution."""
    published, more = torchvision.models.get_model_weights(name).DEFAULT.meta, 512 * 512 * (9 + 1)
    table = describe(Architecture(name, fusion="concat", mlfa=False), size=224).set_index("part")
    counts = table[table.index.str.match("branch 2|shared")].sum(numeric_only=True)
    assert counts["parameters"] - more + 513 * 1000 == published["num_params"]
    found = (counts["multiply_adds"] - 7 * 7 * more + 512 * 1000) / 1e9
    assert found == pytest.approx(published["_ops"], abs=6e-4)  # three decimals are published


def test_networks_have_the_parameters_that_the_authors_and_the_second_placed_team_count():
    """The latter's 13,336,428 include a batch norm of the three input channels in each branch (6 parameters each)."""
    for backbone, parameters in (("face_resnet34", 61_059_520), ("ir50", 99_335_552)):
        counts = describe(Architecture(backbone, fusion="concat", mlfa=True)).set_index("part")["parameters"]
        assert counts["total"] - counts["head"] == parameters
    zhang = describe(Architecture("resnet18", fusion="zhang", mlfa=False)).set_index("part")["parameters"]
    assert zhang["total"] == 13_336_428 - 3 * 6


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize(("fusion", "mlfa"), [("se", True), ("concat", True), ("se", False), ("zhang", False)])
def test_every_combination_trains_a_step(backbone, fusion, mlfa):
    network = build(Architecture(backbone, fusion, mlfa, **TINY))
    images = frames()
    logits = network(*images)
    assert logits.shape == (2, 2)
    size = network.architecture.embedding_size
    assert network.embed(*images).shape == (2, size) and size == (32 if backbone == "dlib" else 64)
    nn.functional.cross_entropy(logits, torch.tensor([0, 1])).backward()
    unused = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert unused == []


@pytest.mark.parametrize("modality", [0, 1, 2])
def test_one_modality_in_all_branches_ignores_the_others(modality):
    name = ("rgb", "depth", "ir")[modality]
    network = build(Architecture("resnet18", "se", True, modalities=(name,) * 3, **TINY)).eval()
    images, others = frames(seed=1), frames(seed=2)
    others[modality] = images[modality]
    with torch.no_grad():
        torch.testing.assert_close(network(*images), network(*others), rtol=0, atol=0)
        others[modality] = frames(seed=3)[modality]
        assert not torch.allclose(network(*images), network(*others))


def test_squeeze_and_excitation_weighs_each_branch_by_its_own_features():
    network = build(Architecture("resnet34", "se", False, **TINY)).eval()
    features = [torch.randn(2, 32, 3, 3) for _ in range(3)]
    with torch.no_grad():
        fused = network.fusion(features)
        for number, (x, excite) in enumerate(zip(features, network.fusion.excitations, strict=True)):
            pooled = x.mean(dim=(2, 3))
            hidden = torch.relu(pooled @ excite.fc1.weight[:, :, 0, 0].T + excite.fc1.bias)
            factor = torch.sigmoid(hidden @ excite.fc2.weight[:, :, 0, 0].T + excite.fc2.bias)
            torch.testing.assert_close(fused[:, 32 * number : 32 * (number + 1)], x * factor[:, :, None, None])


def test_description_adds_up_and_names_the_modalities_and_too_small_images():
    architecture = Architecture("resnet34", "se", True, modalities=("depth", "depth", "ir"), **TINY)
    table = describe(architecture, size=44)
    total = table.iloc[-1]
    assert total.multiply_adds == multiply_adds(architecture, 44)
    assert total.parameters == sum(p.numel() for p in build(architecture).parameters())
    assert (table.multiply_adds[:-1].sum(), table.parameters[:-1].sum()) == (total.multiply_adds, total.parameters)
    assert table.part[4] == "branch 2 (depth) stem"
    assert table.set_index("part").output["shared stage4"] == (64, 3, 3)
    with pytest.raises(ValueError, match=r"face_resnet34 cannot take images of 44 pixels.*small_images"):
        describe(Architecture("face_resnet34", "concat", True, width=0.125), size=44)


def test_values_that_make_no_network_are_refused():
    for values, message in (
        ({"backbone": "vgg16"}, "backbone 'vgg16' is unknown; choose one of resnet18"),
        ({"fusion": "zhang", "mlfa": True}, "set mlfa to false"),
        ({"width": 0.1}, "width 0.1 must make"),
        ({"blocks": (1, 1, 0, 1)}, "must be four whole numbers"),
        ({"mlfa": "yes"}, "mlfa and small_images must be true or false"),
    ):
        with pytest.raises(ValueError, match=message):
            Architecture(**values)
