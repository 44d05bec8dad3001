# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Fixtures: a ROS graph restricted to this machine, an installed overlay, nodes and clients."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rigs.bundles import save_tiny_bundle
from rigs.graph import Client, Rig, install_overlay

ROOT = Path(__file__).resolve().parents[2]


def pytest_configure() -> None:
    """Before rclpy.init: use a domain of its own, on the loopback interface only."""
    os.environ.setdefault("RMW_IMPLEMENTATION", "rmw_cyclonedds_cpp")
    os.environ["CYCLONEDDS_URI"] = f"file://{ROOT}/config/cyclonedds_local.xml"
    # Two test runs on one machine must not receive each other's messages.
    os.environ["ROS_DOMAIN_ID"] = str(10 + os.getpid() % 80)


@pytest.fixture(scope="session", autouse=True)
def ros_logs(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Write the logs of all nodes to a folder of this test run."""
    os.environ["ROS_LOG_DIR"] = str(tmp_path_factory.mktemp("ros_logs"))


@pytest.fixture(scope="session", autouse=True)
def overlay(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Install the package for all tests that run with ROS."""
    if "AMENT_PREFIX_PATH" in os.environ:
        install_overlay(tmp_path_factory.mktemp("overlay"))


@pytest.fixture(scope="session")
def bundle_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny bundle on disk."""
    return save_tiny_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="session")
def ros_context() -> Iterator[None]:
    """Initialize rclpy once for all tests of this process."""
    rclpy = pytest.importorskip("rclpy", reason="needs ROS 2")
    rclpy.init()
    yield
    rclpy.try_shutdown()


@pytest.fixture
def make_rig(ros_context: None) -> Iterator[Callable[..., Rig]]:
    """Create rigs, and close them after the test."""
    rigs: list[Rig] = []

    def make(**parameters: Any) -> Rig:
        rigs.append(Rig(**parameters))
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.close()


@pytest.fixture
def rig(make_rig: Callable[..., Rig]) -> Rig:
    """An active node that fuses both streams."""
    rig = make_rig()
    rig.activate()
    rig.mode("RGBD")
    return rig


@pytest.fixture
def make_client(ros_context: None) -> Iterator[Callable[..., Client]]:
    """Create clients, and close them after the test."""
    clients: list[Client] = []

    def make(*args: Any) -> Client:
        clients.append(Client(*args))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def short_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Report silent streams after half a second instead of five."""
    from rgbd_seg_ros.ros import subscription_hints

    monkeypatch.setattr(subscription_hints, "SILENCE_S", 0.5)
