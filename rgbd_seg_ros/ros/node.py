# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The lifecycle node `segmenter`: convert, call the core, publish."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock as RosClock
from rclpy.clock import ClockType, JumpThreshold
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from std_srvs.srv import SetBool

from rgbd_seg_ros.fallback import Core, Job
from rgbd_seg_ros.frames import Defect, Frame, Stream
from rgbd_seg_ros.gravity import Gravity
from rgbd_seg_ros.replay.runner import segment
from rgbd_seg_ros.ros import parameters
from rgbd_seg_ros.ros.diagnostics import (
    STATES,
    Measurements,
    NodeSnapshot,
    SegmentationTask,
    look,
    start_updater,
)
from rgbd_seg_ros.ros.engine_thread import Live, LiveEngine, Skin
from rgbd_seg_ros.ros.inputs import Inputs
from rgbd_seg_ros.ros.lifecycle import ResponsiveNode
from rgbd_seg_ros.ros.outputs import Outputs

if TYPE_CHECKING:
    from rgbd_seg_ros.engine import Segmentation

#: The watchdog's period on the steady clock. Decisions wait no longer than this while the engine
#: is busy or the clock is simulated; otherwise the engine's thread wakes at the exact deadline.
WATCHDOG_S = 0.02
#: How long cleaning up waits for a mask in the making, which still uses the networks.
CLEANUP_S = 1.0
#: How long a warning of the core stays in /diagnostics.
WARNING_S = 60.0
#: Modes in which no mask comes.
MASKLESS = ("STARTING", "NO_INPUT")


class SegmenterNode(ResponsiveNode):
    """Owns the ROS side: parameters, topics, timers. Decisions are the core's, masks the engine's.

    Args:
        build: makes the engine, in the thread that will run it.
    """

    def __init__(self, build: Callable[[parameters.NodeConfig], LiveEngine]) -> None:
        super().__init__("segmenter")
        parameters.declare(self)
        self.add_on_set_parameters_callback(self._on_set_parameters)
        self._build = build
        self._config, self._core_config = parameters.read(self)
        self._live: Live | None = None
        self._outputs: Outputs | None = None
        self._core: Core | None = None
        self._measurements = Measurements()
        self._steady = RosClock(clock_type=ClockType.STEADY_TIME)
        self._inputs: Inputs | None = None
        self._gravity = Gravity("")
        self._undo: list[Callable[[], Any]] = []
        #: Warnings for /diagnostics and the steady time at which they expire.
        self._warnings: list[tuple[str, float]] = []
        self._mode = ""
        self._closing = False
        self.create_service(SetBool, "~/set_enabled", self._on_set_enabled)
        task = SegmentationTask(self._snapshot, self._measurements)
        self._updater = start_updater(self, self.get_fully_qualified_name(), task)

    # --- Lifecycle -----------------------------------------------------------------------------

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load and warm every network; fails with one line that says why."""
        try:
            self._configure()
        except InterruptedError as error:
            self.get_logger().info(str(error))
            return TransitionCallbackReturn.FAILURE
        # rclpy would swallow the exception without a word.
        except Exception as error:
            self.get_logger().error(f"cannot configure: {error}")
            self._tear_down()
            return TransitionCallbackReturn.FAILURE
        return super().on_configure(state)

    def _configure(self) -> None:
        self._config, self._core_config = parameters.read(self)
        bundle = self._config.bundle or "that came with the package"
        self.get_logger().info(f"loading bundle {bundle} (device {self._config.device}) ...")
        self.get_logger().debug(f"{self._config}, {self._core_config}")
        skin = Skin(
            now_ns=lambda: self.get_clock().now().nanoseconds,
            convert=self._convert,
            segment=self._segment,
            on_mask=self._on_mask,
            on_change=self._on_change,
            on_error=self._on_engine_error,
        )
        self._live = Live(skin, partial(self._build, self._config))
        if self._closing:
            self._live.stop(0.0)
        engine = self._live.wait_built()
        self._outputs = Outputs(self, engine.labels, self._config.overlay_rate_hz)
        self._warnings = []
        if self._config.device == "auto" and str(engine.device) == "cpu":
            text = "no GPU that PyTorch can use: running on the CPU (device: cpu if that is meant)"
            self._warnings.append((text, math.inf))
        names = ", ".join(engine.available)
        self.get_logger().info(f"networks {names} are warm on {engine.device}")

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe and start deciding."""
        result = super().on_activate(state)
        live, outputs = self._live, self._outputs
        if live is None or live.engine is None or outputs is None:
            return TransitionCallbackReturn.ERROR
        needs = getattr(live.engine, "need_intrinsics", ())
        self._core = Core(self._core_config, live.engine.available, needs)
        self._mode = ""
        outputs.publish_labels(self.get_clock().now().nanoseconds)
        self._on_change(self._core)
        live.start(self._core)
        # Only a network that reads HHA asks for gravity; it then says where that comes from.
        self._gravity = Gravity(self._config.gravity_frame, self.get_logger().info)
        transforms = self._gravity.tree if needs and self._config.gravity_frame else None
        self._inputs = Inputs(self, self._config, live.store, self._measurements, transforms)
        for period_s, callback in ((WATCHDOG_S, live.nudge), (1.0, self._each_second)):
            timer = self.create_timer(period_s, callback, clock=self._steady)
            self._undo.append(partial(self.destroy_timer, timer))
        # Steps of the system's own clock have no such callback: the core sees them by itself.
        threshold = JumpThreshold(
            min_forward=None, min_backward=Duration(nanoseconds=-500_000_000), on_clock_change=True
        )
        jump = self.get_clock().create_jump_callback(threshold, post_callback=self._on_clock_jump)
        self._undo.append(jump.unregister)
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe; a mask in the making is dropped."""
        self._updater.force_update()  # the final count
        self._stop()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Let go of the networks."""
        self._tear_down()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Like cleanup, from any state."""
        self._tear_down()
        return super().on_shutdown(state)

    def _stop(self) -> None:
        if self._live is not None:
            self._live.pause()
        if self._core is not None and self._outputs is not None:
            # The latched mode and the last overlay stay behind, and must not look alive.
            self._outputs.publish_mode("NO_INPUT")
            self._blank("inactive")
        for undo in self._undo:
            undo()
        self._undo.clear()
        if self._inputs is not None:
            self._inputs.destroy()
            self._inputs = None
        self._core = None

    def _tear_down(self, patience_s: float = CLEANUP_S) -> None:
        self._stop()
        if self._live is not None:
            self._live.stop(patience_s)
        self._live = None
        if self._outputs is not None:
            self._outputs.destroy()
            self._outputs = None

    def close(self) -> None:
        """Before the process ends, which takes a mask in the making with it."""
        self._closing = True
        if self._live is not None:
            self._live.stop(0.0)
        self.wait_configured(1.0)
        self._tear_down(patience_s=0.0)

    # --- What others ask -----------------------------------------------------------------------

    def _on_clock_jump(self, _: Any) -> None:
        self.get_logger().warning("the clock jumped: starting anew")
        now_ns = self.get_clock().now().nanoseconds
        if self._live is not None:
            self._live.with_core(lambda core: core.reset(now_ns))

    def _on_set_enabled(self, request: Any, response: Any) -> Any:
        response.success = self._core is not None
        response.message = "enabled" if request.data else "disabled"
        if self._live is None or self._core is None:
            response.message = "the node is not active; see `ros2 lifecycle get`"
            return response
        self.get_logger().info(f"{response.message} by ~/set_enabled")
        self._live.with_core(lambda core: core.set_enabled(request.data))
        if self._inputs is not None:
            self._inputs.be_patient()
        return response

    def _each_second(self) -> None:
        if self._live is None or self._inputs is None or self._core is None:
            return
        if self._core.enabled:
            self._inputs.explain()
        # Again and again, for who comes late or missed it.
        self._live.with_core(self._blank_if_maskless)

    def _on_set_parameters(self, changes: Sequence[Any]) -> SetParametersResult:
        reason = parameters.refusal(changes, configured=self._live is not None)
        if reason:
            return SetParametersResult(successful=False, reason=reason)
        live = {change.name: change.value for change in changes}
        if self._outputs is not None and "overlay_rate_hz" in live:
            self._outputs.overlay_rate_hz = live["overlay_rate_hz"]
        self._core_config = parameters.updated(self._core_config, live)
        if self._live is not None:
            self._live.with_core(lambda core: setattr(core, "config", self._core_config))
        return SetParametersResult(successful=True)

    # --- Out -----------------------------------------------------------------------------------

    def _segment(self, engine: LiveEngine, job: Job) -> Segmentation:
        return segment(engine, job, self._core_config, self._gravity)

    def _convert(self, stream: Stream, message: Any) -> Frame | Defect:
        if self._inputs is None:
            return Defect("malformed", "the node is being deactivated")
        return self._inputs.convert(stream, message)

    def _on_change(self, core: Core) -> None:
        for change in core.drain_mode_changes():
            words = f"{change.from_mode.value} -> {change.to_mode.value}"
            if core.enabled:
                self.get_logger().info(f"{words}: {change.reason}")
        for text in core.drain_warnings():
            self.get_logger().warning(text)
            self._warnings = [*self._warnings[-8:], (text, time.monotonic() + WARNING_S)]
        # While disabled the core is STARTING; to who waits for masks that is NO_INPUT.
        mode = core.mode.value if core.enabled else "NO_INPUT"
        if self._outputs is not None and mode != self._mode:
            self._mode = mode
            self._outputs.publish_mode(mode)
            self._blank_if_maskless(core)

    def _blank_if_maskless(self, core: Core) -> None:
        if self._mode in MASKLESS:
            reason = STATES["STARTING"][1] if self._mode == "STARTING" else core.mode_reason
            reason = reason if core.enabled else "disabled"
            self._blank(f"{self._mode}: {reason}")

    def _blank(self, caption: str) -> None:
        if self._outputs is not None:
            self._outputs.publish_blank(caption, self.get_clock().now().nanoseconds)

    def _on_mask(self, job: Job, result: Any, latency_ms: float) -> None:
        if self._outputs is None:
            return
        self._outputs.publish_mask(job, result, latency_ms)
        self._measurements.mask(self.get_clock().now().nanoseconds, latency_ms)
        # A mask in the making when all fell silent comes after the overlay has said so.
        if self._mode not in MASKLESS:
            self._outputs.publish_pictures(job, result, self._core_config)

    def _on_engine_error(self, error: Exception) -> None:
        text = f"{type(error).__name__}: {error}"
        self._measurements.error(text)
        self.get_logger().error(f"no mask: {text}", throttle_duration_sec=5.0)

    def _snapshot(self) -> NodeSnapshot:
        now_ns = self.get_clock().now().nanoseconds
        live = self._live
        if live is None or live.engine is None or self._core is None:
            loading = live is not None and self._outputs is None
            return NodeSnapshot("loading" if loading else "inactive", now_ns, (), {})
        memory = live.engine.memory_mb
        values = {
            "device": str(live.engine.device),
            "networks": " ".join(live.engine.available),
            "gpu_memory_mb": "" if memory is None else f"{memory:.0f}",
        }
        found: list[str] = [text for text, end_s in self._warnings if time.monotonic() < end_s]
        live.with_core(lambda core: look(core, values, found))
        return NodeSnapshot(values.get("state", "inactive"), now_ns, tuple(found), values)
