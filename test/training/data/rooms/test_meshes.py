# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Meshes: catalog models in meters, walls with holes, supports, patterns as textures."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from rigs.furniture_catalog import entry, write_catalog

from training.data.rooms.catalog import CatalogModel, find_catalog
from training.data.rooms.looks import Look, PatternTextures, bake, to_srgb
from training.data.rooms.placing import area_m2, placed, recolored, support_height
from training.data.rooms.room_geometry import texture_tables, to_soup
from training.data.rooms.solids import box, quad, wall_with_holes
from training.data.synthetic.materials import Material

GRAY = Material((0.5, 0.5, 0.5), (0.2, 0.2, 0.2), (0.1, 0.1, 0.1))


def model_of(folder: Path, obj: str | None = None, **values: object) -> CatalogModel:
    write_catalog(folder, entry(1, "Chair", **values), **({"obj": obj} if obj else {}))
    found = find_catalog(str(folder), required=True)
    assert found is not None
    return found.models[0]


@pytest.fixture
def model_mesh():
    pytest.importorskip("trimesh")
    from training.data.rooms import model_mesh

    return model_mesh


def test_a_model_has_the_size_of_the_catalog_and_stands_on_the_floor(
    tmp_path: Path, model_mesh
) -> None:
    (part,) = model_mesh.load_model(model_of(tmp_path))
    low, high = part.vertices.min(axis=0), part.vertices.max(axis=0)
    np.testing.assert_allclose(low, (-0.4, -0.2, 0), atol=1e-6)
    np.testing.assert_allclose(high, (0.4, 0.2, 1.2), atol=1e-6)
    assert part.look.color[0] > 5 * part.look.color[1]
    assert part.uv is None


def test_a_model_is_turned_but_not_mirrored(tmp_path: Path, model_mesh) -> None:
    """The catalog's +x is -x here, its front +z is +y: the wedge's high edge moves to -x."""
    (part,) = model_mesh.load_model(model_of(tmp_path))
    top = part.vertices[part.vertices[:, 2] > 1.19]
    assert (top[:, 0] < 0).all()
    # In its file, the front triangle (z = 1) runs counterclockwise as seen from the front.
    a, b, c = part.vertices[part.faces[1]]
    assert np.cross(b - a, c - a)[1] > 0
    assert a[1] == pytest.approx(0.2)


def test_a_rotation_is_applied_before_the_size(tmp_path: Path, model_mesh) -> None:
    turned = model_of(tmp_path, modelRotation="-1 0 0 0 1 0 0 0 -1")
    (part,) = model_mesh.load_model(turned)
    np.testing.assert_allclose(np.ptp(part.vertices, axis=0), (0.8, 0.4, 1.2), atol=1e-6)
    top = part.vertices[part.vertices[:, 2] > 1.19]
    assert (top[:, 0] > 0).all()


@pytest.mark.parametrize("obj", ["", "v 0 0\nf 1 2 3\n", "f 1 2 3\n", "\0\0\0"])
def test_a_model_that_does_not_load_is_said_once_and_not_used(
    tmp_path: Path, model_mesh, obj: str, capsys: pytest.CaptureFixture[str]
) -> None:
    model = model_of(tmp_path, obj or "# empty\n")
    with pytest.raises(model_mesh.ModelFileError, match="Test#Chair1 is not used"):
        model_mesh.load_model(model)
    store = model_mesh.MeshStore()
    assert store.get(model) is None
    assert store.get(model) is None
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "a simple shape takes its place" in error


def test_an_archive_that_is_gone_does_not_stop_the_rendering(tmp_path: Path, model_mesh) -> None:
    model = model_of(tmp_path)
    model.archive.unlink()
    assert model_mesh.MeshStore().get(model) is None


def test_a_huge_file_in_an_archive_is_not_read(
    tmp_path: Path, model_mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_of(tmp_path)
    with zipfile.ZipFile(model.archive, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("test/wedge/big.jpg", bytes(5000))
    monkeypatch.setattr(model_mesh, "MAX_FILE_BYTES", 4000)
    with pytest.raises(model_mesh.ModelFileError, match="5000 bytes"):
        model_mesh.load_model(model)


def test_a_wall_loses_the_area_of_its_holes() -> None:
    holes = [(0.5, 1.5, 0.0, 2.0), (2.0, 3.0, 1.0, 2.0)]
    parts = wall_with_holes(np.zeros(3), np.array([1.0, 0, 0]), (4.0, 2.5), holes, Look(), 1)
    assert sum(map(area_m2, parts)) == pytest.approx(4 * 2.5 - 2 - 1)
    corners = np.concatenate([p.vertices[p.faces].mean(axis=1) for p in parts])
    for left, right, bottom, top in holes:
        inside = (corners[:, 0] > left) & (corners[:, 0] < right)
        assert not (inside & (corners[:, 2] > bottom) & (corners[:, 2] < top)).any()


def test_a_box_is_closed_and_turned() -> None:
    half = np.array([0.5, 0.3, 0.2])
    parts = box(np.array([1, 2, 3.0]), half, (0.0, 1.0), GRAY, 5, PatternTextures())
    assert sum(map(area_m2, parts)) == pytest.approx(8 * (0.15 + 0.1 + 0.06))
    low = np.min([p.vertices.min(axis=0) for p in parts], axis=0)
    np.testing.assert_allclose(low, (0.7, 1.5, 2.8), atol=1e-6)
    assert {p.label for p in parts} == {5}


def test_placing_turns_moves_and_stretches() -> None:
    part = quad(np.zeros(3), np.array([1.0, 0, 0]), np.array([0, 0, 1.0]), Look(), 0)
    (moved,) = placed([part], (10, 20, np.pi / 2), 0.5, 7, (2.0, 1.0, 3.0))
    np.testing.assert_allclose(moved.vertices[2], (10, 22, 3.5), atol=1e-5)
    assert moved.label == 7


def test_things_stand_on_the_highest_level_surface_below_the_limit() -> None:
    def shelf(z: float) -> object:
        return quad(np.array([0, 0, z]), np.array([1.0, 0, 0]), np.array([0, 1.0, 0]), Look(), 0)

    slope = quad(np.array([0, 0, 0.9]), np.array([1.0, 0, 0.5]), np.array([0, 1.0, 0]), Look(), 0)
    points = np.array([[0.5, 0.5], [2.0, 0.5]])
    found = support_height([shelf(0.5), shelf(1.0), shelf(1.8), slope], points, 1.3)
    assert found[0] == pytest.approx(1.0)
    assert np.isnan(found[1])


def test_recoloring_keeps_the_geometry_and_changes_the_look() -> None:
    part = quad(np.zeros(3), np.array([1.0, 0, 0]), np.array([0, 0, 1.0]), Look(), 0)
    (new,) = recolored([part], np.random.default_rng(1))
    assert new.vertices is part.vertices
    assert new.look.color != part.look.color


def test_a_pattern_is_baked_upright() -> None:
    """The baseboard of a wall, color c, is at the bottom: the last rows of the texture."""
    wall = Material((0.9, 0.9, 0.9), (0.9, 0.9, 0.9), (0.0, 0.0, 0.0), "wallpaper",
                    options=(0.25, 0.0, 0.0))  # fmt: skip
    texture = bake(wall, 1.0, 0.5)
    dark = texture.mean(axis=(1, 2)) < 30
    assert dark[-1]
    assert not dark[0]
    assert dark.mean() == pytest.approx(0.25, abs=0.02)
    assert to_srgb(np.array([0.0, 1.0])).tolist() == [0, 255]


def test_a_soup_keeps_classes_looks_and_texels() -> None:
    texture = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    looks = Look((0.1, 0.2, 0.3), roughness=0.4), Look(texture=texture)
    axes = np.array([1.0, 0, 0]), np.array([0, 1.0, 0])
    soup = to_soup([quad(np.zeros(3), *axes, look, i) for i, look in enumerate(looks)])
    assert soup.label.tolist() == [0, 0, 1, 1]
    np.testing.assert_allclose(soup.normals, np.tile([0, 0, 1], (len(soup.normals), 1)))
    texels, plain, where = texture_tables(soup.looks)
    np.testing.assert_allclose(plain[0], (0.1, 0.2, 0.3, 0.4, 0, 1))
    assert where.tolist() == [[0, 0, 0], [1, 4, 2]]
    assert texels[1] == 0 | 1 << 8 | 2 << 16
