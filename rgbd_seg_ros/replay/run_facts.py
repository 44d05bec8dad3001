# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Facts about a run, by which it can be repeated: inputs, software, weights and machine."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import rgbd_seg_ros
from rgbd_seg_ros.fallback import CoreConfig
from rgbd_seg_ros.inference import Engine

_HERE = Path(__file__).parent
#: Size of the pieces in which files are read.
CHUNK_BYTES = 2**20
#: Packages that decide about masks or their speed.
_PACKAGES = ("torch", "numpy", "cv2", "onnxruntime", "openvino")


def run_facts(
    engine: Engine,
    config: CoreConfig,
    command: Sequence[str] = (),
    inputs: Mapping[str, Path] | None = None,
) -> dict[str, Any]:
    """The key ``run`` of the summary.

    Args:
        engine: of the replay.
        config: parameters of the core; those that differ from the defaults are listed.
        command: words of the command line; empty if there was none.
        inputs: files and folders that decide about the results, by what they are.
    """
    defaults = dataclasses.asdict(CoreConfig())
    return {
        "started": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "command": shlex.join(command) or None,
        "inputs": {
            what: {"path": str(path), "sha256": digest(path)}
            for what, path in (inputs or {}).items()
        },
        "version": rgbd_seg_ros.__version__,
        "commit": commit(),
        "weights_sha256": dict(engine.sha256),
        "backend": engine.description,
        "device": str(engine.device),
        "processor": processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "python": platform.python_version(),
        "packages": {
            name: str(getattr(sys.modules[name], "__version__", "?"))
            for name in _PACKAGES
            if name in sys.modules
        },
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "parameters": {
            key: value
            for key, value in dataclasses.asdict(config).items()
            if value != defaults[key]
        },
    }


def digest(path: Path) -> str | None:
    """The SHA-256 of a file, or that of what `sha256sum *` prints in a folder; None if unreadable.

    Hidden files and folders inside the folder are left out, as the shell does.
    """
    try:
        if not path.is_dir():
            return _file_digest(path)
        files = sorted(f for f in path.iterdir() if f.is_file() and not f.name.startswith("."))
        lines = "".join(f"{_file_digest(file)}  {file.name}\n" for file in files)
    except OSError:
        return None
    return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()


def _file_digest(path: Path) -> str:
    sha256 = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            sha256.update(chunk)
    return sha256.hexdigest()


def commit() -> str | None:
    """The checked-out commit of this package, with ``-dirty`` after changes; None if unknown."""
    command = ("git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*")
    try:
        done = subprocess.run(
            command, cwd=_HERE, capture_output=True, text=True, timeout=10, check=False
        )
        tracked = subprocess.run(
            ("git", "ls-files", "--error-unmatch", Path(__file__).name),
            cwd=_HERE,
            capture_output=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    # An installed package may lie inside another project's checkout.
    return done.stdout.strip() or None if tracked.returncode == 0 else None


def processor() -> str:
    """The name of the processor."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"
