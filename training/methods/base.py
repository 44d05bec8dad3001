# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Base of every training method: task, students, and the wrapper of a frozen teacher."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rgbd_seg_ros.labels import LabelSet
from rgbd_seg_ros.models import NetworkSpec, build, network_spec
from rgbd_seg_ros.models.network import Network
from rgbd_seg_ros.preprocess import Preprocess
from training.batch import Batch, Views
from training.methods.losses import SegmentationLoss
from training.networks import open_network
from training.options import UsageError
from training.pretrained import load_pretrained


@dataclass(frozen=True)
class Task:
    """The learning task, independent of the method: classes, input normalization and loss."""

    labels: LabelSet
    preprocess: Preprocess
    #: What every method minimizes between logits and labels.
    loss: SegmentationLoss = field(default_factory=SegmentationLoss)

    def spec(self, network: str, modality: str, **changes: Any) -> NetworkSpec:
        """The spec of a named network with this task's classes and depth channels."""
        return network_spec(
            network,
            modality=modality,
            num_classes=len(self.labels),
            depth_channels=self.preprocess.depth.channels,
            **changes,
        )

    def network(self, spec: NetworkSpec, pretrained: str = "none") -> Network:
        """A network, initialized by :func:`training.pretrained.load_pretrained`.

        Its attribute ``license`` is the license of its weights, which the run's records state.
        """
        network = build(spec)
        network.license = load_pretrained(network, pretrained, self.preprocess)  # type: ignore[assignment]
        return network

    def teacher(self, source: str, modality: str) -> Frozen:
        """The frozen network of a file, run or bundle, with the students' classes and inputs.

        Args:
            source: path of a network file, a run's folder or a bundle.
            modality: ``rgb``, ``depth`` or ``rgbd``.

        Raises:
            UsageError: no network of that modality, or different classes or normalization.
        """
        network = open_network(Path(source), modality)
        record = network.record
        if record.spec.modality != modality:
            raise UsageError(
                f"{source} contains a network for {record.spec.modality}, not {modality}"
            )
        if record.labels.classes != self.labels.classes:
            raise UsageError(
                f"the teacher {source} has {len(record.labels)} classes "
                f"({', '.join(record.labels.classes[:3])}, …), the dataset has {len(self.labels)} "
                f"({', '.join(self.labels.classes[:3])}, …)"
            )
        keys = {"rgb": ("rgb_mean", "rgb_std"), "depth": ("depth",)}
        for key in keys.get(modality, keys["rgb"] + keys["depth"]):
            theirs, ours = getattr(record.preprocess, key), getattr(self.preprocess, key)
            if theirs != ours:
                raise UsageError(
                    f"the teacher {source} was trained with {key} {theirs}, this run uses {ours}: "
                    "make them equal"
                )
        return Frozen(network.module)


def check_network(name: str, modality: str, width: int = 0, output_stride: int = 0) -> NetworkSpec:
    """The spec of a named network with 40 classes, checked when a recipe is read.

    Raises:
        UsageError: an unknown name, or one that does not take this input, width or stride.
    """
    try:
        return network_spec(name, modality=modality, width=width, output_stride=output_stride)
    except ValueError as error:
        raise UsageError(str(error)) from error


class Method(nn.Module):
    """Base of every method. ``forward(batch)`` returns named, already weighted losses.

    The loop sums, logs and minimizes them without knowing the method. Each loss is a mean over the
    *global* batch (see :mod:`training.methods.losses`), so several ranks train like a single one.
    """

    #: Augmentation: one random draw for both sensors (``shared``) or one for each (``decoupled``).
    views: Views = "shared"
    #: Smallest usable batch, in samples over all ranks; smaller ones are omitted from an epoch.
    min_batch: int = 2

    def __init__(
        self, students: Mapping[str, nn.Module], loss: SegmentationLoss | None = None
    ) -> None:
        super().__init__()
        #: The networks that are saved, keyed ``rgb``, ``depth`` or ``rgbd``.
        self.students = nn.ModuleDict(students)
        #: The only loss between logits and labels, also of auxiliary heads. It has no parameters.
        self.loss = loss or SegmentationLoss()

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        raise NotImplementedError

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Method:
        # A frozen teacher is not a submodule, but has to move to the same device.
        for value in vars(self).values():
            if isinstance(value, Frozen):
                value.module._apply(fn)
        return super()._apply(fn, recurse)


class Frozen:
    """A teacher: in eval mode, without gradient, outside state dict, optimizer and DDP.

    It is not an ``nn.Module``, which keeps it out of all three.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module.eval().requires_grad_(False)

    def __call__(self, *inputs: Tensor) -> Any:
        with torch.no_grad():
            return self.module(*inputs)
