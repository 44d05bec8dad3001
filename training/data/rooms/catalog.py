# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The installed furniture catalog: its models with class, place, size, author and license.

The models are those of Debian's and Ubuntu's package ``sweethome3d-furniture``: five ``.sh3f`` ZIP
files with a properties file each. This project ships none of them.
"""

from __future__ import annotations

import re
import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rgbd_seg_ros.labels import INDOOR16
from rgbd_seg_ros.text_table import text_table
from training.options import UsageError, read_yaml

#: Where the package puts the catalog, and how to get it.
FOLDER = Path("/usr/share/sweethome3d/furniture")
INSTALL = "install the Debian or Ubuntu package sweethome3d-furniture"
TABLE = Path(__file__).with_name("furniture.yaml")
PLACES = ("back", "floor", "seat", "top", "hung", "ceiling", "flat", "opening")
#: The class of models without a class; their pixels are unlabeled.
CLUTTER = "clutter"
_ENTRY = re.compile(r"^(\w+)#(\d+)=(.*)$")
_PROPERTIES = "PluginFurnitureCatalog.properties"
#: A larger properties file is not read, bytes.
_MAX_PROPERTIES = 1 << 22


@dataclass(frozen=True)
class CatalogModel:
    """One model of the catalog."""

    #: Archive and path of its OBJ file within it.
    archive: Path
    path: str
    #: Unique id, such as ``Scopia#office_chair``.
    id: str
    name: str
    category: str
    #: A class of indoor16, or ``clutter``.
    label: str
    #: One of :data:`PLACES`.
    place: str
    #: Width, depth and height in meters.
    size_m: tuple[float, float, float]
    #: Height above the floor at which it is usually fixed, meters; 0 for the floor.
    elevation_m: float
    #: Height of the surface on which things stand, meters; None if nothing can.
    top_m: float | None
    #: Rotation of the model before it is scaled, 3×3.
    rotation: tuple[float, ...]
    author: str
    license: str

    @property
    def is_cc0(self) -> bool:
        """Whether the model is in the public domain, so that pictures of it need no credit."""
        return self.license == "CC0 1.0"


@dataclass(frozen=True, eq=False)
class Catalog:
    """The models that the table gives a class, in a fixed order."""

    models: tuple[CatalogModel, ...]
    files: tuple[Path, ...]
    #: One line for each thing that the user should know.
    notes: tuple[str, ...] = ()

    def of(self, label: str, *places: str) -> list[CatalogModel]:
        """The models of a class in some places, or in any."""
        return [m for m in self.models if m.label == label and (not places or m.place in places)]


def find_catalog(source: str, required: bool, cc0_only: bool = False) -> Catalog | None:
    """The catalog in a folder, or the installed one.

    Args:
        source: the folder; empty for the installed one.
        required: whether a missing catalog is an error; else it is None.
        cc0_only: leave out the models whose license asks for credit.

    Raises:
        UsageError: a missing catalog that is required, or a defective one.
    """
    folder = Path(source) if source else FOLDER
    files = sorted(folder.glob("*.sh3f")) if folder.is_dir() else []
    if not files:
        if required or source:
            raise UsageError(f"{folder} has no furniture catalog (*.sh3f): {INSTALL}")
        return None
    return read_catalog(tuple(files), cc0_only)


def read_catalog(files: tuple[Path, ...], cc0_only: bool = False) -> Catalog:
    """Read the properties of all archives and give each model its class and place.

    Raises:
        UsageError: an archive is damaged, or no model is in the table.
    """
    version, skip, table = read_table()
    models, notes = [], []
    for file in files:
        text = _properties(file)
        found = re.search(r"^version=(.*)$", text, re.MULTILINE)
        if (seen := found[1].strip() if found else "none") != version:
            notes.append(
                f"note: {file} has version {seen}, but the table of classes was made for "
                f"{version}; models with unknown names are not used"
            )
        for entry in _entries(text):
            if entry.get("category") not in skip and (model := _model(file, entry, table)):
                models.append(model)
    if cc0_only:
        models = [m for m in models if m.is_cc0]
    if not models:
        raise UsageError(f"{files[0].parent}: no model of the catalog has a class; {INSTALL}")
    return Catalog(tuple(sorted(models, key=lambda m: m.id)), files, tuple(notes))


@cache
def read_table() -> tuple[str, frozenset[str], dict[str, tuple[str, str]]]:
    """Version and skipped categories of the table, and name → (class, place).

    Raises:
        UsageError: the table has an unknown class or place, or a name twice.
    """
    document = read_yaml(TABLE)
    names: dict[str, tuple[str, str]] = {}
    for label, places in document["classes"].items():
        if label not in (*INDOOR16.classes, CLUTTER):
            raise UsageError(f"{TABLE}: {label!r} is not a class of {INDOOR16.name}")
        for place, listed in places.items():
            if place not in PLACES:
                raise UsageError(f"{TABLE}: {place!r} is not one of {', '.join(PLACES)}")
            for name in listed:
                if name in names:
                    raise UsageError(f"{TABLE}: {name!r} appears twice")
                names[name] = (label, place)
    return str(document["version"]), frozenset(document["skip"]), names


def _properties(file: Path) -> str:
    try:
        with zipfile.ZipFile(file) as archive:
            size = archive.getinfo(_PROPERTIES).file_size
            if size > _MAX_PROPERTIES:
                raise ValueError(f"{_PROPERTIES} has {size} bytes")
            return archive.read(_PROPERTIES).decode("latin-1")
    except (zipfile.BadZipFile, KeyError, ValueError, OSError) as error:
        raise UsageError(
            f"{file} is not a furniture catalog ({' '.join(str(error).split())}): {INSTALL} again"
        ) from error


def _entries(text: str) -> list[dict[str, str]]:
    entries: dict[int, dict[str, str]] = {}
    for line in text.splitlines():
        if match := _ENTRY.match(line.strip()):
            entries.setdefault(int(match[2]), {})[match[1]] = _unescaped(match[3].strip())
    return [{"number": str(number), **entry} for number, entry in sorted(entries.items())]


def _unescaped(text: str) -> str:
    r"""Replace the ``\u20ac`` of a Java properties file."""
    return re.sub(r"\\u([0-9a-fA-F]{4})", lambda m: chr(int(m[1], 16)), text)


def _model(
    file: Path, entry: dict[str, str], table: dict[str, tuple[str, str]]
) -> CatalogModel | None:
    """The model of one entry, or None if the table does not have it or its values are wrong."""
    name, category = entry.get("name", ""), entry.get("category", "")
    library, _, short = entry.get("id", "").rpartition("#")
    keys = (f"#{short}", f"{category}/{name}", name)
    found = next((table[key] for key in keys if key in table), None)
    if found is None or not short:
        return None
    outside = category == "Exterior" and keys[1] not in table and found[0] not in _GARDEN_CLASSES
    try:
        size = tuple(float(entry[key]) / 100 for key in ("width", "depth", "height"))
        top = float(entry.get("dropOnTopElevation", size[2] * 100)) / 100
        rotation = tuple(map(float, entry.get("modelRotation", "1 0 0 0 1 0 0 0 1").split()))
        elevation = float(entry.get("elevation", 0)) / 100
    except (KeyError, ValueError):
        return None
    if outside or min(size) <= 0 or len(rotation) != 9:
        return None
    return CatalogModel(
        file, entry["model"].lstrip("/"), f"{library}#{short}", name, category, *found,
        (size[0], size[1], size[2]), elevation, top if top > 0 else None, rotation,
        entry.get("creator", "unknown"),
        "CC0 1.0" if file.stem.endswith("CC-0") else "CC BY 3.0",
    )  # fmt: skip


#: Classes whose garden furniture also stands in rooms.
_GARDEN_CLASSES = ("chair", "table", "sofa")


def rotation_of(model: CatalogModel) -> npt.NDArray[np.float64]:
    """The 3×3 rotation of a model."""
    return np.array(model.rotation).reshape(3, 3)


def listing(catalog: Catalog) -> list[dict[str, Any]]:
    """One row per model: class, place, size, name, author and license."""
    return [
        {
            "class": m.label, "place": m.place,
            "size_cm": [round(100 * v) for v in m.size_m],
            "name": m.name, "id": m.id, "author": m.author, "license": m.license,
        }
        for m in sorted(catalog.models, key=lambda m: (m.label, m.place, m.id))
    ]  # fmt: skip


def credits_text(catalog: Catalog) -> str:
    """The listing as a table."""
    rows = [["class", "place", "size (cm)", "name", "id", "author", "license"]]
    for row in listing(catalog):
        size = "×".join(map(str, row["size_cm"]))
        rows.append([row["class"], row["place"], size, row["name"], row["id"], row["author"],
                     row["license"]])  # fmt: skip
    return text_table(rows)
