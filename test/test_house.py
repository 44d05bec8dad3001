# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Rules of the source tree: allowed imports, unique names, licenses, file sizes, module map."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
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

#: The package from the ground up: a module imports only modules of lower layers and of its own
#: package. ``ros/replay`` counts as a package of its own.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("names",),
    ("yaml_checks",),
    (
        "image_names", "camera_names", "command_line", "files", "labels", "frames", "progress",
        "text_table", "image_size", "array_files",
    ),
    ("encodings", "png"),
    ("bounded_decode",),
    ("compressed_color", "compressed_depth"),
    ("hha", "colorize", "metrics", "images", "gravity"),
    ("depth", "bag", "video"),
    ("image_io", "preprocess", "fallback", "models"),
    ("bundle_json",),
    ("bundle", "image_scene", "judged_images"),
    ("engine", "image_folder"),
    ("inference", "unused_images"),
    ("replay", "ros", "predict", "doctor", "bench"),
    ("ros.replay", "cli"),
)  # fmt: skip
#: What else a package must not import, directly or through others.
WITHOUT_TORCH = ("fallback", "bag", "inference", "replay.command", "predict", "doctor", "cli")
#: What the commands, the loop, the data and the methods of training share, and the commands.
FOUNDATION = {
    "options", "config", "distributed", "batch", "networks", "published_weights", "imagenet",
    "pretrained", "published_networks",
}  # fmt: skip
COMMANDS = {
    "train", "evaluate", "compare", "analyze", "export", "bundle", "import_weights", "prepare",
    "model_info", "demo",
}  # fmt: skip
NOT_IN_FALLBACK = {"time", "threading", "datetime", "random"}


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def _imports(path: Path) -> frozenset[str]:
    """Full names of everything that a file imports, anywhere in it, also for type checks only."""
    package = _module(path) if path.name == "__init__.py" else _module(path).rpartition(".")[0]
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            up = package.rsplit(".", node.level - 1)[0] if node.level > 1 else package
            base = ".".join(filter(None, (up if node.level else "", node.module)))
            names |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return frozenset(names)


def _within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def _layer(module: str) -> tuple[int, str] | None:
    """Layer and package of a module of ``rgbd_seg_ros``; None for the package itself."""
    known = [
        (number, name)
        for number, names in enumerate(LAYERS)
        for name in names
        if _within(module, f"rgbd_seg_ros.{name}")
    ]
    return max(known, key=lambda found: len(found[1]), default=None)


@pytest.mark.parametrize("path", PACKAGE, ids=_name)
def test_packages_import_only_lower_layers(path: Path) -> None:
    own = _layer(_module(path))
    if own is None:
        assert path == ROOT / "rgbd_seg_ros" / "__init__.py", "give the module a layer"
        return
    for name in _imports(path):
        assert not _within(name, "training")
        assert own[1].startswith("ros") or name.split(".")[0] not in ROS, name
        other = _layer(name)
        assert other is None or other[1] == own[1] or other[0] < own[0], f"{name} is above"


@pytest.mark.parametrize("path", sorted((ROOT / "training").rglob("*.py")), ids=_name)
def test_training_imports_no_ros(path: Path) -> None:
    for name in _imports(path):
        assert name.split(".")[0] not in ROS
        assert not _within(name, "rgbd_seg_ros.ros")


@pytest.mark.parametrize("path", sorted((ROOT / "training").rglob("*.py")), ids=_name)
def test_data_and_methods_import_only_what_they_share(path: Path) -> None:
    part = _module(path).removeprefix("training.").split(".")[0]
    used = {
        name.split(".")[1] for name in _imports(path) if _within(name, "training") and "." in name
    }
    assert not used & COMMANDS - {part}, "a command is not a library"
    if part in {*FOUNDATION, "data", "methods"}:
        assert used <= {*FOUNDATION, part}


def test_what_needs_no_torch_does_not_import_it() -> None:
    modules = ", ".join(f"rgbd_seg_ros.{name}" for name in WITHOUT_TORCH)
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_the_fallback_reads_no_clock_and_starts_no_thread() -> None:
    for path in (ROOT / "rgbd_seg_ros" / "fallback").glob("*.py"):
        assert not _imports(path) & NOT_IN_FALLBACK, path


def test_no_two_modules_import_each_other() -> None:
    modules = {_module(path): path for path in PRODUCT}
    graph = {
        name: {i for i in _imports(path) if i in modules and i != name}
        for name, path in modules.items()
    }
    list(TopologicalSorter(graph).static_order())  # raises CycleError, which names the cycle


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


@pytest.mark.parametrize(
    "path", [p for p in SOURCES if not p.is_relative_to(ROOT / "test")], ids=_name
)
def test_no_file_outside_the_repository_is_looked_for(path: Path) -> None:
    text = path.read_text()
    up = [int(n) + 1 for n in re.findall(r"parents\[(\d+)\]", text)]
    up += [chain.count(".parent") for chain in re.findall(r"(?:\.parent\b)+", text)]
    assert max(up, default=0) <= len(path.relative_to(ROOT).parts)
    assert not re.search(r"""["'](/(work|home|root|opt|mnt|Users)\b|[^"']*\bshared/)""", text)


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
