# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""House rules of the source tree: who may import whom, unique names, licenses, sizes, the map."""

from __future__ import annotations

import ast
import re
from collections import Counter
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("rgbd_seg_ros", "training", "launch", "test", "benchmarks")
SOURCES = [ROOT / "setup.py", *(p for f in FOLDERS for p in sorted((ROOT / f).rglob("*.py")))]
PRODUCT = [p for p in SOURCES if p.relative_to(ROOT).parts[0] in ("rgbd_seg_ros", "training")]
PACKAGE = [p for p in PRODUCT if p.is_relative_to(ROOT / "rgbd_seg_ros")]
ROS = (
    "rclpy", "cv_bridge", "sensor_msgs", "std_msgs", "std_srvs", "vision_msgs", "diagnostic_msgs",
    "diagnostic_updater", "rcl_interfaces", "lifecycle_msgs", "builtin_interfaces",
    "geometry_msgs", "tf2_ros", "tf2_msgs", "message_filters", "rosbag2_interfaces",
)  # fmt: skip

#: What a package or module of the product must never import. The longest prefix decides.
FORBIDDEN: dict[str, tuple[str, ...]] = {
    "training": (*ROS, "rgbd_seg_ros.ros"),
    "rgbd_seg_ros": ("training", *ROS, "rgbd_seg_ros.ros"),
    "rgbd_seg_ros.models": (
        "training", *ROS, "rgbd_seg_ros.engine", "rgbd_seg_ros.fallback", "rgbd_seg_ros.inference",
        "rgbd_seg_ros.bag", "rgbd_seg_ros.replay", "rgbd_seg_ros.ros",
    ),
    "rgbd_seg_ros.engine": (
        "training", *ROS, "rgbd_seg_ros.fallback", "rgbd_seg_ros.inference", "rgbd_seg_ros.bag",
        "rgbd_seg_ros.replay", "rgbd_seg_ros.ros",
    ),
    "rgbd_seg_ros.fallback": (
        "training", *ROS, "torch", "time", "threading", "datetime", "random",
        "rgbd_seg_ros.engine", "rgbd_seg_ros.models", "rgbd_seg_ros.inference",
        "rgbd_seg_ros.bag", "rgbd_seg_ros.replay", "rgbd_seg_ros.ros",
    ),
    "rgbd_seg_ros.inference": (
        "training", *ROS, "torch", "rgbd_seg_ros.bag", "rgbd_seg_ros.replay", "rgbd_seg_ros.ros",
    ),
    "rgbd_seg_ros.bag": (
        "training", *ROS, "torch", "rgbd_seg_ros.engine", "rgbd_seg_ros.models",
        "rgbd_seg_ros.fallback", "rgbd_seg_ros.inference", "rgbd_seg_ros.replay",
        "rgbd_seg_ros.ros",
    ),
    "rgbd_seg_ros.replay": ("training", *ROS, "rgbd_seg_ros.ros"),
    "rgbd_seg_ros.ros": (
        "training", "rgbd_seg_ros.bag", "rgbd_seg_ros.replay", "rgbd_seg_ros.ros.replay",
    ),
    "rgbd_seg_ros.ros.replay": ("training",),
}  # fmt: skip


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def _imports(path: Path) -> frozenset[str]:
    """Full names of everything that a file imports when it runs, anywhere in it.

    Imports under ``if TYPE_CHECKING`` are left out: they never run.
    """
    tree = ast.parse(path.read_text())
    package = _module(path) if path.name == "__init__.py" else _module(path).rpartition(".")[0]
    names: set[str] = set()
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            todo += node.orelse
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            up = package.rsplit(".", node.level - 1)[0] if node.level > 1 else package
            base = ".".join(filter(None, (up if node.level else "", node.module)))
            names |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
        todo += ast.iter_child_nodes(node)
    return frozenset(names)


def _within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


@pytest.mark.parametrize("path", PRODUCT, ids=_name)
def test_imports_point_down_only(path: Path) -> None:
    module = _module(path)
    rule = max((p for p in FORBIDDEN if _within(module, p)), key=len)
    wrong = [i for i in _imports(path) for f in FORBIDDEN[rule] if _within(i, f)]
    assert not wrong, f"{rule} must not import {wrong}"


def test_no_two_modules_import_each_other() -> None:
    modules = {_module(path): path for path in PRODUCT}
    graph = {
        name: {i for i in _imports(path) if i in modules and i != name}
        for name, path in modules.items()
        if path.name != "__init__.py"
    }
    list(TopologicalSorter(graph).static_order())  # raises CycleError and names the circle


def test_no_two_classes_share_a_name() -> None:
    names = Counter(
        node.name
        for path in PRODUCT
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and node.name != "Config"  # one per training method
    )
    assert [name for name, count in names.items() if count > 1] == []


def test_no_two_modules_of_the_package_share_a_name() -> None:
    stems = Counter(p.stem for p in PACKAGE if p.stem != "__init__")
    assert [stem for stem, count in stems.items() if count > 1] == []


@pytest.mark.parametrize("path", PRODUCT, ids=_name)
def test_no_file_outside_the_repository_is_looked_for(path: Path) -> None:
    text = path.read_text()
    for up in re.findall(r"parents\[(\d+)\]", text):
        assert path.parents[int(up)].is_relative_to(ROOT)
    assert not re.search(r'/ "shared"|shared/', text)


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_license_line_docstring_and_length(path: Path) -> None:
    text = path.read_text()
    lines = text.splitlines()
    assert "# Copyright 2026 rgbd_seg_ros contributors" in lines[:2]
    assert "# SPDX-License-Identifier: Apache-2.0" in lines[:3]
    assert ast.get_docstring(ast.parse(text)), (
        "the first docstring line is the file's line in docs/architecture.md"
    )
    if not path.is_relative_to(ROOT / "test"):
        assert len(lines) <= 400


def module_map() -> str:
    """The map of docs/architecture.md: every module with the first line of its docstring."""
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


def test_architecture_maps_every_module() -> None:
    expected = module_map()
    text = (ROOT / "docs" / "architecture.md").read_text()
    assert expected in text, f"docs/architecture.md should hold:\n{expected}"


if __name__ == "__main__":
    print(module_map())
