# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Load benchmark of the node: added latency, CPU time and lost masks, with a constant-time engine.

Runs three processes, as on a robot: a camera that publishes both streams, the node with an engine
that takes a constant time, and a subscriber to the masks. Needs a sourced ROS 2.

    python benchmarks/node_load.py --size 480x640 --rate 30 --seconds 60
    python benchmarks/node_load.py --size 1080x1920 --compressed
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
#: Number of different images that are published in turn, so that no stream appears frozen.
IMAGES = 16


class ConstantTime:
    """An engine that takes ``network_ms`` for every mask, without using the CPU."""

    device, description = "fake", "a constant time"
    available = ("rgbd", "rgb", "depth")
    need_intrinsics = ()
    memory_mb = None

    def __init__(self, network_ms: float) -> None:
        # Importing it takes a second, during which the first frames would wait.
        from rgbd_seg_ros.engine import Segmentation
        from rgbd_seg_ros.labels import INDOOR16

        self.labels = INDOOR16
        self._segmentation = Segmentation
        self._seconds = network_ms / 1e3

    def __call__(
        self, rgb: Any = None, depth: Any = None, *_: Any, network: Any, **__: Any
    ) -> Any:
        end = time.perf_counter() + self._seconds
        shape = (rgb if rgb is not None else depth).shape[:2]
        mask = np.zeros(shape, np.uint8)
        time.sleep(max(0.0, end - time.perf_counter()))
        return self._segmentation(mask, mask, network, {"total": self._seconds * 1e3})

    def estimate_gravity(self, *_: Any) -> Any:
        """Never called, because ``need_intrinsics`` is empty."""
        raise NotImplementedError


def make_messages(size: tuple[int, int], compressed: bool) -> dict[str, list[Any]]:
    """Messages of both streams, for topics in the order in which they are published.

    The images look like a room: smooth surfaces with noise, so that they compress as real ones do.
    """
    import cv2
    from sensor_msgs.msg import CompressedImage, Image

    rng = np.random.default_rng(0)
    messages: dict[str, list[Any]] = {"depth": [], "rgb": []}
    for _ in range(IMAGES):
        small = rng.integers(30, 220, (12, 16, 3), dtype=np.uint8)
        rgb = cv2.resize(small, size[::-1], interpolation=cv2.INTER_CUBIC)
        rgb = cv2.add(rgb, rng.integers(0, 8, rgb.shape, dtype=np.uint8))
        small = rng.integers(800, 4000, (12, 16)).astype(np.uint16)
        depth = cv2.resize(small, size[::-1], interpolation=cv2.INTER_LINEAR)
        depth += rng.integers(0, 8, size, dtype=np.uint16)
        for name, image, encoding in (("rgb", rgb, "rgb8"), ("depth", depth, "16UC1")):
            if compressed:
                depth_header = bytes(12) if name == "depth" else b""
                suffix, kind = (
                    (".png", f"{encoding}; compressedDepth png")
                    if name == "depth"
                    else (".jpg", f"{encoding}; jpeg compressed bgr8")
                )
                message: Any = CompressedImage(format=kind)
                data = depth_header + cv2.imencode(suffix, image)[1].tobytes()
            else:
                message = Image(height=size[0], width=size[1], encoding=encoding)
                message.step = image.strides[0]
                data = image.tobytes()
            message.header.frame_id = "camera_color_optical_frame"
            message.data.frombytes(data)
            messages[name].append(message)
    return messages


def camera(size: tuple[int, int], rate: float, seconds: float, compressed: bool) -> None:
    """Publish both streams, depth first, each image stamped when it is published."""
    import rclpy
    from rclpy.qos import qos_profile_sensor_data

    rclpy.init()
    node = rclpy.create_node("camera")
    messages = make_messages(size, compressed)
    transports = {"rgb": "/compressed", "depth": "/compressedDepth"} if compressed else {}
    publishers = {
        name: node.create_publisher(
            type(messages[name][0]),
            f"{name}/image_raw{transports.get(name, '')}",
            qos_profile_sensor_data,
        )
        for name in messages
    }
    while any(publisher.get_subscription_count() == 0 for publisher in publishers.values()):
        rclpy.spin_once(node, timeout_sec=0.1)
    count, start = int(rate * seconds), time.monotonic()
    for i in range(count):
        time.sleep(max(0.0, start + i / rate - time.monotonic()))
        for name in messages:
            message = messages[name][i % IMAGES]
            message.header.stamp = node.get_clock().now().to_msg()
            publishers[name].publish(message)
    took = time.monotonic() - start
    print(json.dumps({"published": dict.fromkeys(messages, count), "seconds": took}))
    # Wait until the last images have been sent before the process exits.
    end = time.monotonic() + 1.0
    while time.monotonic() < end:
        rclpy.spin_once(node, timeout_sec=0.1)
    rclpy.try_shutdown()


def serve(network_ms: float, compressed: bool) -> int:
    """Run the node with the constant-time engine."""
    from rgbd_seg_ros.ros.main import main as node_main

    arguments = [sys.argv[0], "--ros-args", "-p", "autostart:=true"]
    if compressed:
        transports = {"rgb_transport": "compressed", "depth_transport": "compressedDepth"}
        for name, transport in transports.items():
            arguments += ["-p", f"{name}:={transport}"]
    return node_main(arguments, load=lambda *_: ConstantTime(network_ms))


def cpu_seconds(pid: int) -> float:
    """User and system CPU time that a process has used so far, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Run the camera and the node, receive the masks and return the results."""
    import rclpy
    from diagnostic_msgs.msg import DiagnosticArray
    from rclpy.qos import DurabilityPolicy, QoSProfile
    from sensor_msgs.msg import Image
    from std_msgs.msg import String

    rclpy.init()
    listener = rclpy.create_node("listener")
    latencies_ms: list[float] = []
    stamps: list[int] = []
    seconds: list[int] = []
    diagnostics: dict[str, str] = {}
    modes: list[str] = []

    def on_mask(message: Image) -> None:
        stamp = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
        latencies_ms.append((time.time_ns() - stamp) / 1e6)
        stamps.append(stamp)
        seconds.append(int(time.monotonic()))

    def on_diagnostics(message: DiagnosticArray) -> None:
        for status in message.status:
            diagnostics.update({entry.key: entry.value for entry in status.values})

    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    listener.create_subscription(Image, "segmenter/mask", on_mask, 10)
    listener.create_subscription(DiagnosticArray, "/diagnostics", on_diagnostics, 10)
    listener.create_subscription(String, "segmenter/mode", lambda m: modes.append(m.data), latched)
    me = [sys.executable, str(Path(__file__).resolve())]
    me += ["--compressed"] if args.compressed else []
    shared = ["--size", args.size, "--rate", str(args.rate), "--seconds", str(args.seconds)]
    node = subprocess.Popen([*me, "--role", "node", "--network-ms", str(args.network_ms)])
    try:
        while not modes:
            rclpy.spin_once(listener, timeout_sec=0.2)
            if node.poll() is not None:
                raise RuntimeError("the node ended before it was active; see its log above")
        source = subprocess.Popen(
            [*me, "--role", "camera", *shared], stdout=subprocess.PIPE, text=True
        )
        while not stamps:
            rclpy.spin_once(listener, timeout_sec=0.2)
        cpu_s, wall_s, me_s = cpu_seconds(node.pid), time.monotonic(), time.process_time()
        while source.poll() is None:
            rclpy.spin_once(listener, timeout_sec=0.2)
        cpu_s, wall_s = cpu_seconds(node.pid) - cpu_s, time.monotonic() - wall_s
        me_s = time.process_time() - me_s
        end = time.monotonic() + 3.0  # for the last masks and the final diagnostics
        while time.monotonic() < end:
            rclpy.spin_once(listener, timeout_sec=0.2)
    finally:
        node.terminate()
        node.wait(10)
        rclpy.try_shutdown()
    assert source.stdout is not None
    sent = json.loads(source.stdout.read())
    counters = {
        key: int(value)
        for key, value in diagnostics.items()
        if key.startswith(("rgb_", "depth_")) and value.isdigit()
    }
    offered = counters["rgb_offered"] + counters["depth_offered"]
    published = sum(sent["published"].values())
    # Skip the first second, in which the node learns the periods of the streams.
    added = np.array(latencies_ms[int(args.rate) :]) - args.network_ms
    percentiles = dict(zip(("p50", "p95", "p99"), np.percentile(added, (50, 95, 99)), strict=True))
    published_masks = int(diagnostics["masks"])
    # Neither the first nor the last second is complete.
    rates = [seconds.count(second) for second in range(seconds[0] + 1, seconds[-1])]
    return {
        "size": args.size,
        "rate_hz": args.rate,
        "network_ms": args.network_ms,
        "seconds": round(sent["seconds"], 1),
        "published": published,
        "lost_before_the_node": published - offered,
        "frames": {key: count for key, count in counters.items() if count},
        "frames_pending_at_the_end": counters["rgb_pending"] + counters["depth_pending"],
        "masks_published": published_masks,
        "masks_received": len(stamps),
        "masks_lost": published_masks - len(stamps),
        "masks_duplicated": len(stamps) - len(set(stamps)),
        "masks_expired": int(diagnostics["masks_expired"]),
        "fewest_masks_in_a_second": min(rates, default=0),
        "oldest_mask_ms": round(max(latencies_ms), 1),
        "modes": modes,
        "added_latency_ms": {name: round(float(v), 2) for name, v in percentiles.items()},
        "node_cpu_percent_of_a_core": round(100 * cpu_s / wall_s, 1),
        "listener_cpu_percent_of_a_core": round(100 * me_s / wall_s, 1),
        "load_average": os.getloadavg()[0],
    }


def main() -> int:
    """Run the benchmark, or one of its child processes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--size", default="480x640", help="HEIGHTxWIDTH in pixels (default %(default)s)"
    )
    parser.add_argument("--rate", type=float, default=30.0, help="frame rate of each stream in Hz")
    parser.add_argument("--seconds", type=float, default=60.0, help="duration in seconds")
    parser.add_argument(
        "--network-ms", type=float, default=10.0, help="time that the engine takes per mask, in ms"
    )
    parser.add_argument(
        "--compressed", action="store_true", help="publish JPEG color and PNG compressedDepth"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--role", choices=("camera", "node"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    os.environ.setdefault("RMW_IMPLEMENTATION", "rmw_cyclonedds_cpp")
    os.environ["CYCLONEDDS_URI"] = f"file://{ROOT}/config/cyclonedds_local.xml"
    os.environ.setdefault("ROS_DOMAIN_ID", "98")
    if args.role == "camera":
        height, width = (int(part) for part in args.size.split("x"))
        camera((height, width), args.rate, args.seconds, args.compressed)
        return 0
    if args.role == "node":
        return serve(args.network_ms, args.compressed)
    result = measure(args)
    if args.json:
        print(json.dumps(result))
    else:
        print("\n".join(f"{key:32} {value}" for key, value in result.items()))
    faults = ("frames_pending_at_the_end", "masks_lost", "masks_duplicated")
    return 1 if any(result[fault] for fault in faults) else 0


if __name__ == "__main__":
    sys.exit(main())
