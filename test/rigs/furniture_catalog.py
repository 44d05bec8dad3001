# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A tiny furniture catalog in the format of the real one, with models made here."""

from __future__ import annotations

import zipfile
from pathlib import Path

#: A wedge in the catalog's axes: x right, y up, z toward the viewer; its high edge is at +x.
WEDGE = """mtllib wedge.mtl
v 0 0 0
v 4 0 0
v 4 2 0
v 0 0 1
v 4 0 1
v 4 2 1
usemtl red
f 1 3 2
f 4 5 6
f 1 2 5 4
f 2 3 6 5
f 1 4 6 3
"""
MTL = "newmtl red\nKd 0.8 0.1 0.1\nKs 0 0 0\nNs 10\nd 1\n"


def entry(number: int, name: str, **values: object) -> str:
    """The lines of one model."""
    known = {
        "id": f"Test#{name.replace(' ', '')}{number}", "name": name, "category": "Living room",
        "model": "/test/wedge/wedge.obj", "width": 80, "depth": 40, "height": 120,
        "creator": "Ada", **values,
    }  # fmt: skip
    return "".join(f"{key}#{number}={value}\n" for key, value in known.items())


def write_catalog(
    folder: Path, *entries: str, file: str = "Test.sh3f", version: str = "1.8", obj: str = WEDGE
) -> Path:
    """Write an archive; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / file, "w") as archive:
        text = f"id=Test\nversion={version}\n\n" + "\n".join(entries)
        archive.writestr("PluginFurnitureCatalog.properties", text.encode("latin-1"))
        archive.writestr("test/wedge/wedge.obj", obj)
        archive.writestr("test/wedge/wedge.mtl", MTL)
    return folder
