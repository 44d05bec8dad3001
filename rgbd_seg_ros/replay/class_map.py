# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Class maps: ground truth whose class ids are not those of the bundle, translated by a YAML file.

The file maps each id of the ground truth to a class of the bundle, or to ``unlabeled``::

    0: floor
    7: unlabeled
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rgbd_seg_ros.files import InputFileError, read_yaml
from rgbd_seg_ros.labels import IGNORE_ID, LabelSet
from rgbd_seg_ros.names import shown, unknown_name
from rgbd_seg_ros.replay.truth_folder import TruthError

UNLABELED = "unlabeled"


def read_class_map(path: Path) -> dict[int, Any]:
    """Read a class map without knowing the classes: id → what the file says.

    Raises:
        TruthError: the file is unusable; the message names it and the remedy.
    """
    try:
        entries = read_yaml(path)
    except InputFileError as error:
        raise TruthError(str(error)) from error
    if not isinstance(entries, dict) or not entries:
        raise TruthError(f"{path}: expected '0: CLASS' for each id, got {shown(entries)}")
    for key in entries:
        if isinstance(key, bool) or not isinstance(key, int) or not 0 <= key <= 255:
            raise TruthError(f"{path}: an id must be 0 to 255, got {shown(key)}")
    return entries


class ClassMap:
    """Translates the ids of ground truth.

    Args:
        path: YAML file.
        labels: label set of the bundle.

    Raises:
        TruthError: the file is unusable; the message names it and the remedy.
    """

    def __init__(self, path: Path, labels: LabelSet) -> None:
        self._path = path
        entries = read_class_map(path)
        ids = {name: i for i, name in enumerate(labels.classes)} | {UNLABELED: IGNORE_ID}
        self._ids = np.full(256, IGNORE_ID, np.uint8)
        self._known = np.zeros(256, bool)
        self._known[IGNORE_ID] = True
        for key, name in entries.items():
            if not isinstance(name, str) or name not in ids:
                raise TruthError(f"{path}: id {key}: {unknown_name('class', name, ids)}")
            self._ids[key], self._known[key] = ids[name], True

    def __call__(self, truth: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """The ground truth, H×W, with the ids of the bundle.

        Raises:
            TruthError: it contains an id that the file does not list.
        """
        known = self._known[truth]
        if not known.all():
            raise TruthError(
                f"the ground truth contains class id {truth[~known][0]}, which {self._path} does "
                f"not list; add it, as {UNLABELED} if it is not to be scored"
            )
        return self._ids[truth]
