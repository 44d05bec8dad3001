# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Check on the CPU that code can be captured in a CUDA graph."""

from __future__ import annotations

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class NoWaiting(TorchDispatchMode):
    """Fails on operations that make the host wait for the device or copy to it."""

    FORBIDDEN = ("_local_scalar_dense", "nonzero", "_linalg", "masked_select", "unique",
                 "lift_fresh", "equal.default")  # fmt: skip

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        name = str(func)
        assert not any(word in name for word in self.FORBIDDEN), name
        if (
            "index" in name
        ):  # with a boolean index, the host waits for the number of selected elements
            indices = args[1] if isinstance(args[1], (list, tuple)) else args[1:2]
            assert not any(getattr(a, "dtype", None) == torch.bool for a in indices), name
        return func(*args, **(kwargs or {}))
