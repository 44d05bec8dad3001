# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""`rgbd_seg doctor`: checks the installation and prints a line with a remedy for each problem."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import platform
import re
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

OLDEST_TORCH = (2, 4)
#: CycloneDDS and Fast DDS drop large images if the kernel's receive buffer is smaller than this.
RECEIVE_BUFFER_BYTES = 4 * 2**20


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    #: ``fail``: the package does not work. ``warn``: it works, with restrictions.
    level: Literal["ok", "warn", "fail"]
    subject: str
    text: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `rgbd_seg doctor`."""
    parser.add_argument("--bundle", type=Path, metavar="DIR", help="default: the shipped bundle")
    parser.add_argument("--json", action="store_true", help="print the findings as JSON on stdout")


def run(args: argparse.Namespace) -> int:
    """Print all findings; returns 1 if one of them is ``fail``."""
    findings = [
        Finding("ok", "python", f"{platform.python_version()} on {platform.machine()}"),
        check_torch(),
        check_cuda(),
        *(check_module(name, package) for name, package in NEEDED.items()),
        *(_import_finding(name, "warn", remedy) for name, remedy in OPTIONAL.items()),
        check_ros(),
        check_receive_buffer(),
        check_bundle(args.bundle),
    ]
    if args.json:
        print(json.dumps([asdict(finding) for finding in findings]))
    else:
        for finding in findings:
            print(f"{finding.level:4}  {finding.subject:12}  {finding.text}")
    return 1 if any(finding.level == "fail" for finding in findings) else 0


#: Required modules, and the packages that contain them.
NEEDED = {
    "numpy": "numpy",
    "cv2": "opencv-python-headless",
    "yaml": "pyyaml",
    "safetensors": "safetensors",
}


#: Modules that only some inputs and commands need, and their remedies.
OPTIONAL = {
    "rosbags": "to replay bags: pip install rosbags",
    "tqdm": "to replay bags: pip install tqdm",
    "jinja2": "for the report of `rgbd_seg replay --out`: pip install jinja2",
    "av": "to read H.264, H.265, AV1 and VP9 video: pip install av",
}


def check_torch() -> Finding:
    """Check that PyTorch can be imported and is recent enough."""
    try:
        torch = importlib.import_module("torch")
    except ImportError as error:
        return Finding(
            "fail",
            "torch",
            f"cannot be imported ({error}); install the build for this machine from "
            "https://pytorch.org/get-started (Jetson: NVIDIA's wheel for your JetPack)",
        )
    version = re.match(r"(\d+)\.(\d+)", torch.__version__)  # also in 2.4rc1 and 2.5.0a0+git1
    if version is None:
        text = f"version {torch.__version__} has an unknown form; 2.4 or later is required"
        return Finding("warn", "torch", text)
    if tuple(map(int, version.groups())) < OLDEST_TORCH:
        return Finding("fail", "torch", f"{torch.__version__}; version 2.4 or later is required")
    return Finding("ok", "torch", torch.__version__)


def check_cuda() -> Finding:
    """Check that PyTorch can use a GPU."""
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        return Finding("warn", "cuda", "cannot be checked without torch")
    if torch.cuda.is_available():
        name = torch.cuda.get_device_name()
        return Finding("ok", "cuda", f"{torch.version.cuda} on {name}")
    has_gpu = shutil.which("nvidia-smi") is not None or Path("/etc/nv_tegra_release").exists()
    if not torch.backends.cuda.is_built():
        level: Literal["warn", "fail"] = "fail" if has_gpu else "warn"
        return Finding(level, "cuda", "this PyTorch is a CPU build; install the CUDA build")
    remedy = "check the driver with nvidia-smi" if has_gpu else "the CPU is used, which is slow"
    return Finding("warn", "cuda", f"PyTorch finds no usable GPU; {remedy}")


def check_module(name: str, package: str) -> Finding:
    """Check that a required module can be imported."""
    return _import_finding(name, "fail", f"pip install {package}")


def check_ros() -> Finding:
    """Check that rclpy, which only the node needs, can be imported."""
    if importlib.util.find_spec("rclpy") is None:
        return Finding(
            "warn", "ros", "no rclpy; to run the node: source /opt/ros/<distro>/setup.bash"
        )
    try:
        importlib.import_module("rclpy")
    except ImportError as error:
        return Finding("fail", "ros", f"rclpy is installed but cannot be imported: {error}")
    return Finding("ok", "ros", os.environ.get("ROS_DISTRO", "unknown distribution"))


def check_receive_buffer() -> Finding:
    """Check that the kernel's receive buffer is large enough for camera images over DDS."""
    path = Path("/proc/sys/net/core/rmem_max")
    if not path.exists():
        return Finding("ok", "network", "not a Linux kernel; nothing to check")
    size = int(path.read_text())
    if size < RECEIVE_BUFFER_BYTES:
        return Finding(
            "warn",
            "network",
            f"net.core.rmem_max is {size}; DDS may drop images: run "
            f"sysctl -w net.core.rmem_max={RECEIVE_BUFFER_BYTES}",
        )
    return Finding("ok", "network", f"net.core.rmem_max is {size}")


def check_bundle(directory: Path | None) -> Finding:
    """Check that the bundle can be loaded and that its hashes match."""
    try:
        bundle_module = importlib.import_module("rgbd_seg_ros.bundle")
    except ImportError as error:
        return Finding("fail", "bundle", f"cannot be checked: {error}")
    directory = directory or bundle_module.DEFAULT_BUNDLE
    try:
        bundle = bundle_module.load_bundle(directory)
    except bundle_module.BundleError as error:
        return Finding("fail", "bundle", str(error))
    networks = ", ".join(bundle.networks)
    return Finding("ok", "bundle", f"{networks}; {len(bundle.labels)} classes; {directory}")


def _import_finding(name: str, level: Literal["warn", "fail"], remedy: str) -> Finding:
    try:
        module = importlib.import_module(name)
    # A module built for another numpy raises AttributeError or SystemError, not ImportError.
    except Exception as error:
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        return Finding(level, name, f"cannot be imported ({first_line}); {remedy}")
    return Finding("ok", name, str(getattr(module, "__version__", "installed")))
