# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The furniture catalog: classes, sizes, licenses, and what is wrong with other files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rigs.furniture_catalog import entry, write_catalog

from rgbd_seg_ros.labels import INDOOR16
from training.command import run_command
from training.data.rooms import catalog
from training.data.rooms.catalog import CLUTTER, Catalog, find_catalog, read_table
from training.options import UsageError
from training.prepare import main


def opened(folder: Path, cc0_only: bool = False) -> Catalog:
    found = find_catalog(str(folder), required=True, cc0_only=cc0_only)
    assert found is not None
    return found


def test_a_model_gets_class_place_and_size_in_meters(tmp_path: Path) -> None:
    write_catalog(tmp_path, entry(1, "Chair", elevation=12, dropOnTopElevation=45.5))
    (model,) = opened(tmp_path).models
    assert (model.label, model.place) == ("chair", "seat")
    assert model.size_m == pytest.approx((0.8, 0.4, 1.2))
    assert (model.elevation_m, model.top_m) == pytest.approx((0.12, 0.455))
    assert (model.author, model.license) == ("Ada", "CC BY 3.0")


def test_the_most_specific_entry_of_the_table_applies(tmp_path: Path) -> None:
    write_catalog(
        tmp_path,
        entry(1, "Box", category="Miscellaneous"),
        entry(2, "Box", category="Office"),
        entry(3, "Lamp"),
        entry(4, "Lamp", id="Test#lamp2"),
    )
    found = {m.id: (m.label, m.place) for m in opened(tmp_path).models}
    assert found == {
        "Test#Box1": ("box", "floor"),
        "Test#Box2": ("cabinet", "back"),
        "Test#Lamp3": ("lamp", "top"),
        "Test#lamp2": ("lamp", "ceiling"),
    }


def test_unknown_names_skipped_categories_and_gardens_are_not_used(tmp_path: Path) -> None:
    write_catalog(
        tmp_path,
        entry(1, "Chair"),
        entry(2, "Warp drive"),
        entry(3, "Chair", category="Vehicles"),
        entry(4, "Plant", category="Exterior"),
        entry(5, "Table", category="Exterior"),
        entry(6, "Sofa", width="wide"),
    )
    assert [m.id for m in opened(tmp_path).models] == ["Test#Chair1", "Test#Table5"]


def test_only_models_without_need_of_credit(tmp_path: Path) -> None:
    write_catalog(tmp_path, entry(1, "Chair"), file="Models-CC-0.sh3f")
    write_catalog(tmp_path, entry(2, "Chair"), file="Models-CC-BY.sh3f")
    assert [m.license for m in opened(tmp_path).models] == ["CC0 1.0", "CC BY 3.0"]
    assert [m.id for m in opened(tmp_path, cc0_only=True).models] == ["Test#Chair1"]


def test_another_version_is_said_in_one_line(tmp_path: Path) -> None:
    write_catalog(tmp_path, entry(1, "Chair"), version="2.0")
    (note,) = opened(tmp_path).notes
    assert "version 2.0" in note
    assert "1.8" in note
    assert "\n" not in note


def test_no_catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "FOLDER", tmp_path / "absent")
    assert find_catalog("", required=False) is None
    with pytest.raises(UsageError, match="sweethome3d-furniture"):
        find_catalog("", required=True)
    with pytest.raises(UsageError, match="elsewhere has no furniture catalog"):
        find_catalog(str(tmp_path / "elsewhere"), required=False)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"no archive"])
def test_a_damaged_archive(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "Bad.sh3f").write_bytes(content)
    with pytest.raises(UsageError, match=r"Bad\.sh3f is not a furniture catalog") as error:
        find_catalog(str(tmp_path), required=True)
    assert "\n" not in str(error.value)


def test_a_catalog_without_known_models(tmp_path: Path) -> None:
    write_catalog(tmp_path, entry(1, "Warp drive"))
    with pytest.raises(UsageError, match="no model of the catalog has a class"):
        find_catalog(str(tmp_path), required=True)


def test_the_table_names_classes_and_places_that_exist() -> None:
    version, skip, names = read_table()
    assert version == "1.8"
    assert "Vehicles" in skip
    labels = {label for label, _ in names.values()}
    assert labels == {*INDOOR16.classes, CLUTTER} - {"floor", "wall", "ceiling"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ghost: {floor: [Chair]}", "'ghost' is not a class"),
        ("chair: {sky: [Chair]}", "'sky' is not one of"),
        ("chair: {floor: [Chair], seat: [Chair]}", "'Chair' appears twice"),
    ],
)
def test_a_wrong_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    path = tmp_path / "table.yaml"
    path.write_text(f"version: '1.8'\nskip: []\nclasses: {{{text}}}\n")
    monkeypatch.setattr(catalog, "TABLE", path)
    with pytest.raises(UsageError, match=message):
        read_table.__wrapped__()


def test_the_command_lists_class_size_author_and_license(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_catalog(tmp_path, entry(1, "Chair"), entry(2, "Sofa", creator="Grace"))
    assert main(["furniture", "--source", str(tmp_path), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["class"] for row in rows] == ["chair", "sofa"]
    assert rows[1] == {
        "class": "sofa", "place": "back", "size_cm": [80, 40, 120], "name": "Sofa",
        "id": "Test#Sofa2", "author": "Grace", "license": "CC BY 3.0",
    }  # fmt: skip
    assert main(["furniture", "--source", str(tmp_path)]) == 0
    assert "80×40×120" in capsys.readouterr().out


def test_the_command_without_a_catalog_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(lambda: main(["furniture", "--source", str(tmp_path)])) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
