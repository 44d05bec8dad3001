# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""ROS parameters, declared from the configuration classes of the node and of the core.

`python -m rgbd_seg_ros.ros.parameters` prints the table of docs/ros.md.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from rgbd_seg_ros.fallback.config import CoreConfig, check_value
from rgbd_seg_ros.gravity import DEFAULT_FRAME
from rgbd_seg_ros.names import did_you_mean, shown


@dataclass(frozen=True, kw_only=True)
class NodeConfig:
    """Parameters of the node in addition to :class:`CoreConfig`, with the same metadata."""

    bundle: str = field(
        default="",
        metadata={"doc": "directory of the bundle; empty for the shipped one"},
    )
    device: str = field(
        default="auto",
        metadata={"doc": "`auto` (CUDA if available), `cpu`, `cuda` or `cuda:N`"},
    )
    backend: str = field(
        default="auto",
        metadata={
            "doc": "`auto` or the name of an inference backend; an unknown name is refused with "
            "the list"
        },
    )
    threads: int = field(
        default=0,
        metadata={
            "doc": "threads of the networks on a CPU; 0: one per core. Fewer leave cores to other "
            "nodes",
            "low": 0,
            "high": 1024,
        },
    )
    rgb_transport: str = field(
        default="raw",
        metadata={
            "doc": "transport of color: raw, JPEG/PNG on `…/compressed`, or video on `…/ffmpeg`",
            "choices": ("raw", "compressed", "ffmpeg"),
        },
    )
    depth_transport: str = field(
        default="raw",
        metadata={
            "doc": "transport of depth: raw, or PNG on `…/compressedDepth`",
            "choices": ("raw", "compressedDepth"),
        },
    )
    use_depth_raw: bool = field(
        default=True,
        metadata={
            "doc": "subscribe to `depth_raw/image_raw`, used when aligned depth is lost with color"
        },
    )
    gravity_frame: str = field(
        default=DEFAULT_FRAME,
        metadata={
            "doc": "frame whose z axis points up. Networks with HHA input take gravity from the "
            "transforms to it; if empty or without transforms, gravity is estimated from depth"
        },
    )
    overlay_rate_hz: float = field(
        default=10.0,
        metadata={
            "doc": "maximum rate of `~/overlay` and `~/color_mask`",
            "low": 0.1,
            "high": 1000.0,
        },
    )
    autostart: bool = field(
        default=False,
        metadata={"doc": "configure and activate at startup; set by the launch file"},
    )

    def __post_init__(self) -> None:
        for parameter in dataclasses.fields(self):
            check_value(parameter, getattr(self, parameter.name))


Config = TypeVar("Config", NodeConfig, CoreConfig)
FIELDS: dict[str, dataclasses.Field[Any]] = {
    f.name: f for config in (NodeConfig, CoreConfig) for f in dataclasses.fields(config)
}
#: Parameters that take effect immediately. The others are read when the node is configured,
#: or, if they are in START, when it starts.
LIVE = frozenset({"overlay_rate_hz"}) | {f.name for f in dataclasses.fields(CoreConfig)}
START = frozenset({"autostart"})
#: Prefixes of parameters that rclpy and diagnostic_updater declare and read only once.
DECLARED_LATER = ("qos_overrides.", "diagnostic_updater.", "start_type_description_service")


def declare(node: Any) -> None:
    """Declare every parameter with its description, range and read-only flag.

    Raises:
        ValueError: a value that was passed to the node has the wrong type or is out of range.
    """
    from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException

    for parameter in FIELDS.values():
        try:
            declared = node.declare_parameter(
                parameter.name, parameter.default, _descriptor(parameter)
            )
        except (InvalidParameterTypeException, InvalidParameterValueException) as error:
            raise ValueError(str(error)) from error
        check_value(parameter, declared.value)
    for text in unknown_overrides(node._parameter_overrides, node.has_parameter):
        node.get_logger().warning(text)


def unknown_overrides(given: Iterable[str], declared: Callable[[str], bool]) -> list[str]:
    """A warning for each parameter that was passed to the node but that it does not have.

    ROS ignores such parameters silently, for example a misspelled name in a params_file.

    Args:
        given: names of the passed parameters.
        declared: whether the node has a parameter.
    """
    return [
        f"parameter {shown(name)} was set but this node has no such parameter, so it is ignored"
        f"{did_you_mean(name, FIELDS)}"
        for name in sorted(given)
        if not declared(name) and not name.startswith(DECLARED_LATER)
    ]


def read(node: Any) -> tuple[NodeConfig, CoreConfig]:
    """The current values of all parameters."""
    values = {name: node.get_parameter(name).value for name in FIELDS}
    return updated(NodeConfig(), values), updated(CoreConfig(), values)


def refusal(
    parameters: Iterable[Any], configured: bool, declared: Callable[[str], bool]
) -> str | None:
    """Why the changes must be rejected; None if they can be made.

    Args:
        parameters: the changed parameters.
        configured: whether the engine is loaded or being loaded.
        declared: whether the node has a parameter.
    """
    for parameter in parameters:
        if parameter.name == "use_sim_time" and configured:
            return (
                "use_sim_time cannot change while the node is configured, since its clock would "
                "jump: set it at launch (use_sim_time:=true), or deactivate and clean up the node "
                "first (ros2 lifecycle set NODE cleanup)"
            )
        # Also called when a parameter is declared, which must stay possible.
        if parameter.name.startswith(DECLARED_LATER) and declared(parameter.name):
            return f"{shown(parameter.name)} is read only when the node starts: set it at launch"
        known = FIELDS.get(parameter.name)
        if known is None:
            continue
        if configured and parameter.name not in LIVE:
            return (
                f"{parameter.name} cannot change while the node is configured; deactivate and "
                "clean up the node first (ros2 lifecycle set NODE cleanup)"
            )
        try:
            check_value(known, parameter.value)
        except ValueError as error:
            return str(error)
    return None


def updated(config: Config, values: Mapping[str, Any]) -> Config:
    """A copy of ``config`` with the ``values`` for which it has fields."""
    changes: dict[str, Any] = {}
    for parameter in dataclasses.fields(config):
        if parameter.name in values:
            value = values[parameter.name]
            changes[parameter.name] = float(value) if parameter.type == "float" else value
    return dataclasses.replace(config, **changes)


def _descriptor(parameter: dataclasses.Field[Any]) -> Any:
    from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

    meta = parameter.metadata
    descriptor = ParameterDescriptor(description=meta["doc"])
    descriptor.read_only = parameter.name in START
    choices = meta.get("choices")
    if choices:
        descriptor.additional_constraints = f"one of {', '.join(choices)}"
    if isinstance(parameter.default, float):
        # So that the integer in `max_age_s: 1` is accepted.
        descriptor.dynamic_typing = True
        if math.isfinite(meta["high"]):
            limits = FloatingPointRange(
                from_value=float(meta["low"]), to_value=float(meta["high"])
            )
            descriptor.floating_point_range = [limits]
        else:
            descriptor.additional_constraints = f"at least {meta['low']:g}"
    elif type(parameter.default) is int:
        limits = IntegerRange(from_value=int(meta["low"]), to_value=int(meta["high"]), step=1)
        descriptor.integer_range = [limits]
    return descriptor


def table() -> str:
    """All parameters as a Markdown table."""
    rows = ["| parameter | default | allowed | changes | meaning |", "|---|---|---|---|---|"]
    for name, parameter in FIELDS.items():
        default = f'"{parameter.default}"' if parameter.default == "" else parameter.default
        shown = str(default).lower() if isinstance(default, bool) else default
        when = "live" if name in LIVE else "at startup" if name in START else "at configure"
        doc = parameter.metadata["doc"].replace("|", "\\|")
        rows.append(f"| `{name}` | `{shown}` | {_allowed(parameter)} | {when} | {doc} |")
    return "\n".join(rows)


def _allowed(parameter: dataclasses.Field[Any]) -> str:
    meta = parameter.metadata
    if "choices" in meta:
        return ", ".join(f"`{choice}`" for choice in meta["choices"])
    if isinstance(parameter.default, bool):
        return "`true`, `false`"
    if isinstance(parameter.default, str):
        return "text"
    if math.isinf(meta["high"]):
        return f"≥ {meta['low']:g}"
    return f"{meta['low']:g} to {meta['high']:g}"


if __name__ == "__main__":
    print(table())
