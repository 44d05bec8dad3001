# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Warnings of the core: each problem is told once, in one line, with its remedy."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator

from rgbd_seg_ros.fallback.config import CoreConfig
from rgbd_seg_ros.fallback.fused_share import WINDOW, FusedShare
from rgbd_seg_ros.fallback.health import Verdict
from rgbd_seg_ros.fallback.job import Job
from rgbd_seg_ros.fallback.pairing import PARTNER, Pairer
from rgbd_seg_ros.fallback.streams import Streams
from rgbd_seg_ros.fallback.unusable import CausedWarning, UnusableMessages
from rgbd_seg_ros.frames import NS_PER_MS, NS_PER_S, Stream

#: Warn if more than this share of the last 30 frame pairs is incomplete.
MISSED_WARNING = 0.1
#: If at least this share of the masks is fused, different rates only make them rarer.
MOST = 0.9
#: Rates of color and depth that differ by this factor explain why frame pairs are incomplete.
RATE_RATIO = 1.5
#: Problems that mixed or repeated messages cause, among others.
RATE_PROBLEMS = ("lag", "mixed", "rates", "missed", "share")
#: No camera is faster.
FASTEST_HZ = 1000
#: At most this many warnings are kept until the caller fetches them.
MAX_WARNINGS = 256


class CoreWarnings:
    """Collects warnings; each key is told once until :meth:`forget`.

    Args:
        simulated: see :class:`UnusableMessages`.
    """

    def __init__(
        self, simulated: Callable[[Stream, int], bool] = lambda stream, ns: False
    ) -> None:
        #: The messages that failed a frame test.
        self.unusable = UnusableMessages(simulated)
        self._told: set[str] = set()
        self._new: deque[str] = deque(maxlen=MAX_WARNINGS)

    def add(self, key: str, text: str) -> None:
        """Warn, unless the key was told before."""
        if key not in self._told:
            self._told.add(key)
            self._new.append(text)

    def add_all(self, problems: Iterable[tuple[str, str]]) -> None:
        """Warn about each (key, text) that was not told before."""
        for key, text in problems:
            if key in RATE_PROBLEMS:
                text = CausedWarning(text)
                text.streams, text.key = ("rgb", "depth"), key
            self.add(key, text)

    def add_verdict(self, stream: Stream, verdict: Verdict, now_ns: int, *, waiting: bool) -> None:
        """Warn about a message that failed a frame test, see :meth:`UnusableMessages.add`."""
        found = self.unusable.add(stream, verdict, now_ns, waiting=waiting)
        if found is not None and found.told:
            # The time tells two failures of one sensor apart.
            self.add(f"{stream} {found.reason} {found.first_ns}", found.warning())

    def add_expired(self, job: Job, now_ns: int, max_age_s: float) -> None:
        """Warn that a mask was dropped, because its images were too old when it was ready."""
        age_s = (now_ns - job.stamp_ns) / NS_PER_S
        began_s = max(job.age_rgb_ms or 0, job.age_depth_ms or 0) / 1e3
        remedy = "use a faster device or a smaller network, or raise max_age_s"
        if began_s > age_s / 2:
            remedy = "find out what delays the images or their stamps, or raise max_age_s"
        self.add(
            "expired",
            f"a mask was dropped because its images were {age_s:.3g} s old when it was ready, and "
            f"{began_s:.2g} s when it was begun, more than max_age_s={max_age_s:g}: {remedy}",
        )

    def forget(self) -> None:
        """Tell every problem again when it recurs."""
        self._told.clear()
        self.unusable.restart()

    def drain(self) -> list[str]:
        """The warnings since the last call, oldest first."""
        texts = list(self._new)
        self._new.clear()
        return texts


def fusion_problems(
    config: CoreConfig, pairer: Pairer, streams: Streams, fused_share: FusedShare, now_ns: int
) -> Iterator[tuple[str, str]]:
    """Yield (key, message) for everything that prevents the fusion of color and depth.

    Args:
        config: current parameters.
        pairer: provides the lag and the share of missing partner frames.
        streams: provide alignment, intrinsics and health.
        fused_share: the share of the recent masks that are fused.
        now_ns: the current time.
    """
    misaligned, without_intrinsics = streams.geometry.misaligned, streams.without_intrinsics
    if misaligned is not None:
        yield (
            "aligned",
            f"{misaligned}; only color is used. Get aligned depth from the driver (RealSense: "
            "align_depth.enable:=true, topic aligned_depth_to_color), or set assume_aligned if "
            "depth is aligned",
        )
    if without_intrinsics:
        yield (
            "intrinsics",
            f"network {', '.join(without_intrinsics)} needs camera intrinsics and is not used "
            "until a camera_info arrives",
        )
    for stream, partner in PARTNER.items():
        lag_ns = pairer.lag_ns(stream)
        if lag_ns is not None and lag_ns > config.max_wait_ms * NS_PER_MS:
            yield (
                "lag",
                f"{partner} arrives {lag_ns / NS_PER_MS:.0f} ms after {stream}, more than "
                f"max_wait_ms={config.max_wait_ms:g}, so only {stream} is used: raise max_wait_ms "
                "to fuse them; if both are exposed at the same time, the clocks of their stamps "
                "differ: synchronize them, or replay with --stamps receive",
            )
            return  # which also explains why frame pairs are incomplete
    incomplete = pairer.missed_fraction > MISSED_WARNING
    periods = [streams.health[stream].period_ns for stream in ("rgb", "depth")]
    rates = [NS_PER_S / period for period in periods if period]
    if any(rate > FASTEST_HZ for rate in rates):
        mixed = " and ".join(s for s in PARTNER if (streams.health[s].period_ns or NS_PER_S) < 1e6)
        yield (
            "mixed",
            f"the stamps of {mixed} advance by less than 1 ms from message to message, as if "
            "several programs published one topic, so masks use one stream only: stop all but one",
        )
        return
    differ = len(rates) == 2 and max(rates) > RATE_RATIO * min(rates)
    # Depth may be faster, as some cameras are made.
    if differ and (incomplete or fused_share.is_low or rates[0] > rates[1]):
        if fused_share.value is None:
            return  # the effect is not known yet
        fused = fused_share.value >= MOST
        effect = "masks have the lower rate" if fused else "many masks use one of them only"
        yield (
            "rates",
            f"by their stamps, color has {rates[0]:.3g} Hz but depth {rates[1]:.3g} Hz, so "
            f"{effect}: set both to one rate",
        )
        return
    # If a stream delivers no usable frames, missing partners give no reason to change the wait.
    if streams.delivering(now_ns) and incomplete and len(rates) == 2:
        yield (
            "missed",
            f"{pairer.missed_fraction:.0%} of the last 30 frame pairs are incomplete (depth "
            f"lags color by {(pairer.lag_ns('rgb') or 0) / NS_PER_MS:.0f} ms, max_wait_ms="
            f"{config.max_wait_ms:g}, max_skew_ms={config.max_skew_ms:g}): raise max_wait_ms or "
            "max_skew_ms, or find out where frames are lost (`ros2 topic hz` on both topics)",
        )
    if fused_share.is_low:
        yield (
            "share",
            f"only {fused_share.value or 0:.0%} of the last {WINDOW} masks are fused, because "
            "color and depth arrive at different rates or too far apart: compare the rates of the "
            "two topics (`ros2 topic hz`), and max_skew_ms with the difference of their stamps",
        )
