# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Hints for topics: silent ones, other transports, several publishers, sizes that differ."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rclpy.node import Node
    from rclpy.qos import QoSProfile
    from rclpy.subscription import Subscription
    from rclpy.topic_endpoint_info import TopicEndpointInfo

#: A stream without messages for this long is reported.
SILENCE_S = 5.0
#: Transports that the node reads, by stream; each is the value of its parameter.
TRANSPORTS = {"rgb": ("raw", "compressed", "ffmpeg"), "depth": ("raw", "compressedDepth")}
#: Image topics of a segmenter, which are not suggested as inputs.
SEGMENTER_OUTPUTS = ("/mask", "/confidence", "/overlay", "/color_mask")


#: Causes of a silent topic.
SILENT_CAUSES = ("no publisher", "other topics", "transport", "type", "network")

#: At most so many publishers are named.
MAX_NAMES = 4


def silent_topic(node: Node, subscription: Subscription, name: str) -> tuple[str, str]:
    """The cause why a subscription receives nothing, and a line that explains what to do.

    Args:
        node: used to query the ROS graph.
        subscription: the silent subscription.
        name: its relative topic name, for remapping.
    """
    topic = subscription.topic_name
    wanted = type_name(subscription.msg_type)
    publishers = node.get_publishers_info_by_topic(topic)
    start = f"no messages on {topic}"
    if not publishers:
        others = [t for t, _ in node.get_topic_names_and_types() if node.count_publishers(t)]
        hint = other_transport(topic, name, others)
        if hint:
            return "transport", f"{start}: {hint}"
        cause, hint = _other_topics(node, wanted, topic, name)
        return cause, f"{start}: no publisher. {hint}"
    fitting = [info for info in publishers if info.topic_type == wanted]
    if not fitting:
        return "type", (
            f"{start}: {_names(publishers)} publishes {publishers[0].topic_type}, but this node "
            f"subscribes to {wanted}; check the transport parameters or remap {name}"
        )
    return "network", f"{start}: {_qos_or_network(subscription, fitting)}"


def other_transport(topic: str, name: str, published: Iterable[str]) -> str | None:
    """A hint if the same images are published with another transport; else None.

    Args:
        topic: the topic to which the node subscribes, for example ``/rgb/image_raw``.
        name: relative name of its raw topic, for example ``rgb/image_raw``.
        published: the topics that have publishers.
    """
    published = set(published)
    stream = name.partition("_")[0].partition("/")[0]
    known = TRANSPORTS[stream]
    base = topic
    for transport in known[1:]:
        base = base.removesuffix(f"/{transport}")
    for transport in known:
        other = base if transport == "raw" else f"{base}/{transport}"
        if other != topic and other in published:
            return f"only {other} is published: set the parameter {stream}_transport: {transport}"
    unread = sorted(t for t in published if t.startswith(f"{base}/") and t != topic)
    if not unread:
        return None
    return (
        f"only {unread[0]} is published, which this node cannot read; publish "
        f"{' or '.join(known)}, for example with `ros2 run image_transport republish`"
    )


def several_publishers(topic: str, publishers: Sequence[TopicEndpointInfo]) -> str | None:
    """A hint if more than one publisher sends to a topic, whose messages would alternate."""
    if len(publishers) < 2:
        return None
    names = _full_names(publishers)
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    mixed = "times" if topic == "/clock" else "frames"
    return (
        f"{len(publishers)} publishers on {topic}: {', '.join(names[:MAX_NAMES])}{more}; their "
        f"{mixed} mix, so stop all but one, or remap the topic"
    )


def other_size(stream: str, image: tuple[int, int], info: tuple[int, int]) -> str | None:
    """A hint if a camera_info is not that of the image; sizes are (height, width) in pixels."""
    if image == info:
        return None
    return (
        f"{stream}/camera_info is for {info[1]}×{info[0]} images, but those of {stream} have "
        f"{image[1]}×{image[0]}: remap {stream}/camera_info to the camera_info of this topic"
    )


def _qos_or_network(subscription: Subscription, publishers: Sequence[TopicEndpointInfo]) -> str:
    from rclpy.qos import QoSCompatibility, qos_check_compatible

    topic = subscription.topic_name
    for info in publishers:
        compatibility, why = qos_check_compatible(info.qos_profile, subscription.qos_profile)
        if compatibility == QoSCompatibility.ERROR:
            return (
                f"{_names([info])} publishes with QoS {describe_qos(info.qos_profile)}, which is "
                f"incompatible with this node's {describe_qos(subscription.qos_profile)} "
                f"({why.strip(' ;')}); set "
                f"qos_overrides.{topic}.subscription.reliability: best_effort"
            )
    return (
        f"{_names(publishers)} with QoS {describe_qos(publishers[0].qos_profile)} sends nothing, "
        f"or its images are lost in transport; try `ros2 topic hz {topic}`, and "
        "`rgbd_seg doctor` to check the receive buffer (net.core.rmem_max)"
    )


def _other_topics(node: Node, wanted: str, topic: str, name: str) -> tuple[str, str]:
    others = sorted(
        other
        for other, types in node.get_topic_names_and_types()
        if wanted in types and other != topic and not other.endswith(SEGMENTER_OUTPUTS)
    )
    others = [other for other in others if node.count_publishers(other)]
    if not others:
        return "no publisher", (
            f"No other topic has type {wanted}: start the camera, or check ROS_DOMAIN_ID"
        )
    return "other topics", (
        f"Topics with type {wanted}: {', '.join(others[:4])}; pass camera:= to the launch file, "
        f"or remap {name}"
    )


def _names(publishers: Sequence[TopicEndpointInfo]) -> str:
    names = ", ".join(dict.fromkeys(_full_names(publishers)))
    return f"{len(publishers)} publisher{'s' * (len(publishers) > 1)} ({names})"


def _full_names(publishers: Sequence[TopicEndpointInfo]) -> list[str]:
    return sorted(f"{i.node_namespace.rstrip('/')}/{i.node_name}" for i in publishers)


def describe_qos(qos: QoSProfile) -> str:
    """The policies that decide compatibility, such as ``reliable, volatile``."""
    return f"{qos.reliability.name.lower().replace('_', ' ')}, {qos.durability.name.lower()}"


def type_name(message_type: type) -> str:
    """Name of a message class, for example ``sensor_msgs/msg/Image``."""
    package, folder, *_ = message_type.__module__.split(".")
    return f"{package}/{folder}/{message_type.__name__}"
