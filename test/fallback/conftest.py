# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Makes Hypothesis draw the same examples regardless of the loaded modules."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis.internal.conjecture import providers


@pytest.fixture(scope="module", autouse=True)
def steady_examples() -> Iterator[None]:
    """Keep Hypothesis from drawing constants that it finds in the loaded modules.

    Hypothesis has no setting for this. If a later version renames the method, examples vary again.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            providers.HypothesisProvider,
            "_maybe_draw_constant",
            lambda *_, **__: None,
            raising=False,
        )
        yield
