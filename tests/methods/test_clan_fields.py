"""Every field of CLAN changes what it says; which maps are read; backbones of every kind."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fgvc_cli.backbones import Backbone, build_backbone
from fgvc_cli.backbones.network import Segment
from fgvc_cli.errors import BadRequest
from fgvc_cli.methods import clan as clan_module
from fgvc_cli.methods.clan import Clan, ContextAttention, Unrefined, middle_maps
from fgvc_cli.spec.build import build_spec
from fgvc_cli.spec.methods.clan import ClanSpec
from tests.methods.common import Build, fit, images


def clan(build: Build, **fields: Any) -> Clan:
    method = build(ClanSpec(**fields))
    assert isinstance(method, Clan)
    return method.eval()


def context(method: Clan, branch: str = "part") -> ContextAttention:
    found = method.context[branch]
    assert isinstance(found, ContextAttention)
    return found


# ---------------------------------------------------------------- fields


@pytest.mark.parametrize(
    ("relation", "function"),
    [
        ("gaussian", "softmax_relation"),
        ("embedded_gaussian", "softmax_relation"),
        ("dot_product", "dot_product_relation"),
    ],
)
def test_field_relation(build: Build, monkeypatch: pytest.MonkeyPatch, relation: str, function: str) -> None:
    """Table 1, without CLSA: θ and φ only where Eq. 6 and 7 have them."""
    method = clan(build, relation=relation, clsa=False)
    calls: list[tuple[int, ...]] = []
    whole = getattr(clan_module, function)

    def told(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        calls.append((query.shape[1], key.shape[1], value.shape[1]))
        result: Tensor = whole(query, key, value)
        return result

    monkeypatch.setattr(clan_module, function, told)
    method(images(2))
    width = 96 if relation == "gaussian" else 48
    assert calls == [(width, width, 48)]
    assert isinstance(context(method).theta, nn.Identity if relation == "gaussian" else nn.Conv2d)


def test_field_context(build: Build) -> None:
    """Table 2: nothing, the non-local block without W_l and W_g, CLCA."""
    plain = clan(build, context="none", clsa=False)
    assert isinstance(plain.context["part"], Unrefined)
    assert list(plain.context.parameters()) == []
    nonlocal_ = context(clan(build, context="nonlocal"))
    assert nonlocal_.context is None
    assert isinstance(nonlocal_.local, nn.Identity)
    middle, top = torch.randn(2, 96, 8, 8), torch.randn(2, 160, 4, 4)
    nn.init.normal_(nonlocal_.y.weight)
    assert torch.equal(nonlocal_(middle, top), nonlocal_(middle, 0 * top))
    full = context(clan(build))
    nn.init.normal_(full.y.weight)
    assert not torch.equal(full(middle, top), full(middle, 0 * top))


def test_context_none_pools_the_backbones_own_map(build: Build) -> None:
    method = clan(build, context="none", clsa=False)
    output = method(images(2), evidence=True)
    assert output.evidence is not None
    own = method.backbone(images(2), ["conv4"])["conv4"]
    assert torch.equal(output.evidence.heads["part"].map, own)


def test_field_clsa(build: Build) -> None:
    method = clan(build, clsa=False)
    output = method(images(2), evidence=True)
    assert list(output.branches) == ["global", "part", "final"]
    assert list(method.losses(output, torch.tensor([0, 1]))) == ["global", "part"]
    assert len(method.attention) == 0
    assert output.evidence is not None
    assert list(output.evidence.maps) == ["global", "part"]


@pytest.mark.parametrize(("pool", "inputs"), [("avg", 1), ("max", 1), ("both", 2)])
def test_field_spatial_pool(build: Build, pool: str, inputs: int) -> None:
    method = clan(build, spatial_pool=pool)
    assert method.get_submodule("attention.part.conv").weight.shape == (1, inputs, 3, 3)


def test_field_scales(build: Build) -> None:
    two, three = clan(build), clan(build, scales=3)
    assert list(two(images(2)).branches) == ["global", "part", "clsa", "g_p", "final"]
    output = three(images(2), evidence=True)
    assert list(output.branches) == ["global", "part", "attr", "clsa", "g_p", "g_p_a", "final"]
    assert output.evidence is not None
    maps = {name: (m.kind, tuple(m.values.shape[1:])) for name, m in output.evidence.maps.items()}
    assert maps == {
        "global": ("cam", (1, 4, 4)),
        "part": ("cam", (1, 8, 8)),
        "attr": ("cam", (1, 16, 16)),
        "clsa": ("cam", (1, 4, 4)),
        "attention_part": ("attention", (1, 8, 8)),
        "attention_attr": ("attention", (1, 16, 16)),
    }
    assert output.evidence.embedding is not None
    assert output.evidence.embedding.shape == (2, 160 + 96 + 48 + 2 * 160)


def test_field_reduction(build: Build) -> None:
    assert context(clan(build, reduction=4)).k.out_channels == 24
    assert context(clan(build, reduction=64)).k.out_channels == 1


def test_field_zero_init(build: Build) -> None:
    assert not any(p.any() for p in context(clan(build)).y.parameters())
    assert all(p.any() for p in context(clan(build, zero_init=False)).y.parameters())


def test_field_attention(build: Build) -> None:
    seen = {}
    for gate in ("sigmoid", "none"):
        evidence = clan(build, attention=gate)(images(2), evidence=True).evidence
        assert evidence is not None
        seen[gate] = evidence.maps["attention_part"].values
    torch.testing.assert_close(seen["none"].sigmoid(), seen["sigmoid"])


def test_field_downsample(build: Build) -> None:
    """By a whole factor of 2 both are the mean of four cells; conv3 is four times as fine as the top map."""
    ways = [clan(build, scales=3, downsample=way) for way in ("average", "bilinear")]
    top = torch.ones(2, 160, 4, 4)
    attention = {"part": torch.rand(2, 1, 8, 8), "attr": torch.rand(2, 1, 16, 16)}
    average, bilinear = (method.attended(top, attention).chunk(2, 1) for method in ways)
    torch.testing.assert_close(average[1], bilinear[1])
    assert not torch.allclose(average[0], bilinear[0])


@pytest.mark.parametrize(
    ("sets", "line"),
    [
        (["context=none", "relation=gaussian"], "relation needs a context"),
        (["clsa=false", "spatial_pool=avg"], "spatial_pool and attention need clsa"),
        (["clsa=false", "attention=none"], "spatial_pool and attention need clsa"),
        (["scales=4"], "method.scales: must be 2 or 3"),
        (["relation=cosine"], "method.relation: must be 'gaussian', 'embedded_gaussian' or 'dot_product'"),
        (["reduction=0"], "method.reduction: must be at least 1"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(sets: list[str], line: str) -> None:
    with pytest.raises(BadRequest) as error:
        build_spec(preset="clan-demo", sets=[f"method.{one}" for one in sets])
    assert line in str(error.value)
    assert len(str(error.value).splitlines()) == 1


# ---------------------------------------------------------------- maps and backbones


@pytest.mark.parametrize(
    ("backbone", "part", "attr"),
    [
        ("vgg16", "conv5_2", "conv4_3"),
        ("vgg16_bn", "conv5_2", "conv4_3"),
        ("vgg19_bn", "conv5_3", "conv4_4"),
        ("resnet18", "conv4", "conv3"),
        ("tiny", "conv4", "conv3"),
    ],
)
def test_the_maps_read(backbone: str, part: str, attr: str) -> None:
    with torch.device("meta"):
        built = build_backbone(backbone)
    assert middle_maps(built, 2) == {"part": part}
    assert middle_maps(built, 3) == {"part": part, "attr": attr}


def test_a_backbone_of_too_few_maps_is_refused() -> None:
    trunk = nn.ModuleDict({"a": nn.Conv2d(3, 4, 3, stride=2), "b": nn.Conv2d(4, 8, 3, stride=2)})
    backbone = Backbone("short", trunk, [Segment("conv1", 4, 2, ("a",)), Segment("conv2", 8, 4, ("b",))], [])
    assert middle_maps(backbone, 2) == {"part": "conv1"}
    with pytest.raises(BadRequest, match=r"method\.scales: 3 maps are needed, but backbone short has 2"):
        Clan(ClanSpec(scales=3), backbone, 5, 64)


@pytest.mark.parametrize("name", ["resnet18", "vgg16", "timm:convnext_atto", "timm:vit_tiny_patch16_224"])
@pytest.mark.parametrize("height", [64, 112])
def test_backbones_of_every_kind(build: Build, name: str, height: int) -> None:
    """A vision transformer's maps all have one stride: nothing is resized."""
    method = build(ClanSpec(scales=3), 5, 64, name).eval()
    with torch.no_grad():
        output = method(images(2, height, 64), evidence=True)
    assert output.logits.shape == (2, 5)
    assert output.logits.isfinite().all()


def test_a_few_steps_fit_a_batch(build: Build) -> None:
    method = build(ClanSpec(scales=3), 3, 48).train()
    batch, labels = images(6, 48, 48), torch.tensor([0, 1, 2, 0, 1, 2])
    fit(method, batch, labels, 12)
    assert all((logits.argmax(1) == labels).all() for logits in method(batch).branches.values())
    assert context(method).y.weight.any()
