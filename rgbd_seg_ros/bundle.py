# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Networks and bundles on disk: weights as safetensors, everything else as JSON, all verified.

A network is ``NAME.safetensors`` beside ``NAME.json``. A bundle is a directory of up to three
networks, ``rgbd``, ``rgb`` and ``depth``, described by one ``bundle.json``. The JSON describes the
weights completely, so no command line has to repeat any of it. Nothing in either file is ever
executed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as dump_tensors
from torch import Tensor, nn

from rgbd_seg_ros.depth import DepthEncoding
from rgbd_seg_ros.files import write_atomically
from rgbd_seg_ros.frames import NETWORK_NAMES, NetworkName
from rgbd_seg_ros.labels import LabelSet
from rgbd_seg_ros.models import NetworkSpec, build, complete
from rgbd_seg_ros.names import unknown_name
from rgbd_seg_ros.preprocess import Preprocess

FORMAT = "rgbd_seg_bundle"
FORMAT_VERSION = 1
BUNDLE_JSON = "bundle.json"
#: The bundle that is installed with the package and the default of every ``--bundle``.
DEFAULT_BUNDLE = Path(__file__).parent / "bundles" / "default"


class BundleError(ValueError):
    """An invalid or unusable network or bundle; the message gives the reason and the remedy."""


@dataclass(frozen=True)
class NetworkRecord:
    """The complete description of one network's weights."""

    spec: NetworkSpec
    preprocess: Preprocess
    labels: LabelSet
    #: How it was trained: method, dataset, seed, commit, scores.
    training: Mapping[str, Any] = field(default_factory=dict)
    #: SPDX identifier, or a sentence if the weights have their own terms.
    license: str = "Apache-2.0"

    def __post_init__(self) -> None:
        object.__setattr__(self, "spec", complete(self.spec))
        if self.spec.num_classes != len(self.labels):
            raise BundleError(
                f"the network has {self.spec.num_classes} classes but label set "
                f"{self.labels.name!r} has {len(self.labels)}"
            )
        encoded, expected = self.preprocess.depth.channels, self.spec.depth_channels
        if self.spec.modality != "rgb" and encoded != expected:
            raise BundleError(
                f"the network takes {expected} depth channel(s), but encoding "
                f"{self.preprocess.depth.kind!r} has {encoded}"
            )


@dataclass(frozen=True)
class TrainedNetwork:
    """Weights in eval mode together with their record."""

    module: nn.Module
    record: NetworkRecord
    #: SHA-256 of the weights file.
    sha256: str = ""
    #: The weights file; None if the network was not loaded from a file. Files built from the
    #: weights, such as an exported graph, are in the same folder.
    file: Path | None = None


@dataclass(frozen=True)
class Bundle:
    """Up to three networks that share one label set."""

    labels: LabelSet
    networks: Mapping[NetworkName, TrainedNetwork]

    def __post_init__(self) -> None:
        if not self.networks:
            raise BundleError(f"a bundle needs at least one network of {', '.join(NETWORK_NAMES)}")
        for name, network in self.networks.items():
            if name not in NETWORK_NAMES:
                raise BundleError(unknown_name("network", name, NETWORK_NAMES))
            if network.record.spec.modality != name:
                raise BundleError(
                    f"network {name!r} contains weights for {network.record.spec.modality!r}"
                )
            if network.record.labels != self.labels:
                raise BundleError(
                    f"network {name!r} was trained with label set {network.record.labels.name!r}, "
                    f"but the bundle's is {self.labels.name!r}; all networks must share one"
                )


# --- Saving ------------------------------------------------------------------------------------


def save_network(
    path: Path | str,
    module: nn.Module,
    record: NetworkRecord,
    dtype: torch.dtype = torch.float32,
) -> Path:
    """Write ``path`` (``….safetensors``) and its JSON beside it; returns ``path``.

    Only matrices and kernels are converted to ``dtype``. Vectors (biases, norm statistics) stay
    float32: they take little space, and a small variance would underflow in float16.

    Raises:
        BundleError: a weight is NaN or infinite, possibly only in ``dtype``.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise BundleError(f"weights must be saved as NAME.safetensors, got {path.name!r}")
    tensors = {name: _convert(name, t, dtype) for name, t in module.state_dict().items()}
    data = dump_tensors(tensors)
    document = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "labels": asdict(record.labels),
        "network": _record_to_json(record, path.name, hashlib.sha256(data).hexdigest()),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    # Weights first, so that a JSON never describes incomplete weights.
    write_atomically(path, data, fsync=True)
    write_atomically(path.with_suffix(".json"), _dump_json(document), fsync=True)
    return path


def save_bundle(directory: Path | str, bundle: Bundle, dtype: torch.dtype = torch.float16) -> Path:
    """Write a bundle's directory, ``bundle.json`` last; returns the directory."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    networks = {}
    for name, network in bundle.networks.items():
        weights = save_network(
            directory / f"{name}.safetensors", network.module, network.record, dtype
        )
        sidecar = weights.with_suffix(".json")
        networks[name] = json.loads(sidecar.read_text())["network"]
        sidecar.unlink()  # bundle.json has its content
    document = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "labels": asdict(bundle.labels),
        "networks": networks,
    }
    write_atomically(directory / BUNDLE_JSON, _dump_json(document), fsync=True)
    return directory


# --- Loading -----------------------------------------------------------------------------------


def load_bundle(directory: Path | str = DEFAULT_BUNDLE) -> Bundle:
    """Load and verify every network of a bundle, in eval mode on the CPU in float32.

    Raises:
        BundleError: any defect, with the file and the reason.
    """
    directory = Path(directory)
    document = _read_json(directory / BUNDLE_JSON)
    labels = _labels_from_json(document, directory / BUNDLE_JSON)
    entries = document.get("networks")
    if not isinstance(entries, dict):
        raise BundleError(f"{directory / BUNDLE_JSON}: 'networks' is missing or not an object")
    networks = {
        name: _load(directory, entry, labels, f"{directory / BUNDLE_JSON}, network {name!r}")
        for name, entry in entries.items()
    }
    return Bundle(labels, networks)


def load_network(path: Path | str) -> TrainedNetwork:
    """Load and verify one network from its ``.safetensors`` or ``.json`` file.

    Raises:
        BundleError: any defect, with the file and the reason.
    """
    sidecar = Path(path).with_suffix(".json")
    document = _read_json(sidecar)
    labels = _labels_from_json(document, sidecar)
    return _load(sidecar.parent, document.get("network"), labels, str(sidecar))


def _load(directory: Path, entry: Any, labels: LabelSet, where: str) -> TrainedNetwork:
    if not isinstance(entry, dict):
        raise BundleError(f"{where}: the network's description is missing or not an object")
    if "licence" in entry:  # as bundles spelled it before version 0.1.0
        entry = {**entry, "license": entry["licence"]}
        del entry["licence"]
    missing = {"file", "sha256", "spec", "preprocess"} - entry.keys()
    unknown = entry.keys() - {"file", "sha256", "spec", "preprocess", "training", "license"}
    if missing or unknown:
        raise BundleError(
            f"{where}: missing keys {sorted(missing)}, unknown keys {sorted(unknown)}"
        )
    if Path(str(entry["file"])).name != entry["file"]:
        raise BundleError(
            f"{where}: 'file' must be a file name in the same directory, got {entry['file']!r}"
        )
    try:
        record = NetworkRecord(
            spec=NetworkSpec.from_json(entry["spec"]),
            preprocess=_preprocess_from_json(entry["preprocess"]),
            labels=labels,
            training=entry.get("training", {}),
            license=entry.get("license", ""),
        )
        module = build(record.spec)
    except (TypeError, ValueError, KeyError) as error:
        raise BundleError(f"{where}: {error}") from error
    weights = directory / entry["file"]
    module.load_state_dict(_read_tensors(weights, entry["sha256"], module.state_dict()))
    return TrainedNetwork(module.eval(), record, entry["sha256"], weights)


def _read_tensors(path: Path, sha256: str, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BundleError(f"cannot read weights {path}: {error.strerror}") from error
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise BundleError(
            f"{path} has SHA-256 {found[:12]}…, but its JSON says {str(sha256)[:12]}…; "
            "the file is damaged or belongs to another bundle: copy the bundle again"
        )
    try:
        tensors = load_tensors(data)
    except SafetensorError as error:
        raise BundleError(f"{path} is not a safetensors file: {error}") from error
    missing, unknown = expected.keys() - tensors.keys(), tensors.keys() - expected.keys()
    if missing or unknown:
        raise BundleError(
            f"{path} does not match its spec: {len(missing)} keys missing {_some(missing)}, "
            f"{len(unknown)} unknown {_some(unknown)}"
        )
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            raise BundleError(
                f"{path}: {name} is {tuple(tensor.shape)}, but its spec needs "
                f"{tuple(expected[name].shape)}"
            )
        if not torch.isfinite(tensor).all():
            raise BundleError(f"{path}: {name} has NaN or infinite weights; export it again")
    return {name: t.to(expected[name].dtype) for name, t in tensors.items()}


# --- JSON --------------------------------------------------------------------------------------


def _record_to_json(record: NetworkRecord, file: str, sha256: str) -> dict[str, Any]:
    return {
        "file": file,
        "sha256": sha256,
        "spec": record.spec.to_json(),
        "preprocess": asdict(record.preprocess),
        "training": dict(record.training),
        "license": record.license,
    }


def _labels_from_json(document: Mapping[str, Any], path: Path) -> LabelSet:
    try:
        labels = dict(document["labels"])
        labels["classes"] = tuple(labels["classes"])
        labels["palette"] = tuple(tuple(color) for color in labels["palette"])
        return LabelSet(**labels)
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(f"{path}: bad 'labels': {error}") from error


def _preprocess_from_json(value: Mapping[str, Any]) -> Preprocess:
    depth = DepthEncoding(**_tuples(value["depth"]))
    return Preprocess(**{**_tuples(value), "depth": depth})


def _tuples(value: Mapping[str, Any]) -> dict[str, Any]:
    # Unpacking raises a TypeError for any JSON value that is not an object.
    return {key: tuple(v) if isinstance(v, list) else v for key, v in {**value}.items()}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BundleError(
            f"cannot read {path}: {error.strerror}; pass a bundle's directory or a network's file"
        ) from error
    except ValueError as error:
        raise BundleError(f"{path} is not JSON: {error}") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise BundleError(f"{path} is not of format {FORMAT!r}")
    if document.get("version") != FORMAT_VERSION:
        raise BundleError(
            f"{path} has version {document.get('version')}, but this release reads version "
            f"{FORMAT_VERSION}"
        )
    return document


def _dump_json(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()


def _convert(name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    tensor = tensor.detach().cpu().contiguous()
    if tensor.is_floating_point():
        tensor = tensor.to(dtype if tensor.ndim >= 2 else torch.float32)
        if not torch.isfinite(tensor).all():
            raise BundleError(f"weight {name} is NaN or infinite in {dtype}; nothing was saved")
    return tensor


def _some(names: set[str]) -> str:
    shown = sorted(names)[:3]
    return f"({', '.join(shown)}{', …' if len(names) > 3 else ''})" if shown else ""
