# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Cache of converted networks and of their checks, verified before use and rebuilt if invalid."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch

from rgbd_seg_ros import models
from rgbd_seg_ros.bundle import TrainedNetwork
from rgbd_seg_ros.files import read_json, write_atomically

LOG = logging.getLogger(__name__)
RECORD = "record.json"


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/rgbd_seg_ros`` (XDG Base Directory Specification)."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The specification says that a relative path is to be ignored.
    root = Path(base) if os.path.isabs(base) else Path.home() / ".cache"
    return root / "rgbd_seg_ros"


def artifact_facts(
    network: TrainedNetwork,
    packages: tuple[str, ...],
    precision: str,
    device: torch.device | None = None,
) -> dict[str, Any]:
    """Everything that an artifact depends on; if one of the values changes, it is built again.

    Args:
        network: the network that is converted.
        packages: distributions whose versions matter, besides PyTorch.
        precision: name of the runtime and its precision, for example ``openvino_bf16``.
        device: a CUDA device whose model matters too.
    """
    record = network.record
    return {
        "weights": network.sha256 or _weights_sha256(network),
        "spec": record.spec.to_json(),
        "preprocess": repr(record.preprocess),
        "precision": precision,
        "processor": processor_name(),
        "gpu": torch.cuda.get_device_name(device) if device and device.type == "cuda" else "",
        "code": _code_sha256(),
        "versions": {name: importlib.metadata.version(name) for name in ("torch", *packages)},
    }


def cached_artifact(facts: Mapping[str, Any], build: Callable[[Path], None]) -> Path:
    """The folder of the artifact with these facts; it is built unless a valid one exists.

    Args:
        facts: see :func:`artifact_facts`.
        build: writes the artifact's files into a folder.

    Raises:
        OSError: the cache folder cannot be written.
    """
    folder = cache_folder() / _key(facts)
    problem = _problem(folder, facts)
    if problem is None:
        return folder
    if folder.exists():
        LOG.warning("the cached artifact %s is not valid (%s): building it again", folder, problem)
    LOG.info("converting the %s network for %s ...", facts["spec"]["modality"], facts["precision"])
    started = time.monotonic()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".building-") as made:
        part = Path(made) / "artifact"
        part.mkdir()
        build(part)
        hashes = {path.name: _sha256(path) for path in sorted(part.iterdir())}
        write_atomically(part / RECORD, json.dumps({"facts": facts, "sha256": hashes}))
        shutil.rmtree(folder, ignore_errors=True)
        try:
            part.rename(folder)
        except OSError:
            if _problem(folder, facts) is not None:  # not made by another process meanwhile
                raise
    LOG.info("converted in %.1f s, kept in %s", time.monotonic() - started, folder)
    return folder


def cached_result(
    facts: Mapping[str, Any], compute: Callable[[], dict[str, float]]
) -> dict[str, float]:
    """Numbers that depend on the facts only: read from the cache if they are there, else computed.

    A cache that cannot be read or written only costs the time to compute them again.
    """
    path = cache_folder() / f"{_key(facts)}.json"
    try:
        found = read_json(path)
        numbers = found["result"]
        if found["facts"] == facts and all(type(x) is float for x in numbers.values()):
            return dict(numbers)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    result = compute()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps({"facts": facts, "result": result}))
    except OSError as error:
        LOG.warning("cannot keep a result in %s (%s): it is computed at every start", path, error)
    return result


@cache
def processor_name() -> str:
    """Model of the processor, with its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    of = dict(line.split(":", 1) for line in lines if ":" in line)
    names = {key.strip(): value.strip() for key, value in of.items()}
    # The flags, because a hypervisor may hide instructions of the same model.
    details = names.get("flags") or names.get("Features", "")
    digest = hashlib.sha256(details.encode()).hexdigest()[:8]
    return f"{names.get('model name', platform.processor())} {platform.machine()} {digest}"


def _problem(folder: Path, facts: Mapping[str, Any]) -> str | None:
    """Why the artifact cannot be used; None if it can."""
    try:
        record = read_json(folder / RECORD)
        if record["facts"] != facts:
            return "it was built from something else"
        files = {path.name for path in folder.iterdir()} - {RECORD}
        if files != set(record["sha256"]):
            return "files were added or removed"
        for name, expected in record["sha256"].items():
            if _sha256(folder / name) != expected:
                return f"{name} was changed"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return str(error) or type(error).__name__
    return None


def _key(facts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def _weights_sha256(network: TrainedNetwork) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(network.module.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


@cache
def _code_sha256() -> str:
    """Hash of the code of the networks, which an artifact contains as a graph."""
    folder = Path(models.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
