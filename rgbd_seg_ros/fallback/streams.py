# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The state of all streams: health, alignment, and the networks that can currently run on them."""

from __future__ import annotations

from collections.abc import Collection

from rgbd_seg_ros.fallback.alignment import StreamGeometry
from rgbd_seg_ros.fallback.config import CoreConfig
from rgbd_seg_ros.fallback.health import SensorHealth, State
from rgbd_seg_ros.fallback.modes import Mode
from rgbd_seg_ros.fallback.pairing import PARTNER, PairedStream, StreamStatus
from rgbd_seg_ros.frames import NS_PER_S, STREAMS, AnyFrame, NetworkName, Stream

#: A stream that is silent within this time after its last message has only just stopped.
SOON_NS = 5 * NS_PER_S
#: The network that runs on a stream's frames alone.
SINGLE_NETWORK: dict[Stream, NetworkName] = {"rgb": "rgb", "depth": "depth", "depth_raw": "depth"}


class Streams:
    """Health and geometry of all streams, and the modes that they and the networks allow.

    Args:
        config: current parameters.
        networks: the networks that the bundle has.
        need_intrinsics: the networks that cannot run without camera intrinsics.
    """

    def __init__(
        self,
        config: CoreConfig,
        networks: Collection[NetworkName],
        need_intrinsics: Collection[NetworkName],
    ) -> None:
        self._config = config
        self._networks = networks
        self._need_intrinsics = need_intrinsics
        self.health = {stream: SensorHealth(stream, config) for stream in STREAMS}
        self.geometry = StreamGeometry(config)

    def configure(self, config: CoreConfig) -> None:
        """Change the parameters at run time."""
        self._config = self.geometry.config = config
        for health in self.health.values():
            health.config = config

    def ok(self, stream: Stream) -> bool:
        """Whether the stream is OK."""
        return self.health[stream].state is State.OK

    def can_run(self, network: NetworkName, stream: Stream) -> bool:
        """Whether the bundle has the network, the user allows it, and it has its intrinsics."""
        return (
            network in self._networks
            and self._config.force_network in ("auto", network)
            and (
                network not in self._need_intrinsics
                or self.geometry.intrinsics(stream) is not None
            )
        )

    def can_run_alone(self, stream: Stream) -> bool:
        """Whether a network can run on frames of this stream alone."""
        return self.can_run(SINGLE_NETWORK[stream], stream)

    def no_other_serves(self, stream: Stream, now_ns: int) -> bool:
        """Whether no other stream delivers frames that a network can run on."""
        return not any(
            health.dependable(now_ns) and self.can_run_alone(other)
            for other, health in self.health.items()
            if other != stream
        )

    def delivering(self, now_ns: int) -> bool:
        """Whether both color and aligned depth deliver usable frames."""
        return all(self.health[s].dependable(now_ns) for s in PARTNER)

    def just_stopped(self, now_ns: int) -> bool:
        """Whether color or depth has stopped and will soon be silent, which changes the mode.

        If silence is not detected, or only after a long time, the masks must decide instead.
        """
        return any(
            not self.health[s].dependable(now_ns)
            and self.health[s].silence_deadline_ns is not None
            and self.health[s].timeout_ns <= SOON_NS
            for s in PARTNER
        )

    def is_of_two_cameras(self, rgb: AnyFrame | None, depth: AnyFrame | None) -> bool:
        """Whether these frames are not aligned although their streams are, and color can do alone.

        Two drivers that publish on one topic mix the frames of two cameras.
        """
        if rgb is None or depth is None or not self.can_run_alone("rgb"):
            return False
        return self.geometry.has_strays(rgb, depth)

    @property
    def without_intrinsics(self) -> list[NetworkName]:
        """Networks that cannot run because an OK stream has no intrinsics."""
        return [
            name
            for name in self._need_intrinsics
            if any(self.ok(s) and not self.geometry.intrinsics(s) for s in PARTNER)
        ]

    def status(self, *, starting: bool) -> StreamStatus:
        """The current state of color and depth for pairing.

        Args:
            starting: the mode is STARTING, so a frame may wait for a stream not yet seen.
        """
        states = {self.health[s].state for s in PARTNER}
        fusible = self.can_run("rgbd", "rgb") and self.geometry.misaligned is None
        fusing = fusible and states == {State.OK}
        awaiting_partner = fusible and starting and states == {State.OK, State.WAITING}
        single: set[PairedStream] = {s for s in PARTNER if self.ok(s) and self.can_run_alone(s)}
        if "rgb" in single and not fusing:
            single.discard("depth")
        serving = frozenset(PARTNER) if fusing or awaiting_partner else frozenset(single)
        periods = {s: self.health[s].period_ns for s in PARTNER}
        return StreamStatus(serving, frozenset(single), fusing, awaiting_partner, periods)

    def possible_mode(self, status: StreamStatus) -> Mode:
        """The best mode that the streams allow."""
        if status.fusing:
            return Mode.RGBD
        if "rgb" in status.single:
            return Mode.RGB_ONLY
        raw = self.ok("depth_raw") and self.can_run_alone("depth_raw")
        return Mode.DEPTH_ONLY if "depth" in status.single or raw else Mode.NO_INPUT

    @property
    def degradation(self) -> str:
        """Why fusion is not possible, for example ``depth silent``; empty if it is."""
        reasons = [
            f"{stream} {health.reason}"
            for stream, health in self.health.items()
            if health.state is State.LOST
        ]
        if self.geometry.misaligned and self.ok("rgb") and self.ok("depth"):
            reasons.append("depth not aligned")
        reasons += [f"no intrinsics for {name}" for name in self.without_intrinsics]
        if self._config.force_network != "auto":
            reasons.append(f"forced to {self._config.force_network}")
        return ", ".join(reasons)
