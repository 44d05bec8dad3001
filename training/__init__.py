# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Training, evaluation and export: offline, run from the checkout as `python -m training.VERB`."""

from __future__ import annotations

import os
import sys


def _interrupted(kind: type[BaseException], error: BaseException, trace: object) -> None:
    if kind is KeyboardInterrupt:
        os.write(2, b"interrupted\n")
        os._exit(130)
    sys.__excepthook__(kind, error, trace)  # type: ignore[arg-type]


# `python -m training.VERB` imports this package first. The imports of a verb take a second, in
# which Ctrl-C would print a traceback; later, `run_command` handles it.
if sys.argv[:1] == ["-m"]:
    sys.excepthook = _interrupted
