# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What runs a network's arithmetic: a dict of backends, each resident and warm once built."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn


class EngineError(ValueError):
    """The engine cannot be set up as asked; the message names the value and the remedy."""


class Backend(Protocol):
    """One network, ready to run: normalized inputs (1×C×h×w each) to logits (1×K×h×w)."""

    def __call__(self, *inputs: Tensor) -> Tensor: ...


class TorchBackend:
    """Eager PyTorch: float32 on the CPU, half precision by autocast on CUDA."""

    def __init__(self, module: nn.Module, device: torch.device) -> None:
        self._device_type = device.type
        self._half = device.type == "cuda"
        self._module = module.to(device).eval()
        if self._half:
            self._module = self._module.to(memory_format=torch.channels_last)

    def __call__(self, *inputs: Tensor) -> Tensor:
        with torch.autocast(self._device_type, dtype=torch.float16, enabled=self._half):
            logits: Tensor = self._module(*inputs).logits
        return logits.float()


BACKENDS: dict[str, Callable[[nn.Module, torch.device], Backend]] = {"torch": TorchBackend}


def resolve_device(device: str) -> torch.device:
    """``auto`` (CUDA when there is one, else the CPU), ``cpu``, ``cuda`` or ``cuda:N``."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, index = device.partition(":")
    if kind not in ("cpu", "cuda") or (index and not (kind == "cuda" and index.isdigit())):
        raise EngineError(f"unknown device {device!r}; known: auto, cpu, cuda, cuda:N")
    if kind == "cuda":
        if not torch.cuda.is_available():
            reason = (
                "this PyTorch was built without CUDA: install the CUDA build for your GPU"
                if not torch.backends.cuda.is_built()
                else "no NVIDIA GPU or driver was found: check nvidia-smi"
            )
            raise EngineError(f"device {device!r} was asked for but {reason}, or use device: auto")
        if index and int(index) >= torch.cuda.device_count():
            raise EngineError(
                f"device {device!r} was asked for but there are {torch.cuda.device_count()} GPUs"
            )
    return torch.device(device)


def resolve_backend(backend: str) -> Callable[[nn.Module, torch.device], Backend]:
    """A backend by name; ``auto`` is the fastest one that runs everywhere."""
    name = "torch" if backend == "auto" else backend
    if name not in BACKENDS:
        raise EngineError(f"unknown backend {backend!r}; known: auto, {', '.join(BACKENDS)}")
    return BACKENDS[name]


def synchronize(device: torch.device) -> None:
    """Wait for the device, so that a clock read next measures finished work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def memory_mb(device: torch.device) -> float | None:
    """GPU memory held by tensors, MiB; None on the CPU."""
    if device.type != "cuda":
        return None
    stats: dict[str, Any] = torch.cuda.memory_stats(device)
    return float(stats["allocated_bytes.all.current"]) / 2**20
