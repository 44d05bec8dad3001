# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Options, markers and fixtures for all tests."""

from __future__ import annotations

import importlib.util
import shutil
import signal
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# A shell starts its background jobs with SIGINT ignored, and so would the commands under test.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--thorough",
        action="store_true",
        help="run 100,000 property-test examples of the fallback",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> object:
    """Restrict launch_testing's plugin, which is active if ROS is sourced, to the launch tests.

    It would import each test file a second time under its bare name, and two files with the same
    name would be an error.
    """
    if "def generate_test_description" in module_path.read_text():
        return None
    return pytest.Module.from_parent(parent, path=module_path)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests that this machine cannot run, and give the reason."""
    reasons = {"gpu": _no_gpu(), "ros": _no_ros()}
    for item in items:
        for marker, reason in reasons.items():
            if reason and item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


def _no_gpu() -> str | None:
    # nvidia-smi first, since importing torch takes seconds.
    if shutil.which("nvidia-smi") is None:
        return "needs an NVIDIA GPU (no nvidia-smi here)"
    import torch

    return None if torch.cuda.is_available() else "needs CUDA, which torch does not find here"


def _no_ros() -> str | None:
    if importlib.util.find_spec("rclpy") is None:
        return "needs ROS 2: source /opt/ros/<distro>/setup.bash"
    return None


@pytest.fixture(scope="session")
def recordings() -> Path:
    """The folder of real recordings beside the checkout; skips the test if it is missing."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real recordings at {folder}")
    return folder


@pytest.fixture(scope="session")
def tiny_bundle():  # type: ignore[no-untyped-def]
    """All three networks with random weights at 64×96, for tests of the code around them."""
    from rigs.bundles import random_bundle

    return random_bundle()


@pytest.fixture(scope="session")
def hha_bundle(tiny_bundle):  # type: ignore[no-untyped-def]
    """As ``tiny_bundle``, but the depth network takes HHA; the fused one takes z-scored depth."""
    import torch

    from rgbd_seg_ros.bundle import Bundle, NetworkRecord, TrainedNetwork
    from rgbd_seg_ros.depth import DepthEncoding
    from rgbd_seg_ros.models import NetworkSpec, build
    from rgbd_seg_ros.preprocess import Preprocess

    torch.manual_seed(1)
    spec = NetworkSpec(architecture="deeplabv3plus", modality="depth", encoder="mit_b0",
                       num_classes=16, width=16, depth_channels=3)  # fmt: skip
    preprocess = Preprocess((64, 96), depth=DepthEncoding.for_hha())
    record = NetworkRecord(spec, preprocess, tiny_bundle.labels, {"method": "none"})
    networks = {**tiny_bundle.networks, "depth": TrainedNetwork(build(spec).eval(), record)}
    return Bundle(tiny_bundle.labels, networks)
