# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Decodes the image messages of one stream in order, including H.264 and H.265 video.

A video packet is a ``CompressedImage`` whose ``format`` names the codec, or an ``FFMPEGPacket`` of
ffmpeg_image_transport. It needs the packets before it, so every packet must be passed on, in
order, even if its frame is not used. Video is optional: it needs PyAV (``pip install av``).
"""

from __future__ import annotations

from collections import OrderedDict
from fractions import Fraction
from typing import Any

import numpy as np

from rgbd_seg_ros.frames import CompressedFrame, Defect, Frame, Intrinsics, Stream
from rgbd_seg_ros.image_size import MAX_IMAGE_PIXELS, UnusableImageError, check_size
from rgbd_seg_ros.images import inspect, stamp_ns, to_defect, video_codec
from rgbd_seg_ros.names import shown

#: Packets whose stamps are remembered, because a decoder may hold back frames.
REMEMBERED_PACKETS = 64


class StreamDecoder:
    """Reads the messages of one stream; only video makes it more than a function.

    Args:
        stream: the stream of the messages.
        max_pixels: largest height × width that is decoded; the parameter ``max_image_pixels``.
    """

    def __init__(self, stream: Stream, *, max_pixels: int = MAX_IMAGE_PIXELS) -> None:
        self._stream: Stream = stream
        self._max_pixels = max_pixels
        self._codec = ""
        self._context: Any = None
        self._waits_for_keyframe = True
        self._number = 0
        #: Stamp and frame_id by number of the packet.
        self._packets: OrderedDict[int, tuple[int, str]] = OrderedDict()

    def limit(self, max_pixels: int) -> None:
        """Change the largest height × width that is decoded; video restarts at a keyframe."""
        if max_pixels != self._max_pixels:
            self._max_pixels, self._context = max_pixels, None

    def inspect(
        self, message: Any, intrinsics: Intrinsics | None = None
    ) -> Frame | CompressedFrame | Defect:
        """Read one message, see :func:`rgbd_seg_ros.images.inspect`. Never raises.

        A video packet is decoded at once; its pixels are converted to RGB when the CompressedFrame
        is decoded. Frames that depend on a packet that is missing or damaged are Defects until the
        next keyframe. If the encoder reorders frames (B-frames), a packet gives an earlier frame.
        """
        stamp: int | None = None
        try:
            name = video_name(message)
            if name is None:
                return inspect(message, self._stream, intrinsics, max_pixels=self._max_pixels)
            stamp = stamp_ns(message.header)
            return self._decode(message, name, stamp, intrinsics)
        # As in images.inspect(): no message may end the thread that handles all messages.
        except Exception as error:
            self._waits_for_keyframe = True
            return to_defect(error, stamp)

    def _decode(
        self, message: Any, name: str, stamp: int, intrinsics: Intrinsics | None
    ) -> CompressedFrame:
        if self._stream != "rgb":
            raise UnusableImageError(
                "depth as video is not supported, because its loss falsifies depth; publish "
                "compressedDepth"
            )
        stated = None
        if hasattr(message, "width") and hasattr(message, "height"):
            stated = (int(message.height), int(message.width))
            check_size(*stated, self._max_pixels)
        self._open(name)
        data = memoryview(message.data).tobytes()
        if not data:  # FFmpeg would take it for the end of the video, and refuse all that follows
            raise UnusableImageError("the video packet has no bytes; check the encoder")
        self._number += 1
        self._packets[self._number] = (stamp, str(message.header.frame_id))
        if len(self._packets) > REMEMBERED_PACKETS:
            self._packets.popitem(last=False)
        frame = self._newest_frame(data)
        size = (int(frame.height), int(frame.width))
        check_size(*size, self._max_pixels)
        if stated is not None and size != stated:
            raise UnusableImageError(
                f"the video has {size[1]}×{size[0]} pixels, but its message states "
                f"{stated[1]}×{stated[0]}; check the encoder"
            )
        exposed, frame_id = self._packets.get(frame.pts, (stamp, str(message.header.frame_id)))
        codec = self._codec

        def decode() -> Frame | Defect:
            try:
                rgb = frame.to_ndarray(format="rgb24")
                if rgb.shape != (*size, 3) or rgb.dtype != np.uint8:
                    raise UnusableImageError(f"PyAV converted the video to {rgb.shape}")
                return Frame(rgb, exposed, frame_id, codec, intrinsics)
            except Exception as error:  # as in inspect()
                return to_defect(error, exposed)

        return CompressedFrame(size, exposed, frame_id, decode, intrinsics)

    def _open(self, name: str) -> None:
        codec = video_codec(name)
        if codec is None:
            raise UnusableImageError(
                f"unknown video codec {shown(name)} (known: h264, hevc, av1, vp9); publish h264"
            )
        if codec == self._codec and self._context is not None:
            return
        try:
            import av
            from av.codec.context import Flags
        except ImportError as error:
            raise UnusableImageError(
                f"{codec} video needs PyAV ({error}); install it with: pip install av"
            ) from error
        self._codec, self._waits_for_keyframe = codec, True
        self._context = av.CodecContext.create(codec, "r")
        self._context.options = {"max_pixels": str(self._max_pixels)}
        self._context.flags |= Flags.low_delay
        # Threads that decode several frames at once would hold back as many.
        self._context.thread_type = "SLICE"

    def _newest_frame(self, data: bytes) -> Any:
        import av

        waiting = UnusableImageError(
            f"{self._codec} video is waiting for a keyframe; if this lasts, let the encoder send "
            "one every second"
        )
        packet = av.Packet(data)
        packet.pts, packet.time_base = self._number, Fraction(1, 1000)
        try:
            frames = self._context.decode(packet)
        except (av.error.FFmpegError, EOFError, ValueError) as error:
            if self._waits_for_keyframe:
                raise waiting from error
            raise UnusableImageError(
                f"cannot decode {self._codec} packet of {len(data)} bytes "
                f"({' '.join(str(error).split())[:100]}); check the network"
            ) from error
        if not frames:
            if self._waits_for_keyframe:
                raise waiting
            raise UnusableImageError(
                f"the {self._codec} packet gives no frame: a packet is missing, or the encoder "
                "reorders frames; encode without B-frames (tune zerolatency)"
            )
        frame = frames[-1]
        if any(each.key_frame for each in frames):
            self._waits_for_keyframe = False
        if self._waits_for_keyframe or frame.is_corrupt:
            self._waits_for_keyframe = True
            raise waiting
        return frame


def video_name(message: Any) -> str | None:
    """The text that names the codec of a video packet; None for any other message."""
    if hasattr(message, "step"):
        return None
    if hasattr(message, "format"):
        text = str(message.format)
        return text if video_codec(text) else None
    return str(message.encoding) if hasattr(message, "pts") else None
