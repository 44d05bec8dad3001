# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Training, evaluation and export: offline, run from the checkout as `python -m training.VERB`."""

import os

# Must be set before torch is imported. OpenMP threads that busy-wait starve each other on busy
# cores: on two of them, the demo took 215 s instead of 25 s.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
