# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Training, evaluation and export: offline, run from the checkout as `python -m training.VERB`."""
