# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What to say when nothing arrives or stamps are wrong: one line each, with a remedy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rclpy.node import Node
    from rclpy.qos import QoSProfile
    from rclpy.subscription import Subscription
    from rclpy.topic_endpoint_info import TopicEndpointInfo

#: A stream without a message for so long after activation is worth a line.
PATIENCE_S = 5.0
#: Stamps this far from now belong to another day, not to a slow camera.
ANOTHER_DAY_S = 3600.0

#: Outputs of this or another segmenter are no cameras.
MADE_FROM_PICTURES = ("/mask", "/confidence", "/overlay", "/color_mask")


def describe_qos(qos: QoSProfile) -> str:
    """The policies that decide whether two endpoints talk: ``reliable, volatile``."""
    return f"{qos.reliability.name.lower().replace('_', ' ')}, {qos.durability.name.lower()}"


def missing_stream(node: Node, subscription: Subscription, name: str) -> str:
    """Why nothing arrives on a subscription, and what to try.

    Args:
        node: asks the graph.
        subscription: the silent one.
        name: its relative topic, as people remap it.
    """
    topic = subscription.topic_name
    wanted = type_name(subscription.msg_type)
    publishers = node.get_publishers_info_by_topic(topic)
    start = f"nothing arrives on {topic}"
    if not publishers:
        return f"{start}: no publisher. {_elsewhere(node, wanted, topic, name)}"
    fitting = [info for info in publishers if info.topic_type == wanted]
    if not fitting:
        return (
            f"{start}: {_who(publishers)} publishes {publishers[0].topic_type} there, but this "
            f"node expects {wanted}; see the transport parameters or remap {name}"
        )
    return f"{start}: {_silent(subscription, fitting)}"


def _silent(subscription: Subscription, publishers: Sequence[TopicEndpointInfo]) -> str:
    from rclpy.qos import QoSCompatibility, qos_check_compatible

    topic = subscription.topic_name
    for info in publishers:
        fit, why = qos_check_compatible(info.qos_profile, subscription.qos_profile)
        if fit == QoSCompatibility.ERROR:
            return (
                f"{_who([info])} publishes it as {describe_qos(info.qos_profile)}, which does not "
                f"fit this node's {describe_qos(subscription.qos_profile)} ({why.strip(' ;')}); "
                f"set qos_overrides.{topic}.subscription.reliability: best_effort"
            )
    return (
        f"{_who(publishers)} is there ({describe_qos(publishers[0].qos_profile)}) but sends "
        f"nothing, or its pictures are lost on the way; try `ros2 topic hz {topic}`, and "
        "`rgbd_seg doctor` for the receive buffer (net.core.rmem_max)"
    )


def _elsewhere(node: Node, wanted: str, topic: str, name: str) -> str:
    others = sorted(
        other
        for other, types in node.get_topic_names_and_types()
        if wanted in types and other != topic and not other.endswith(MADE_FROM_PICTURES)
    )
    others = [other for other in others if node.count_publishers(other)]
    if not others:
        return "Nobody publishes such pictures: start the camera, or check ROS_DOMAIN_ID"
    return (
        f"Such pictures are published on {', '.join(others[:4])}: give camera:= to the launch "
        f"file, or remap {name}"
    )


def _who(publishers: Sequence[TopicEndpointInfo]) -> str:
    names = sorted({f"{i.node_namespace.rstrip('/')}/{i.node_name}" for i in publishers})
    return f"{len(publishers)} publisher{'s' * (len(publishers) > 1)} ({', '.join(names)})"


def type_name(message_type: type) -> str:
    """``sensor_msgs/msg/Image`` for the message class of that name."""
    package, folder, *_ = message_type.__module__.split(".")
    return f"{package}/{folder}/{message_type.__name__}"


def wrong_day(stream: str, stamp_ns: int, now_ns: int, simulated: bool) -> str | None:
    """A line when a stamp is from another day than the node's clock, else None."""
    age_s = (now_ns - stamp_ns) / 1e9
    if abs(age_s) < ANOTHER_DAY_S:
        return None
    days = abs(age_s) / 86400
    when = f"{days:.1f} days {'old' if age_s > 0 else 'ahead'}"
    if simulated:
        return (
            f"{stream} stamps are {when} by the simulated clock: /clock and the cameras disagree; "
            "play the bag with --clock, or stop the other publisher of /clock"
        )
    return (
        f"{stream} stamps are {when}: if this is a recording, play it with "
        "`ros2 bag play BAG --clock` and launch with use_sim_time:=true; if it is a camera, set "
        "its clock"
    )
