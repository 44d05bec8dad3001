# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Choice of a network's backend: the first that can be built and passes the numerical guard."""

from __future__ import annotations

import logging

import torch

from rgbd_seg_ros.bundle import TrainedNetwork
from rgbd_seg_ros.command_line import one_line
from rgbd_seg_ros.engine.artifact_cache import artifact_facts, cached_result
from rgbd_seg_ros.engine.backends import (
    BACKENDS,
    REQUIREMENTS,
    Backend,
    EngineError,
    float32_backend,
    is_exact,
)
from rgbd_seg_ros.engine.guard import FRAMES, MIN_OVERALL, MIN_WORST, MaskAgreement, agreement

LOG = logging.getLogger(__name__)


def open_first(
    network: TrainedNetwork, device: torch.device, names: list[str], *, compare: bool = True
) -> tuple[Backend, str]:
    """Load a network with the first backend that works; also returns its name and why.

    Errors of eager PyTorch are not caught here.

    Args:
        network: the network.
        device: where it runs.
        names: the backends to try, in order.
        compare: whether masks that may differ from those of float32 are compared with them.

    Raises:
        EngineError: none of the backends works.
    """
    reasons: list[str] = []
    for i, name in enumerate(names):
        if is_exact(name, device):
            why = f", because {'; '.join(reasons)}" if reasons else ""
            return BACKENDS[name](network, device), f"{name}{why}"
        try:
            backend = BACKENDS[name](network, device)
            if not compare:
                return backend, name
            found = checked(name, network, device, backend)
        except Exception as error:  # a library's own type, or memory that ran out
            reasons.append(f"{name} failed ({one_line(error) or type(error).__name__})")
        else:
            if found.passed:
                return backend, f"{name}, {found}"
            reasons.append(f"{name} gives {found}, less than {MIN_OVERALL:.0%} or {MIN_WORST:.0%}")
        if i + 1 < len(names):
            modality = network.record.spec.modality
            LOG.warning("network %s: %s; trying %s", modality, reasons[-1], names[i + 1])
    raise EngineError(f"no backend works: {'; '.join(reasons)}; use backend: auto")


def checked(
    name: str, network: TrainedNetwork, device: torch.device, backend: Backend
) -> MaskAgreement:
    """How well a backend's masks agree with float32; known from the cache if nothing changed."""
    facts = artifact_facts(network, REQUIREMENTS[name].packages, f"guard of {name}", device)

    def compare() -> dict[str, float]:
        LOG.info("comparing %s with float32 on %d frames ...", name, FRAMES)
        found = agreement(network, float32_backend(network, device), backend)
        return {"overall": found.overall, "worst": found.worst}

    return MaskAgreement(**cached_result(facts, compare))
