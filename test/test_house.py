# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The house rules of the source tree: who may import whom, licence lines, sizes."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("rgbd_seg_ros", "training", "launch", "test", "benchmarks")
SOURCES = [ROOT / "setup.py", *(p for f in FOLDERS for p in sorted((ROOT / f).rglob("*.py")))]
PACKAGE = [p for p in SOURCES if p.is_relative_to(ROOT / "rgbd_seg_ros")]
ROS_ONLY = {
    "rclpy", "cv_bridge", "sensor_msgs", "std_msgs", "std_srvs", "vision_msgs", "diagnostic_msgs",
    "diagnostic_updater", "rcl_interfaces", "lifecycle_msgs", "builtin_interfaces",
    "geometry_msgs", "tf2_ros", "tf2_msgs", "message_filters",
}  # fmt: skip


def _imports(path: Path) -> set[str]:
    """Top-level names of every module that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", PACKAGE, ids=_name)
def test_package_imports_no_training_code(path: Path) -> None:
    assert "training" not in _imports(path)


@pytest.mark.parametrize("path", PACKAGE, ids=_name)
def test_only_ros_folder_imports_ros(path: Path) -> None:
    if not path.is_relative_to(ROOT / "rgbd_seg_ros" / "ros"):
        assert not _imports(path) & ROS_ONLY


@pytest.mark.parametrize(
    "path", [p for p in PACKAGE if p.is_relative_to(ROOT / "rgbd_seg_ros" / "fallback")], ids=_name
)
def test_fallback_is_free_of_torch_clocks_and_threads(path: Path) -> None:
    assert not _imports(path) & {"torch", "time", "threading", "datetime", "random"}


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_licence_line_docstring_and_length(path: Path) -> None:
    text = path.read_text()
    lines = text.splitlines()
    assert "# Copyright 2026 rgbd_seg_ros contributors" in lines[:2]
    assert "# SPDX-License-Identifier: Apache-2.0" in lines[:3]
    assert ast.get_docstring(ast.parse(text)), (
        "the first docstring line is the file's line in the README"
    )
    if not path.is_relative_to(ROOT / "test"):
        assert len(lines) <= 400


def test_help_needs_no_torch() -> None:
    code = "import sys, rgbd_seg_ros.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def readme_tree() -> str:
    """The README's map: every file of both code folders with its first docstring line."""
    lines = []
    for top in ("rgbd_seg_ros", "training"):
        for path in sorted((ROOT / top).rglob("*.py"), key=lambda p: (p.parent.parts, p.name)):
            text = (ast.get_docstring(ast.parse(path.read_text())) or "").splitlines()[:1]
            folder = path.parent.relative_to(ROOT)
            if path.name == "__init__.py":
                lines.append(f"{str(folder) + '/':34} {text[0]}")
            else:
                lines.append(f"  {path.stem:32} {text[0]}")
    return "\n".join(line.rstrip() for line in lines)


def test_readme_maps_every_file() -> None:
    expected = readme_tree()
    assert expected in (ROOT / "README.md").read_text(), f"README.md should hold:\n{expected}"
