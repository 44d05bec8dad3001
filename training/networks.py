# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Opens the trained networks of a run, a bundle or a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from training.options import UsageError

if TYPE_CHECKING:
    from rgbd_seg_ros.bundle import TrainedNetwork


def student_file(run: Path, name: str) -> Path:
    """File of a run's best student; ``name`` is ``rgb``, ``depth`` or ``rgbd``."""
    return run / "best" / f"{name}.safetensors"


def open_networks(path: Path) -> dict[str, TrainedNetwork]:
    """Every network of a run's folder, a bundle's folder or a file, by modality.

    Raises:
        UsageError: a folder without networks.
        BundleError: a file that is missing or not a valid network.
    """
    from rgbd_seg_ros.bundle import load_bundle, load_network

    if _is_bundle(path):
        return dict(load_bundle(path).networks)  # type: ignore[arg-type]
    if not path.is_dir():
        network = load_network(path)
        return {network.record.spec.modality: network}
    files = sorted((path / "best").glob("*.safetensors"))
    if not files:
        raise UsageError(f"{path} is neither a bundle nor a run with a finished validation")
    return {file.stem: load_network(file) for file in files}


def open_network(path: Path, modality: str) -> TrainedNetwork:
    """The network of a modality in a run's or bundle's folder; of a file, its only network.

    Raises:
        UsageError: the folder has no network of this modality.
        BundleError: a file that is missing or not a valid network.
    """
    networks = open_networks(path)
    if not path.is_dir():
        return next(iter(networks.values()))
    if modality not in networks:
        raise UsageError(f"{path} has no network {modality!r}: it has {', '.join(networks)}")
    return networks[modality]


def open_all(paths: list[Path]) -> dict[str, TrainedNetwork]:
    """Every network under the paths, named by modality if that is unique, else by path.

    Raises:
        UsageError: a folder without networks, or networks with different label sets.
        BundleError: a file that is missing or not a valid network.
    """
    found = [
        (modality, f"{path}/{modality}" if _is_bundle(path) else str(network.file), network)
        for path in paths
        for modality, network in open_networks(path).items()
    ]
    modalities = [modality for modality, _, _ in found]
    unique = len(set(modalities)) == len(modalities)
    labels = {network.record.labels for _, _, network in found}
    if len(labels) > 1:
        names = ", ".join(sorted(label_set.name for label_set in labels))
        raise UsageError(f"the networks have different label sets: {names}")
    return {modality if unique else name: network for modality, name, network in found}


def _is_bundle(path: Path) -> bool:
    from rgbd_seg_ros.bundle import BUNDLE_JSON

    return (path / BUNDLE_JSON).is_file()
