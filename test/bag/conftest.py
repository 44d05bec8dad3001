# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Fixtures: small recordings, and a fake engine in place of the networks."""

from rigs.recordings import (  # noqa: F401
    engine,
    recording,
    run_replay,
    write_recording,
)
