# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Hints for silent topics and wrong stamps: the likely cause and the remedy, in one line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rclpy.node import Node
    from rclpy.qos import QoSProfile
    from rclpy.subscription import Subscription
    from rclpy.topic_endpoint_info import TopicEndpointInfo

#: A stream without messages for this long is reported.
SILENCE_S = 5.0
#: Stamps that differ this much from the node's clock mean a wrong clock, not a slow camera.
WRONG_CLOCK_S = 3600.0
#: Image topics of a segmenter, which are not suggested as inputs.
SEGMENTER_OUTPUTS = ("/mask", "/confidence", "/overlay", "/color_mask")


def silent_topic(node: Node, subscription: Subscription, name: str) -> str:
    """Explain why a subscription receives nothing, and what to do.

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
        return f"{start}: no publisher. {_other_topics(node, wanted, topic, name)}"
    fitting = [info for info in publishers if info.topic_type == wanted]
    if not fitting:
        return (
            f"{start}: {_names(publishers)} publishes {publishers[0].topic_type}, but this node "
            f"subscribes to {wanted}; check the transport parameters or remap {name}"
        )
    return f"{start}: {_qos_or_network(subscription, fitting)}"


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


def _other_topics(node: Node, wanted: str, topic: str, name: str) -> str:
    others = sorted(
        other
        for other, types in node.get_topic_names_and_types()
        if wanted in types and other != topic and not other.endswith(SEGMENTER_OUTPUTS)
    )
    others = [other for other in others if node.count_publishers(other)]
    if not others:
        return f"No other topic has type {wanted}: start the camera, or check ROS_DOMAIN_ID"
    return (
        f"Topics with type {wanted}: {', '.join(others[:4])}; pass camera:= to the launch file, "
        f"or remap {name}"
    )


def _names(publishers: Sequence[TopicEndpointInfo]) -> str:
    names = sorted({f"{i.node_namespace.rstrip('/')}/{i.node_name}" for i in publishers})
    return f"{len(publishers)} publisher{'s' * (len(publishers) > 1)} ({', '.join(names)})"


def describe_qos(qos: QoSProfile) -> str:
    """The policies that decide compatibility, such as ``reliable, volatile``."""
    return f"{qos.reliability.name.lower().replace('_', ' ')}, {qos.durability.name.lower()}"


def type_name(message_type: type) -> str:
    """Name of a message class, for example ``sensor_msgs/msg/Image``."""
    package, folder, *_ = message_type.__module__.split(".")
    return f"{package}/{folder}/{message_type.__name__}"


def wrong_clock(stream: str, stamp_ns: int, now_ns: int, simulated: bool) -> str | None:
    """A hint if a stamp is far from the node's clock, else None.

    Args:
        stream: name of the stream.
        stamp_ns: stamp of a message.
        now_ns: the node's clock when it arrived.
        simulated: whether that clock is /clock.
    """
    age_s = (now_ns - stamp_ns) / 1e9
    if abs(age_s) < WRONG_CLOCK_S:
        return None
    days = f"{abs(age_s) / 86400:.1f} days"
    if simulated:
        return (
            f"{stream} stamps are {days} {'behind' if age_s > 0 else 'ahead of'} the simulated "
            "clock: play the bag with --clock, or stop the other publisher of /clock"
        )
    return (
        f"{stream} stamps are {days} {'old' if age_s > 0 else 'in the future'}: play a recording "
        "with `ros2 bag play BAG --clock` and launch with use_sim_time:=true; for a live camera, "
        "set its clock"
    )
