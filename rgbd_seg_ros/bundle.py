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
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as dump_tensors
from torch import Tensor, nn

from rgbd_seg_ros.bundle_json import labels_from_json, preprocess_from_json, without_nan
from rgbd_seg_ros.files import (
    InputFileError,
    read_json,
    read_regular_file,
    regular_file_inside,
    write_atomically,
)
from rgbd_seg_ros.frames import NETWORK_NAMES, NetworkName
from rgbd_seg_ros.labels import LabelSet
from rgbd_seg_ros.models import NetworkSpec, build, complete
from rgbd_seg_ros.names import shown, unknown_name
from rgbd_seg_ros.preprocess import Preprocess

FORMAT = "rgbd_seg_bundle"
FORMAT_VERSION = 1
BUNDLE_JSON = "bundle.json"
#: Decoders wider than this are built only if the weights file has their weights. Published ones
#: have up to 768 channels; 4096 would take 4 GB.
MAX_USUAL_WIDTH = 1024
#: Space for the header of a weights file, per tensor and in all, in bytes.
HEADER_BYTES = (1024, 2**20)
#: Types of weights.
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
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

    Only regular files inside the directory are read, and no more than their description needs.

    Raises:
        BundleError: any defect, with the file and the reason.
    """
    path = Path(directory) / BUNDLE_JSON
    document = _read_document(path)
    labels = _labels_from_json(document, path)
    entries = document.get("networks")
    if not isinstance(entries, dict):
        raise BundleError(f"{path}: 'networks' is missing or not an object")
    for name in entries:
        if name not in NETWORK_NAMES:
            raise BundleError(f"{path}: {unknown_name('network', name, NETWORK_NAMES)}")
    networks = {
        name: _load(path.parent, entry, labels, f"{path}, network {name!r}")
        for name, entry in entries.items()
    }
    return Bundle(labels, networks)


def load_network(path: Path | str) -> TrainedNetwork:
    """Load and verify one network from its ``.safetensors`` or ``.json`` file.

    Raises:
        BundleError: any defect, with the file and the reason.
    """
    path = Path(path)
    if not path.name:
        raise BundleError(f"{str(path)!r} is not the file of a network")
    sidecar = path.with_suffix(".json")
    document = _read_document(sidecar)
    labels = _labels_from_json(document, sidecar)
    network = _load(sidecar.parent, document.get("network"), labels, str(sidecar))
    if path.suffix == ".safetensors" and network.file != path:
        raise BundleError(
            f"{sidecar} describes {network.file}, not {path}: rename the file or correct 'file'"
        )
    return network


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
            f"{where}: missing keys {sorted(missing)}, unknown keys {shown(sorted(unknown))}"
        )
    training, license = entry.get("training", {}), entry.get("license", "")
    if not isinstance(training, dict) or not isinstance(license, str):
        raise BundleError(f"{where}: 'training' must be an object and 'license' text")
    if entry["file"] != Path(str(entry["file"])).name:
        raise BundleError(
            f"{where}: 'file' must be a file name in the same directory, got "
            f"{shown(entry['file'])}"
        )
    try:
        record = NetworkRecord(
            spec=NetworkSpec.from_json(entry["spec"]),
            preprocess=preprocess_from_json(entry["preprocess"]),
            labels=labels,
            training=training,
            license=license,
        )
        huge = record.spec.width > MAX_USUAL_WIDTH
        with torch.device("meta") if huge else nullcontext():  # meta: shapes without memory
            module = build(record.spec)
        weights = regular_file_inside(directory, entry["file"])
    # Impossible combinations of numbers can fail anywhere in PyTorch.
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise BundleError(f"{where}: {_short(error)}") from error
    tensors = _read_tensors(weights, entry["sha256"], module.state_dict())
    if huge:  # its weights exist, so its memory is needed
        module = build(record.spec)
    module.load_state_dict(tensors)
    return TrainedNetwork(module.eval(), record, entry["sha256"], weights)


def _read_tensors(path: Path, sha256: object, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    most = sum(8 * tensor.numel() + HEADER_BYTES[0] for tensor in expected.values())
    try:
        data = read_regular_file(path, most + HEADER_BYTES[1])
    except InputFileError as error:
        raise BundleError(str(error)) from error
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise BundleError(
            f"{path} has SHA-256 {found[:12]}…, but its JSON says {shown(sha256)[1:13]}…; "
            "the file is damaged or belongs to another bundle: copy the bundle again"
        )
    try:
        tensors = load_tensors(data)
    # An unknown type is a KeyError, an impossible shape a RuntimeError or ValueError.
    except (SafetensorError, ArithmeticError, LookupError, RuntimeError, ValueError) as error:
        raise BundleError(f"{path} is not a safetensors file: {_short(error)}") from error
    missing, unknown = expected.keys() - tensors.keys(), tensors.keys() - expected.keys()
    if missing or unknown:
        raise BundleError(
            f"{path} does not match its spec: {len(missing)} keys missing {_some(missing)}, "
            f"{len(unknown)} unknown {_some(unknown)}"
        )
    for name, tensor in tensors.items():
        wanted = expected[name]
        if tensor.shape != wanted.shape:
            raise BundleError(
                f"{path}: {name} is {tuple(tensor.shape)}, but its spec needs "
                f"{tuple(wanted.shape)}"
            )
        # Without 8-bit floats, which torch.isfinite does not know.
        kinds = FLOATS if wanted.is_floating_point() else (wanted.dtype,)
        if tensor.dtype not in kinds:
            raise BundleError(
                f"{path}: {name} has type {tensor.dtype}, but its spec needs {wanted.dtype}"
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
        "training": without_nan(record.training),
        "license": record.license,
    }


def _labels_from_json(document: Mapping[str, Any], path: Path) -> LabelSet:
    try:
        return labels_from_json(document.get("labels"))
    except ValueError as error:
        raise BundleError(f"{path}: bad 'labels': {_short(error)}") from error


def _read_document(path: Path) -> dict[str, Any]:
    try:
        document = read_json(path)
    except InputFileError as error:
        hint = "" if "JSON" in str(error) else "; pass a bundle's directory or a network's file"
        raise BundleError(f"{error}{hint}") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise BundleError(f"{path} is not of format {FORMAT!r}")
    if document.get("version") != FORMAT_VERSION:
        raise BundleError(
            f"{path} has version {shown(document.get('version'))}, but this release reads version "
            f"{FORMAT_VERSION}"
        )
    return document


def _short(error: Exception) -> str:
    """The error in one line of at most 300 characters."""
    return " ".join(str(error).split())[:300]


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
    first = [shown(name)[1:-1] for name in sorted(names)[:3]]
    return f"({', '.join(first)}{', …' if len(names) > 3 else ''})" if first else ""
