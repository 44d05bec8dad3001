# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Valid messages for the fuzzer, of every encoding and format, and bombs of a few kilobytes."""

from __future__ import annotations

import functools
import struct
import zlib
from types import SimpleNamespace as Namespace

import cv2
import numpy as np
from rigs.messages import config_header, encode, rvl, rvl_code

from rgbd_seg_ros.encodings import COLOR_ENCODINGS, DEPTH_ENCODINGS

#: Largest image that the fuzzer lets the converter decode, pixels.
MAX_PIXELS = 1_000_000
SIZES = ((2, 2), (16, 24), (48, 64), (37, 53), (90, 120), (64, 1), (900, 1100))
#: Different images per form and size, so that no stream is frozen.
VARIANTS = 12

#: Compressed forms: suffix of the file, and ``format`` of the message.
COLOR_FORMS = (
    (".jpg", "jpeg"), (".jpg progressive", "rgb8; jpeg compressed bgr8"),
    (".png", "bgr8; png compressed bgr8"), (".png 16", "rgb16; png compressed bgr16"),
    (".png alpha", "png"), (".webp", "webp"), (".tiff", "rgb8; tiff compressed bgr8"),
    (".bmp", "bmp"), (".ppm", ""), (".pam", ""), ("h264", "h264"),
)  # fmt: skip
DEPTH_FORMS = (
    (".png", "16UC1; compressedDepth png"), (".png bare", "png"),
    (".png meters", "32FC1; compressedDepth png"), ("rvl", "16UC1; compressedDepth rvl"),
    ("rvl meters", "32FC1; compressedDepth rvl"), (".tiff", "tiff"), (".tiff float", ""),
    (".pgm", ""), (".pfm", ""), (".jp2", ""),
)  # fmt: skip


def forms(stream: str) -> list[str]:
    """The forms in which an image of this stream can be sent: encodings and compressed formats."""
    if stream == "rgb":
        return [*COLOR_ENCODINGS, *(f"compressed {suffix}" for suffix, _ in COLOR_FORMS)]
    return [*DEPTH_ENCODINGS, *(f"compressed {suffix}" for suffix, _ in DEPTH_FORMS)]


def header(stamp_ns: int, frame_id: str = "camera") -> Namespace:
    """A header whose stamp may be any number of nanoseconds."""
    stamp = Namespace(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
    return Namespace(stamp=stamp, frame_id=frame_id)


def image(stream: str, form: str, size: tuple[int, int], variant: int, stamp_ns: int) -> Namespace:
    """A valid Image or CompressedImage."""
    if not form.startswith("compressed "):
        data, height, width, step = _raw(stream, form, size, variant % VARIANTS)
        return Namespace(
            header=header(stamp_ns), height=height, width=width, encoding=form, is_bigendian=0,
            step=step, data=data,
        )  # fmt: skip
    suffix = form.removeprefix("compressed ")
    text = dict(COLOR_FORMS if stream == "rgb" else DEPTH_FORMS)[suffix]
    if suffix == "h264":
        packets = _video()
        data = packets[variant % len(packets)] if packets else b"\0\0\0\1\x67"
    else:
        data = _file("rgb" if stream == "rgb" else "depth", suffix, size, variant % VARIANTS)
    return Namespace(header=header(stamp_ns), format=text, data=data)


def camera_info(stamp_ns: int) -> Namespace:
    """A calibrated camera_info."""
    roi = Namespace(x_offset=0, y_offset=0, width=0, height=0)
    k = [500.0, 0.0, 40.0, 0.0, 500.0, 30.0, 0.0, 0.0, 1.0]
    return Namespace(
        header=header(stamp_ns), height=60, width=80, k=k, binning_x=0, binning_y=0, roi=roi
    )


def transforms(links: list[tuple[str, str]], rotations: np.ndarray, stamp_ns: int) -> Namespace:
    """A TFMessage of (parent, child) links with these quaternions, N×4."""
    return Namespace(
        transforms=[
            Namespace(
                header=header(stamp_ns, parent),
                child_frame_id=child,
                transform=Namespace(
                    rotation=Namespace(**dict(zip("xyzw", rotation, strict=True))),
                    translation=Namespace(x=0.0, y=0.0, z=0.0),
                ),
            )
            for (parent, child), rotation in zip(links, rotations.tolist(), strict=True)
        ]
    )


def _color(size: tuple[int, int], variant: int) -> np.ndarray:
    tiles = np.random.default_rng(variant).integers(0, 256, (8, 8, 3), np.uint8)
    return cv2.resize(tiles, size[::-1], interpolation=cv2.INTER_NEAREST)


def _depth(size: tuple[int, int], variant: int) -> np.ndarray:
    tiles = np.random.default_rng(variant).integers(500, 5000, (8, 8), np.uint16)
    tiles[0, :2] = 0
    return cv2.resize(tiles, size[::-1], interpolation=cv2.INTER_NEAREST)


@functools.lru_cache(maxsize=2000)
def _raw(
    stream: str, encoding: str, size: tuple[int, int], variant: int
) -> tuple[bytes, int, int, int]:
    """Data, height, width and step; every third image has padding behind its rows."""
    height, width = size
    if stream == "rgb":
        known = COLOR_ENCODINGS[encoding]
        height += -height % known.multiple_of[0]
        width += -width % known.multiple_of[1]
        lines = (height * known.half_rows + 1) // 2
        row = width * known.channels * known.dtype.itemsize
        pixels = np.random.default_rng(variant).integers(0, 256, (lines, row), np.uint8)
    else:
        ticks = _depth(size, variant)
        meters = DEPTH_ENCODINGS[encoding].kind == "f"
        values = (ticks / np.float32(1000)).astype(np.float32) if meters else ticks
        pixels = np.ascontiguousarray(values).view(np.uint8).reshape(height, -1)
    if variant % 3 == 0:
        pixels = np.pad(pixels, ((0, 0), (0, 8)))
    return pixels.tobytes(), height, width, pixels.shape[1]


@functools.lru_cache(maxsize=2000)
def _file(stream: str, suffix: str, size: tuple[int, int], variant: int) -> bytes:
    if stream == "rgb":
        color = _color(size, variant)
        if suffix == ".png 16":
            return encode(".png", color.astype(np.uint16) * 257)
        if suffix == ".png alpha":
            return encode(".png", np.dstack([color, color[..., 0]]))
        if suffix == ".jpg progressive":
            return encode(".jpg", color, cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
        return encode(suffix, color)
    depth = _depth(size, variant)
    if suffix.startswith("rvl"):
        head = config_header(1000.0, -1.0) if suffix == "rvl meters" else config_header()
        if depth.size > 10_000:  # the encoder takes a second for large images
            runs = [depth.size // 2, depth.size - depth.size // 2, 4000 + 2 * variant]
            code = rvl_code(runs + [0] * (runs[1] - 1))
            return head + struct.pack("<II", size[1], size[0]) + code
        return head + rvl(depth)
    if suffix in (".png", ".png meters", ".png bare"):
        file = encode(".png", depth)
        return file if suffix == ".png bare" else config_header(1000.0, -1.0) + file
    if suffix == ".jp2":  # the encoder needs 32 rows and columns
        depth = _depth((max(size[0], 64), max(size[1], 64)), variant)
    if suffix in (".pfm", ".tiff float"):
        return encode(suffix.split()[0], depth.astype(np.float32) / 1000)
    return encode(suffix, depth)


@functools.lru_cache(maxsize=1)
def _video() -> list[bytes]:
    """H.264 packets of 48×64 pixels, every tenth a keyframe; none if PyAV is not installed."""
    try:
        import av
    except ImportError:
        return []
    context = av.CodecContext.create("libx264", "w")
    context.width, context.height, context.pix_fmt = 64, 48, "yuv420p"
    context.framerate, context.options = (
        30,
        {"tune": "zerolatency", "g": "10", "sc_threshold": "0"},
    )
    frames = (av.VideoFrame.from_ndarray(_color((48, 64), i), format="rgb24") for i in range(40))
    return [bytes(packet) for frame in frames for packet in context.encode(frame.reformat(
        format="yuv420p"))]  # fmt: skip


# --- Images that claim or unpack to much -------------------------------------------------------


def chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG with its checksum."""
    check = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)


def _png(width: int, height: int, bits: int, color: int, *chunks: bytes) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + chunk(b"IEND", b"")


def _tiff(entries: list[tuple[int, int, int]], pixels: bytes) -> bytes:
    """A TIFF of deflated 8-bit gray with these (tag, type, value) before the usual ones."""
    at = 8 + 2 + 12 * (len(entries) + 5) + 4
    entries = [
        *entries,
        (258, 3, 8),
        (259, 3, 8),
        (262, 3, 1),
        (273, 4, at),
        (279, 4, len(pixels)),
    ]
    packed = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + packed + bytes(4) + pixels


@functools.lru_cache(maxsize=1)
def bombs() -> dict[str, bytes]:
    """Small files that would take 50 MB or more if their headers were believed."""
    side = 5000
    zeros = zlib.compress(bytes(side * side), 9)
    more = zlib.compress(bytes(50_000_000), 9)
    lines = zlib.compress(bytes((side + 1) * side), 9)
    progressive = encode(".jpg", _color((64, 64), 0), cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    scan = progressive.rindex(b"\xff\xda")
    large = encode(".webp", np.zeros((side, side, 3), np.uint8))[12:]
    canvas = b"VP8X" + struct.pack("<I", 10) + bytes(4) + 2 * b"\x0f\0\0"
    riff = b"WEBP" + canvas + large
    twice = [(256, 4, side), (256, 4, 16), (257, 4, side), (257, 4, 16), (278, 4, side)]
    tile = [(256, 4, 16), (257, 4, 16), (322, 4, side), (323, 4, side), (324, 4, 8), (325, 4, 99)]
    return {
        "png side": _png(side, side, 8, 0, chunk(b"IDAT", lines)),
        "png pixels": _png(16, 16, 8, 0, chunk(b"IDAT", more)),
        "png text": _png(
            2, 2, 8, 0, chunk(b"zTXt", b"a\0\0" + more), chunk(b"IDAT", zlib.compress(bytes(6)))
        ),
        "png profile": _png(
            2, 2, 8, 2, chunk(b"iCCP", b"a\0\0" + more), chunk(b"IDAT", zlib.compress(bytes(14)))
        ),
        "png two headers": _png(
            16, 16, 8, 0, chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)),
            chunk(b"IDAT", lines),
        ),
        "jpeg side": encode(".jpg", np.zeros((side, side), np.uint8)),
        "jpeg scans": progressive[:scan] + 500 * progressive[scan:-2] + progressive[-2:],
        "webp canvas": b"RIFF" + struct.pack("<I", len(riff)) + riff,
        "tiff two sizes": _tiff(twice, zeros),
        "tiff tile": _tiff(tile, zeros),
        "tiff rows": _tiff([(256, 4, 16), (257, 4, 16), (278, 4, 2**24 - 1)], more),
        "pgm comment": b"P5\n#\r5000 5000 255\n16 16 255\n" + bytes(300),
        "pbm comment": b"P4\n#\r5000 5000\n16 16\n" + bytes(side * side // 8),
        "rvl side": config_header() + struct.pack("<II", side, side) + rvl_code([side**2, 0]),
        "rvl zeros": config_header() + struct.pack("<II", 1000, 1000) + rvl_code([10**6, 0]),
        "rvl empty runs": config_header() + struct.pack("<II", 1000, 1000) + bytes(1_000_000),
        "rvl ones": config_header() + struct.pack("<II", 999, 999) + rvl_code([0, 1, 2] * 99_999),
    }  # fmt: skip
