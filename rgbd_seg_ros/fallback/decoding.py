# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Decoding: which compressed frames are decoded next; the others are never decoded.

A compressed frame of an OK stream is presumed usable and takes part in pairing undecoded. It is
decoded only when

- its job starts;
- its stream is not OK, so that it cannot be used before its pixels are tested;
- or no frame of its stream has been decoded for a while, so that its health is not known.

The newest frame always wins, so at any load only as much is decoded as there is time for. A job
waits for its own frames only, and for those no longer than ``decode_timeout_s``.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping

from rgbd_seg_ros.frames import CompressedFrame, Stream


class Purpose(enum.Enum):
    """Why a frame is decoded."""

    JOB = "job"
    #: Its stream is not OK; once decoded, the frame is judged and paired like a raw one.
    ADMISSION = "admission"
    #: Only its stream's health is examined; what happened to the frame is already counted.
    HEALTH = "health"


class DecodeQueue:
    """The compressed frames that may have to be decoded, at most a few per stream."""

    def __init__(self) -> None:
        #: The newest frame of each stream that was not OK when it arrived.
        self._waiting: dict[Stream, CompressedFrame] = {}
        #: The newest undecoded frame of each stream that was OK when it arrived.
        self._newest: dict[Stream, CompressedFrame] = {}
        #: Frames that are being decoded: their stream, why, and since when.
        self._in_progress: dict[CompressedFrame, tuple[Stream, Purpose, int]] = {}
        #: When the last decoding of each stream began or ended.
        self._decoded_ns: dict[Stream, int] = {}

    def admit(self, stream: Stream, frame: CompressedFrame) -> bool:
        """Hold a frame of a stream that is not OK; True if it replaces an older one."""
        replaced = stream in self._waiting
        self._waiting[stream] = frame
        return replaced

    def note(self, stream: Stream, frame: CompressedFrame) -> None:
        """Remember the newest frame of an OK stream, in case its health must be examined."""
        self._newest[stream] = frame

    def forget_health(self, streams: Iterable[Stream]) -> None:
        """Do not examine the health of streams that are no longer OK by their earlier frames."""
        for stream in streams:
            self._newest.pop(stream, None)

    def next(
        self,
        now_ns: int,
        period_ns: int,
        job_frames: Mapping[Stream, CompressedFrame],
        *,
        job_waits: bool,
        is_pending: Callable[[CompressedFrame], bool],
    ) -> list[CompressedFrame]:
        """The frames to decode now; :meth:`finish` must be called for each of them.

        Args:
            now_ns: the current time.
            period_ns: how often a stream is decoded at least.
            job_frames: undecoded frames of the job that starts now.
            job_waits: a job starts now or is ready, so other streams are only decoded if overdue.
            is_pending: whether a frame may still become part of a job.
        """
        chosen = {stream: (frame, Purpose.JOB) for stream, frame in job_frames.items()}
        busy = {stream for stream, _, _ in self._in_progress.values()}
        for stream in [*self._waiting]:
            urgent = not job_waits or self._is_overdue(stream, now_ns, period_ns)
            if urgent and stream not in chosen and stream not in busy:
                chosen[stream] = (self._waiting.pop(stream), Purpose.ADMISSION)
        for stream, frame in [*self._newest.items()]:
            overdue = self._is_overdue(stream, now_ns, period_ns)
            free = stream not in chosen and stream not in busy
            if overdue and free and not is_pending(frame):
                chosen[stream] = (self._newest.pop(stream), Purpose.HEALTH)
        for stream, (frame, purpose) in chosen.items():
            self._in_progress[frame] = (stream, purpose, now_ns)
            self._decoded_ns[stream] = now_ns
            if self._newest.get(stream) is frame:
                del self._newest[stream]
        return [frame for frame, _ in chosen.values()]

    def finish(self, frame: CompressedFrame, now_ns: int) -> tuple[Stream, Purpose, int] | None:
        """The stream of a decoded frame, why it was decoded, and how long that took, ns.

        None after a reset.
        """
        found = self._in_progress.pop(frame, None)
        if found is None:
            return None
        stream, purpose, began_ns = found
        self._decoded_ns[stream] = now_ns
        return stream, purpose, now_ns - began_ns

    def stream_of(self, frame: CompressedFrame) -> Stream:
        """The stream of a frame that is being decoded."""
        return self._in_progress[frame][0]

    def is_stuck(self, stream: Stream, now_ns: int, timeout_ns: int) -> bool:
        """Whether a frame of this stream has been decoded for at least this long already."""
        began = [at for name, _, at in self._in_progress.values() if name == stream]
        return bool(began) and now_ns - min(began) >= timeout_ns

    def _is_overdue(self, stream: Stream, now_ns: int, period_ns: int) -> bool:
        decoded_ns = self._decoded_ns.get(stream)
        return decoded_ns is None or now_ns - decoded_ns >= period_ns
