# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Contracts of every named network: shapes, sizes, gradients, repeatability, export."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rgbd_seg_ros.models import ARCHITECTURES, NETWORKS, NetworkSpec, build, network_spec
from rgbd_seg_ros.models.network import Network, Output

#: One small network of each architecture and encoder family.
SMALL = (
    network_spec("cmx_b0", num_classes=5, width=16),
    network_spec("segformer_b0", num_classes=5, width=16),
    network_spec("segformer_b0", num_classes=5, width=16, modality="depth"),
    network_spec("deeplabv3plus_mit_b0", num_classes=5, width=16),
    network_spec("deeplabv3plus_r18", num_classes=5, width=16, modality="depth"),
    network_spec("deeplabv3plus_r18", num_classes=5, width=16, output_stride=8),
    network_spec("crodino_r18", num_classes=5, width=16),
    network_spec("crodino_mit_b0", num_classes=5, width=16, modality="depth", depth_channels=3),
    network_spec("acnet_r18", num_classes=5, width=16),
    network_spec("cmx_lite0", num_classes=5, width=16),
    network_spec("cmx_r18", num_classes=5, width=16, depth_channels=3),
    network_spec("segformer_r18", num_classes=5, width=16, modality="depth"),
    network_spec("deeplabv3plus_lite0", num_classes=5, width=16, output_stride=8),
    network_spec("crodino_lite0", num_classes=5, width=16, modality="depth"),
    network_spec("acnet_lite0", num_classes=5, width=16),
    network_spec("acnet_mit_b0", num_classes=5, width=16),
)


def label(spec: NetworkSpec) -> str:
    return f"{spec.architecture}-{spec.encoder}-{spec.modality}-{spec.output_stride}-{spec.split}"


small = pytest.mark.parametrize("spec", SMALL, ids=label)


def built(spec: NetworkSpec) -> Network:
    torch.manual_seed(0)
    return build(spec)


def images(spec: NetworkSpec, size: tuple[int, int] = (64, 96), batch: int = 2) -> list[Tensor]:
    torch.manual_seed(1)
    return [torch.randn(batch, channels, *size) for channels in spec.in_channels]


def variants() -> list[tuple[str, NetworkSpec]]:
    """Every named network; the smallest of each kind also with depth and HHA as input."""
    found = list(NETWORKS.items())
    for name, spec in NETWORKS.items():
        if spec.encoder in ("resnet18", "mit_b0"):
            for channels in (1, 3):
                modality = ARCHITECTURES[spec.architecture].modalities[-1]
                changed = network_spec(name, modality=modality, depth_channels=channels)
                found.append((f"{name}-{modality}-{channels}", changed))
    return found


@pytest.mark.parametrize("spec", [pytest.param(s, id=i) for i, s in variants()])
def test_shapes_at_an_odd_size(spec: NetworkSpec) -> None:
    height, width = 75, 101
    with torch.device("meta"), torch.no_grad():
        network = build(spec).eval()
        out = network(*[torch.empty(3, c, height, width) for c in spec.in_channels])
    assert isinstance(out, Output)
    assert out.logits.shape == (3, spec.num_classes, height, width)
    published = [
        (3, c, -(-height // s), -(-width // s))
        for c, s in zip(network.channels, network.strides, strict=True)
    ]
    assert [tuple(f.shape) for f in out.features] == published
    assert network.strides[-1] == spec.output_stride
    assert out.prelogits.shape == (3, spec.width, 19, 26)


@small
@pytest.mark.parametrize("size", [(32, 32), (33, 47), (96, 64)])
def test_runs_at_any_size_and_batch(spec: NetworkSpec, size: tuple[int, int]) -> None:
    network = built(spec).eval()
    with torch.no_grad():
        both = network(*images(spec, size)).logits
        alone = network(*[x[1:] for x in images(spec, size)]).logits
    assert both.shape == (2, 5, *size)
    assert torch.isfinite(both).all()
    torch.testing.assert_close(
        alone, both[1:], atol=1e-4, rtol=1e-4
    )  # samples do not influence each other


@small
def test_gradient_reaches_every_parameter(spec: NetworkSpec) -> None:
    network = built(spec).train()
    target = torch.randint(0, 5, (2, 64, 96))
    torch.nn.functional.cross_entropy(network(*images(spec)).logits, target).backward()
    without = [n for n, p in network.named_parameters() if p.grad is None]
    assert without == []
    still = [n for n, p in network.named_parameters() if not p.grad.abs().sum() > 0]
    # Batch norm cancels such a bias, so its gradient is a rounding error and may be zero.
    assert [n for n in still if not n.endswith("bias")] == []


@small
def test_features_carry_gradient_to_the_encoder(spec: NetworkSpec) -> None:
    network = built(spec).train()
    out = network(*images(spec))
    for part in (*out.features, out.prelogits):
        assert part.requires_grad


@small
def test_a_seed_determines_the_network_and_eval_is_repeatable(spec: NetworkSpec) -> None:
    first, second = built(spec), built(spec)
    assert all(map(torch.equal, first.state_dict().values(), second.state_dict().values()))
    before = {k: v.clone() for k, v in first.state_dict().items()}
    first.eval(), second.eval()
    with torch.no_grad():
        a, b, c = (net(*images(spec)).logits for net in (first, first, second))
    assert torch.equal(a, b)
    assert torch.equal(a, c)
    assert all(map(torch.equal, before.values(), first.state_dict().values()))


@small
def test_training_is_random_and_updates_the_statistics(spec: NetworkSpec) -> None:
    network = built(spec).train()
    inputs = images(spec)
    with torch.no_grad():
        a, b = (network(*inputs).logits for _ in range(2))
    assert not torch.equal(a, b)  # dropout
    means = [v for k, v in network.state_dict().items() if k.endswith("running_mean")]
    assert means
    assert all(mean.abs().sum() > 0 for mean in means)


@small
def test_channels_last_gives_the_same_result(spec: NetworkSpec) -> None:
    network = built(spec).eval()
    inputs = images(spec)
    with torch.no_grad():
        expected = network(*inputs).logits
        network = network.to(memory_format=torch.channels_last)
        found = network(*[x.contiguous(memory_format=torch.channels_last) for x in inputs]).logits
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@small
def test_the_whole_network_can_be_exported(spec: NetworkSpec) -> None:
    """ONNX export and CUDA graphs need networks without data-dependent control flow."""
    network = built(spec).eval()
    inputs = tuple(images(spec, batch=1))
    program = torch.export.export(network, inputs)
    with torch.no_grad():
        out = program.module()(*inputs)
        torch.testing.assert_close(out.logits, network(*inputs).logits, atol=1e-4, rtol=1e-4)


@small
def test_weights_can_be_assigned_to_a_network_on_the_meta_device(spec: NetworkSpec) -> None:
    source = built(spec).eval()
    with torch.device("meta"):
        target = build(spec).eval()
    target.load_state_dict(source.state_dict(), assign=True)
    with torch.no_grad():
        inputs = images(spec)
        assert torch.equal(target(*inputs).logits, source(*inputs).logits)


@small
@pytest.mark.parametrize("shape", [(1, 4, 64, 64), (1, 3, 64, 31), (3, 64, 64)])
def test_inputs_that_do_not_fit_are_refused(spec: NetworkSpec, shape: tuple[int, ...]) -> None:
    network = built(spec).eval()
    inputs = [torch.zeros(shape) for _ in spec.in_channels]
    with pytest.raises(ValueError, match=r"takes B×[13]×H×W .* got " + "×".join(map(str, shape))):
        network(*inputs)


def test_rgb_and_depth_of_different_sizes_are_refused() -> None:
    network = built(SMALL[0]).eval()
    with pytest.raises(
        ValueError, match="must agree in batch and size, got 1×3×64×64 and 1×1×64×96"
    ):
        network(torch.zeros(1, 3, 64, 64), torch.zeros(1, 1, 64, 96))


@pytest.mark.parametrize("name", ["cmx_b0", "segformer_b0"])
def test_one_channel_depth_is_repeated(name: str) -> None:
    modality = NETWORKS[name].modality.replace("rgb", "depth", 1).replace("depthd", "rgbd")
    one = built(network_spec(name, modality=modality, width=16)).eval()
    three = built(network_spec(name, modality=modality, width=16, depth_channels=3)).eval()
    inputs = images(one.spec)
    with torch.no_grad():
        a = one(*inputs).logits
        b = three(*inputs[:-1], inputs[-1].repeat(1, 3, 1, 1)).logits
    torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_every_architecture_has_a_named_network() -> None:
    assert {spec.architecture for spec in NETWORKS.values()} == set(ARCHITECTURES)
