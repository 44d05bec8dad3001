# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""`rgbd_seg doctor`: its findings on machines with missing requirements."""

from __future__ import annotations

import argparse
import importlib
import json
from pathlib import Path

import pytest

from rgbd_seg_ros import doctor
from rgbd_seg_ros.bundle import Bundle, save_bundle


def _without(monkeypatch: pytest.MonkeyPatch, module: str, error: Exception) -> None:
    real = importlib.import_module

    def fake(name: str, *rest: str) -> object:
        if name == module:
            raise error
        return real(name, *rest)

    monkeypatch.setattr(importlib, "import_module", fake)


def _run(*arguments: object) -> int:
    parser = argparse.ArgumentParser()
    doctor.add_arguments(parser)
    return doctor.run(parser.parse_args([str(a) for a in arguments]))


def test_a_good_bundle_passes_and_a_missing_one_fails(
    tiny_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = save_bundle(tmp_path / "b", Bundle(tiny_bundle.labels, dict(tiny_bundle.networks)))
    assert _run("--bundle", bundle, "--json") == 0
    findings = {f["subject"]: f for f in json.loads(capsys.readouterr().out)}
    assert findings["bundle"]["level"] == findings["torch"]["level"] == "ok"
    assert "16 classes" in findings["bundle"]["text"]
    assert _run("--bundle", tmp_path / "nowhere") == 1
    assert "fail  bundle" in capsys.readouterr().out


def test_missing_torch_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    _without(monkeypatch, "torch", ImportError("No module named 'torch'"))
    assert doctor.check_torch().level == "fail"
    assert "pytorch.org" in doctor.check_torch().text
    assert doctor.check_cuda().level == "warn"


def test_old_torch_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.__version__", "2.3.1+cu121")
    assert doctor.check_torch() == doctor.Finding(
        "fail", "torch", "2.3.1+cu121; version 2.4 or later is required"
    )


@pytest.mark.parametrize(
    ("version", "level"),
    [
        ("2.4rc1", "ok"),
        ("2.4.0rc1+cu121", "ok"),
        ("2.11.0a0+git1234567", "ok"),
        ("3.0.0.dev20261001", "ok"),
        ("10.0", "ok"),
        ("2.3rc2", "fail"),
        ("1.13.1a0+git", "fail"),
        ("unknown", "warn"),
        ("2", "warn"),
    ],
)
def test_every_form_of_version_is_read(
    version: str, level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.__version__", version)
    finding = doctor.check_torch()
    assert finding.level == level
    assert version in finding.text


def test_a_module_built_for_another_numpy_is_reported_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _without(monkeypatch, "cv2", AttributeError("_ARRAY_API not found\nmore lines"))
    finding = doctor.check_module("cv2", "opencv-python-headless")
    assert finding.level == "fail"
    assert finding.text == (
        "cannot be imported (_ARRAY_API not found); pip install opencv-python-headless"
    )


@pytest.mark.parametrize("module", ["rosbags", "tqdm", "jinja2", "av"])
def test_a_missing_module_of_one_command_is_a_warning(
    module: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _without(monkeypatch, module, ImportError(f"No module named '{module}'"))
    _run("--bundle", tmp_path / "nowhere", "--json")
    findings = {f["subject"]: f for f in json.loads(capsys.readouterr().out)}
    assert findings[module]["level"] == "warn"
    assert f"pip install {module}" in findings[module]["text"]
