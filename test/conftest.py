# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What every test may ask for: options, markers and the shared recordings."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--thorough", action="store_true", help="100,000 property-test examples of the fallback"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip, with the reason, what this machine cannot run."""
    reasons = {"gpu": _no_gpu(), "ros": _no_ros()}
    for item in items:
        for marker, reason in reasons.items():
            if reason and item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


def _no_gpu() -> str | None:
    # nvidia-smi first: asking torch costs seconds.
    if shutil.which("nvidia-smi") is None:
        return "needs an NVIDIA GPU (no nvidia-smi here)"
    import torch

    return None if torch.cuda.is_available() else "needs CUDA, which torch does not see here"


def _no_ros() -> str | None:
    if importlib.util.find_spec("rclpy") is None:
        return "needs ROS 2: source /opt/ros/<distro>/setup.bash"
    return None


@pytest.fixture(scope="session")
def recordings() -> Path:
    """The folder of real recordings beside the checkout; skips where it is absent."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real recordings at {folder}")
    return folder
