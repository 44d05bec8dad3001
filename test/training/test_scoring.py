# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Inference protocols: multi-scale, flip and windows on networks with known output."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rgbd_seg_ros.preprocess import Preprocess
from training.data.sample import Sample
from training.options import UsageError
from training.scoring import Images, Protocol, make_predictor, offsets, score, stack

CPU = torch.device("cpu")
PREPROCESS = Preprocess((40, 48), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


class Pointwise(nn.Module):
    """Class 1 where red is bright; since each pixel is independent, every protocol agrees."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[tuple[int, ...]] = []

    def forward(self, *inputs: Tensor) -> SimpleNamespace:
        self.sizes.append(tuple(inputs[0].shape[-2:]))
        red = inputs[0][:, :1]
        return SimpleNamespace(logits=torch.cat((-8 * red, 8 * red), dim=1))


class LeftOnly(nn.Module):
    """Class 1 in the left half of the input."""

    def forward(self, x: Tensor) -> SimpleNamespace:
        logits = torch.zeros(x.shape[0], 2, *x.shape[-2:])
        logits[:, 1, :, : x.shape[-1] // 2] = 9
        logits[:, 0, :, x.shape[-1] // 2 :] = 9
        return SimpleNamespace(logits=logits)


def blocks(height: int = 40, width: int = 48) -> tuple[Sample, np.ndarray]:
    truth = (np.arange(width)[None] // 8 + np.arange(height)[:, None] // 8) % 2
    rgb = np.repeat((truth * 255)[..., None], 3, axis=-1).astype(np.uint8)
    return Sample(rgb, np.ones((height, width), np.float32), truth.astype(np.uint8), "b"), truth


@pytest.mark.parametrize(
    "protocol",
    [
        Protocol(),
        Protocol(flip=True),
        Protocol(scales=(0.75, 1.0, 1.25), flip=True),
        Protocol(window=(24, 32), native=True),
        Protocol(window=(24, 32), native=True, scales=(1.0, 2.0), flip=True),
        Protocol(window=(99, 99), native=True),
    ],
)
def test_every_protocol_segments_correctly(protocol: Protocol) -> None:
    sample, truth = blocks()
    ask = make_predictor(Pointwise(), "rgb", PREPROCESS, protocol)
    log_p = ask(stack([sample], CPU))
    assert log_p.shape == (1, 2, 40, 48)
    agree = (log_p.argmax(1)[0].numpy() == truth).mean()
    assert agree > (0.999 if protocol.scales == (1.0,) else 0.9)
    if not protocol.single_pass:
        torch.testing.assert_close(log_p.exp().sum(1), torch.ones(1, 40, 48), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"scales": ()}, "scales above 0"),
        ({"scales": (1.0, -1.0)}, "scales above 0, got 1.0,-1.0"),
        ({"window": (0, 32)}, "two sizes above 0, got 0,32"),
        ({"window": (32, 32), "stride": 1.5}, "stride must be above 0 and at most 1, got 1.5"),
    ],
)
def test_an_invalid_protocol_is_rejected(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Protocol(**values)


def test_a_flip_is_flipped_back() -> None:
    sample, _ = blocks()
    ask = make_predictor(LeftOnly(), "rgb", PREPROCESS, Protocol(flip=True))
    # The left half of the mirrored image is the right half, so the average is undecided.
    torch.testing.assert_close(
        ask(stack([sample], CPU)).exp(), torch.full((1, 2, 40, 48), 0.5), rtol=0, atol=1e-3
    )


def test_the_default_runs_once_at_the_network_size_and_native_at_the_image_size() -> None:
    sample, _ = blocks(80, 96)
    for native, size in ((False, (40, 48)), (True, (80, 96))):
        network = Pointwise()
        make_predictor(network, "rgb", PREPROCESS, Protocol(native=native))(stack([sample], CPU))
        assert network.sizes == [size]


@pytest.mark.parametrize(
    ("length", "window", "stride", "expected"),
    [
        (10, 10, 0.5, [0]),
        (10, 99, 0.5, [0]),
        (10, 4, 0.5, [0, 2, 4, 6]),
        (11, 4, 0.5, [0, 2, 4, 6, 7]),
        (480, 320, 2 / 3, [0, 160]),
    ],
)
def test_windows_cover_the_image(
    length: int, window: int, stride: float, expected: list[int]
) -> None:
    assert offsets(length, window, stride) == expected


def test_modalities_get_their_inputs() -> None:
    class Record(nn.Module):
        def forward(self, *inputs: Tensor) -> SimpleNamespace:
            self.channels = [x.shape[1] for x in inputs]
            return SimpleNamespace(logits=inputs[0][:, :1].repeat(1, 2, 1, 1))

    sample, _ = blocks()
    for modality, channels in (("rgb", [3]), ("depth", [1]), ("rgbd", [3, 1])):
        network = Record()
        ask = make_predictor(network, modality, PREPROCESS, Protocol(scales=(1.0, 1.5), flip=True))
        ask(stack([sample], CPU))
        assert network.channels == channels


def test_score_counts_every_labeled_pixel_at_the_ground_truth_size() -> None:
    samples = []
    for height, width in ((40, 48), (80, 96), (40, 48)):  # one batch has two sizes
        sample, truth = blocks(height, width)
        labels = truth.astype(np.uint8)
        labels[:8] = 255
        samples.append(Sample(sample.rgb, sample.depth_m, labels, "s"))
    ask = make_predictor(Pointwise(), "rgb", PREPROCESS)
    matrix = score({"net": ask}, [samples[:2], samples[2:]], 2, CPU)["net"]
    assert matrix.counts.sum() == 2 * 32 * 48 + 72 * 96
    assert matrix.miou > 0.95
    limited = score({"net": ask}, [samples[:2], samples[2:]], 2, CPU, limit=1)["net"]
    assert limited.counts.sum() == 32 * 48 + 72 * 96


def test_cameras_are_stacked_where_they_are_known() -> None:
    sample, _ = blocks()
    assert stack([sample], CPU).intrinsics is None
    camera = np.eye(3, dtype=np.float32)
    known = Sample(sample.rgb, sample.depth_m, sample.labels, "k", camera, camera[2])
    images = stack([known, known], CPU)
    assert isinstance(images, Images)
    assert images.intrinsics is not None
    assert images.gravity is not None
    assert images.intrinsics.shape == (2, 3, 3)
    assert images.gravity.shape == (2, 3)
