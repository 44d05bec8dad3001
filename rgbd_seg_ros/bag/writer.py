# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Bag writer: writes a ROS 2 mcap bag that appears complete or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rgbd_seg_ros.bag.reader import STORAGE_SUFFIXES, BagError
from rgbd_seg_ros.frames import Intrinsics

if TYPE_CHECKING:
    from rosbags.interfaces import Connection
    from rosbags.rosbag2 import Writer

# rosbags does not include the definitions of vision_msgs.
_VISION_CLASS = "uint16 class_id\nstring class_name\n"
_LABEL_INFO = "std_msgs/Header header\nvision_msgs/VisionClass[] class_map\nfloat32 threshold\n"
_ENCODINGS = {
    (np.dtype(np.uint8), 2): "mono8",
    (np.dtype(np.uint8), 3): "rgb8",
    (np.dtype(np.uint16), 2): "16UC1",
    (np.dtype(np.float32), 2): "32FC1",
}


class BagWriter:
    """Writes one bag; a context manager.

    The bag is written to a temporary directory beside ``path`` and renamed when it is closed, so
    an incomplete bag never appears. Chunks are compressed with zstd, which Foxglove and
    ``ros2 bag`` read.

    Args:
        path: the bag's directory.
        overwrite: replace an existing bag.

    Raises:
        BagError: the path already exists, or rosbags is not installed.
    """

    def __init__(self, path: Path | str, overwrite: bool = False) -> None:
        self.path = Path(path)
        check_output(self.path, overwrite)
        try:
            from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
            from rosbags.typesys import Stores, get_types_from_msg, get_typestore
        except ImportError as error:
            raise BagError(
                f"writing bags needs rosbags ({error}); install it with: pip install rosbags"
            ) from error
        self._store: Any = get_typestore(Stores.LATEST)
        for text, name in ((_VISION_CLASS, "VisionClass"), (_LABEL_INFO, "LabelInfo")):
            self._store.register(get_types_from_msg(text, f"vision_msgs/msg/{name}"))
        self._connections: dict[str, Connection] = {}
        self._scratch = self.path.with_name(f".{self.path.name}.partial")
        if self._scratch.exists():
            shutil.rmtree(self._scratch)  # left behind by a killed run
        self._scratch.mkdir(parents=True)
        # Humble and later read version 8; version 9 writes QoS in a form unknown to Humble.
        self._writer: Writer = Writer(
            self._scratch / self.path.name, version=8, storage_plugin=StoragePlugin.MCAP
        )
        self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        self._writer.open()

    def __enter__(self) -> BagWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        else:
            self.abort()

    def close(self) -> None:
        """Finish the bag and move it to its path.

        Raises:
            BagError: nothing was written.
        """
        if not any(self._writer.counts.values()):
            # A bag without messages has no start time; readers fail on the placeholder.
            self.abort()
            raise BagError(f"nothing was recorded, so {self.path} is not written")
        self._writer.close()
        if self.path.exists():
            shutil.rmtree(self.path)
        (self._scratch / self.path.name).replace(self.path)
        self._scratch.rmdir()

    def abort(self) -> None:
        """Delete what was written."""
        self._writer.abort()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def image(
        self,
        topic: str,
        receive_ns: int,
        array: npt.NDArray[Any],
        stamp_ns: int,
        frame_id: str,
        encoding: str | None = None,
    ) -> None:
        """Write an Image; ``encoding`` replaces the default encoding of the array.

        H×W×3 uint8 becomes rgb8; H×W becomes mono8 (uint8), 16UC1 (uint16) or 32FC1 (float32).
        """
        array = np.ascontiguousarray(array)
        height, width = array.shape[:2]
        fields = {
            "height": height,
            "width": width,
            "encoding": encoding or _ENCODINGS[array.dtype, array.ndim],
            "is_bigendian": 0,
            "step": array.nbytes // height,
            "data": array.reshape(-1).view(np.uint8),
        }
        self.write(topic, "sensor_msgs/msg/Image", receive_ns, stamp_ns, frame_id, fields)

    def camera_info(
        self, topic: str, receive_ns: int, intrinsics: Intrinsics, stamp_ns: int, frame_id: str
    ) -> None:
        """Write the CameraInfo of an undistorted camera."""
        k = intrinsics.matrix().astype(np.float64)
        region = self.make(
            "sensor_msgs/msg/RegionOfInterest",
            {"x_offset": 0, "y_offset": 0, "height": 0, "width": 0, "do_rectify": False},
        )
        fields = {
            "height": intrinsics.height,
            "width": intrinsics.width,
            "distortion_model": "plumb_bob",
            "d": np.zeros(5),
            "k": k.reshape(-1),
            "r": np.eye(3).reshape(-1),
            "p": np.hstack([k, np.zeros((3, 1))]).reshape(-1),
            "binning_x": 0,
            "binning_y": 0,
            "roi": region,
        }
        self.write(topic, "sensor_msgs/msg/CameraInfo", receive_ns, stamp_ns, frame_id, fields)

    def string(self, topic: str, receive_ns: int, data: str) -> None:
        """Write a latched String."""
        message = self.make("std_msgs/msg/String", {"data": data})
        self._put(topic, "std_msgs/msg/String", receive_ns, message, latched=True)

    def label_info(self, topic: str, stamp_ns: int, classes: Sequence[str]) -> None:
        """Write a latched ``vision_msgs/LabelInfo``."""
        table = [
            self.make("vision_msgs/msg/VisionClass", {"class_id": i, "class_name": name})
            for i, name in enumerate(classes)
        ]
        fields = {"header": self._header(stamp_ns, ""), "class_map": table, "threshold": 0.0}
        kind = "vision_msgs/msg/LabelInfo"
        self._put(topic, kind, stamp_ns, self.make(kind, fields), latched=True)

    def diagnostics(
        self,
        topic: str,
        receive_ns: int,
        stamp_ns: int,
        frame_id: str,
        *,
        name: str,
        level: int,
        text: str,
        values: Mapping[str, str],
    ) -> None:
        """Write a DiagnosticArray with one status."""
        pairs = [
            self.make("diagnostic_msgs/msg/KeyValue", {"key": key, "value": value})
            for key, value in values.items()
        ]
        status = self.make(
            "diagnostic_msgs/msg/DiagnosticStatus",
            {"level": level, "name": name, "message": text, "hardware_id": "", "values": pairs},
        )
        kind = "diagnostic_msgs/msg/DiagnosticArray"
        self.write(topic, kind, receive_ns, stamp_ns, frame_id, {"status": [status]})

    def write(
        self,
        topic: str,
        kind: str,
        receive_ns: int,
        stamp_ns: int,
        frame_id: str,
        fields: Mapping[str, Any],
    ) -> None:
        """Write a message of any type that has a header; ``fields`` are its other fields."""
        header = self._header(stamp_ns, frame_id)
        self._put(topic, kind, receive_ns, self.make(kind, {"header": header, **fields}))

    def make(self, kind: str, fields: Mapping[str, Any]) -> Any:
        """Create a message of the type named ``kind``."""
        return self._store.types[kind](**fields)

    def _header(self, stamp_ns: int, frame_id: str) -> Any:
        sec, nanosec = divmod(stamp_ns, 1_000_000_000)
        stamp = self.make("builtin_interfaces/msg/Time", {"sec": sec, "nanosec": nanosec})
        return self.make("std_msgs/msg/Header", {"stamp": stamp, "frame_id": frame_id})

    def _put(
        self, topic: str, kind: str, receive_ns: int, message: Any, latched: bool = False
    ) -> None:
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(
                topic, kind, typestore=self._store, offered_qos_profiles=[_qos(latched)]
            )
        data = self._store.serialize_cdr(message, kind)
        self._writer.write(self._connections[topic], receive_ns, data)


def check_output(path: Path, overwrite: bool) -> None:
    """Raise BagError if the path exists, unless it is a bag and ``overwrite`` is set."""
    if not path.exists():
        return
    if not overwrite:
        raise BagError(f"{path} already exists; choose another path or add --overwrite")
    is_bag = path.is_dir() and all(
        p.name == "metadata.yaml" or p.suffix in STORAGE_SUFFIXES for p in path.iterdir()
    )
    if not is_bag:
        raise BagError(f"{path} is not a bag, so it is not overwritten; choose another path")


def _qos(latched: bool) -> Any:
    from rosbags.interfaces import (
        Qos,
        QosDurability,
        QosHistory,
        QosLiveliness,
        QosReliability,
        QosTime,
    )

    forever = QosTime(9223372036, 854775807)  # RMW_DURATION_INFINITE
    return Qos(
        history=QosHistory.KEEP_LAST,
        depth=1 if latched else 5,
        reliability=QosReliability.RELIABLE,
        durability=QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE,
        deadline=forever,
        lifespan=forever,
        liveliness=QosLiveliness.AUTOMATIC,
        liveliness_lease_duration=forever,
        avoid_ros_namespace_conventions=False,
    )
