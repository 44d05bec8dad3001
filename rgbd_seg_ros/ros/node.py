# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The lifecycle node `segmenter`: parameters, transitions, services and timers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock as RosClock
from rclpy.clock import ClockType, JumpThreshold
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from std_srvs.srv import SetBool

from rgbd_seg_ros.command_line import one_line
from rgbd_seg_ros.fallback import Core
from rgbd_seg_ros.gravity import Gravity
from rgbd_seg_ros.inference import Engine, load_engine
from rgbd_seg_ros.names import shown
from rgbd_seg_ros.ros import parameters
from rgbd_seg_ros.ros.convert import Converter
from rgbd_seg_ros.ros.diagnostics import Measurements, NodeState, SegmentationTask, start_updater
from rgbd_seg_ros.ros.engine_thread import EngineThread, Pipeline
from rgbd_seg_ros.ros.inputs import Inputs, image_type
from rgbd_seg_ros.ros.lifecycle import AsyncLifecycleNode
from rgbd_seg_ros.ros.log_throttle import LogThrottle
from rgbd_seg_ros.ros.outputs import Outputs

#: Period of the timer that checks deadlines, on the steady clock. It matters while the engine is
#: busy or time is simulated; otherwise the engine's thread wakes up exactly at each deadline.
DEADLINE_CHECK_S = 0.02
#: How long cleaning up waits for a mask that is being computed with the networks.
CLEANUP_S = 1.0
#: Seconds between two log lines about errors.
ERROR_PERIOD_S = 5.0
#: A clock that jumps back further than this resets the core.
MAX_CLOCK_STEP_BACK_NS = 500_000_000


class SegmenterNode(AsyncLifecycleNode):
    """The ROS side: parameters, transitions, services, timers.

    Images go from :class:`Inputs` to the :class:`EngineThread`, which converts them, asks the core
    which network to run, runs it and gives the masks to :class:`Outputs`.

    Args:
        load: loads the engine from bundle, device, backend and threads, in the engine's thread.
    """

    def __init__(self, load: Callable[[str, str, str, int], Engine] = load_engine) -> None:
        super().__init__("segmenter")
        parameters.declare(self)
        self.add_on_set_parameters_callback(self._on_set_parameters)
        self._load = load
        self._config, self._core_config = parameters.read(self)
        # From configure to cleanup.
        self._engine_thread: EngineThread | None = None
        self._outputs: Outputs | None = None
        # From activate to deactivate.
        self._core: Core | None = None
        self._converter: Converter | None = None
        self._inputs: Inputs | None = None
        self._release: list[Callable[[], Any]] = []
        self._measurements = Measurements()
        self._steady = RosClock(clock_type=ClockType.STEADY_TIME)
        self._closing = False
        self._clock_jumped = LogThrottle(lambda text: self.get_logger().warning(text), 10.0)
        self.create_service(SetBool, "~/set_enabled", self._on_set_enabled)
        task = SegmentationTask(self._node_state, self._measurements)
        self._updater = start_updater(self, self.get_fully_qualified_name(), task, self._steady)

    # --- Lifecycle ------------------------------------------------------------------------------

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load and warm up every network. If that fails, one log line gives the reason."""
        try:
            self._configure()
        except InterruptedError as error:
            self.get_logger().info(str(error))
            return TransitionCallbackReturn.FAILURE
        # rclpy would discard the exception without logging it.
        except Exception as error:
            self.get_logger().error(f"cannot configure: {one_line(error)}")
            self._tear_down()
            return TransitionCallbackReturn.FAILURE
        return super().on_configure(state)

    def _configure(self) -> None:
        self._config, self._core_config = parameters.read(self)
        config = self._config
        image_type(config.rgb_transport)  # before the networks are loaded
        bundle = f"bundle {shown(config.bundle)[1:-1]}" if config.bundle else "the shipped bundle"
        self.get_logger().info(f"loading {bundle} (device {shown(config.device)[1:-1]}) ...")
        self.get_logger().debug(one_line(f"{config}, {self._core_config}"))
        load = partial(self._load, config.bundle, config.device, config.backend, config.threads)
        self._engine_thread = EngineThread(self.get_clock(), load, self.report_error)
        if self._closing:
            self._engine_thread.stop(0.0)
        engine = self._engine_thread.wait_loaded()
        self._outputs = Outputs(self, engine.labels, config.overlay_rate_hz, self._measurements)
        self._measurements.warnings = []
        if config.device == "auto" and str(engine.device) == "cpu":
            text = "PyTorch found no usable GPU: running on the CPU (if intended, set device: cpu)"
            self._measurements.add_warning(text, math.inf)
        names = ", ".join(engine.available)
        self.get_logger().info(f"networks {names} are ready on {engine.device}")

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe and start processing. If that fails, one log line gives the reason."""
        result = super().on_activate(state)
        try:
            self._activate()
        # As in on_configure(); for example, a QoS override of an unknown policy.
        except Exception as error:
            self.get_logger().error(f"cannot activate: {one_line(error)}")
            self._stop()
            super().on_deactivate(state)
            return TransitionCallbackReturn.FAILURE
        return result

    def _activate(self) -> None:
        thread, outputs = self._engine_thread, self._outputs
        if thread is None or thread.engine is None or outputs is None:
            raise RuntimeError("the node is not configured")
        needs = thread.engine.need_intrinsics
        self._core = Core(self._core_config, thread.engine.available, needs)
        outputs.publish_labels()
        outputs.publish_changes(self._core)
        converter = self._converter = Converter(self._core_config.max_image_pixels)
        # Only networks that read HHA use gravity; its source is logged when they first do.
        gravity = Gravity(self._config.gravity_frame, self.get_logger().info)
        thread.start(Pipeline(converter, self._core, gravity, outputs))
        transforms = gravity.tree if needs and self._config.gravity_frame else None
        self._inputs = Inputs(
            self,
            self._config,
            thread.enqueue,
            converter,
            self._measurements,
            transforms,
        )
        for period_s, callback in ((DEADLINE_CHECK_S, thread.wake), (1.0, self._every_second)):
            timer = self.create_timer(period_s, callback, clock=self._steady)
            self._release.append(partial(self.destroy_timer, timer))
        # This callback exists only in simulated time. The core detects steps of the system clock.
        threshold = JumpThreshold(
            min_forward=None,
            min_backward=Duration(nanoseconds=-MAX_CLOCK_STEP_BACK_NS),
            on_clock_change=True,
        )
        jump = self.get_clock().create_jump_callback(threshold, post_callback=self._on_clock_jump)
        self._release.append(jump.unregister)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe; a mask that is being computed is discarded."""
        self._updater.force_update()  # publish the final counts
        self._stop()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release the networks."""
        self._tear_down()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release everything, in any state."""
        self._tear_down()
        return super().on_shutdown(state)

    def _stop(self) -> None:
        if self._engine_thread is not None:
            self._engine_thread.pause()
        if self._core is not None and self._outputs is not None:
            self._outputs.publish_inactive()
        for release in self._release:
            release()
        self._release.clear()
        if self._inputs is not None:
            self._inputs.destroy()
            self._inputs = None
        self._core = self._converter = None

    def _tear_down(self, timeout_s: float = CLEANUP_S) -> None:
        self._stop()
        if self._engine_thread is not None:
            self._engine_thread.stop(timeout_s)
        self._engine_thread = None
        if self._outputs is not None:
            self._outputs.destroy()
            self._outputs = None

    def close(self) -> None:
        """Release everything before the process exits, without waiting for a mask."""
        self._closing = True
        if self._engine_thread is not None:
            self._engine_thread.stop(0.0)
        self.wait_configured(1.0)
        self._tear_down(timeout_s=0.0)

    def report_error(self, error: Exception) -> None:
        """Log an error that has cost a message or a mask, and report it in /diagnostics."""
        text = self._measurements.add_error(error)
        self.get_logger().error(f"processing failed: {text}", throttle_duration_sec=ERROR_PERIOD_S)

    # --- Callbacks ------------------------------------------------------------------------------

    def _on_clock_jump(self, _: Any) -> None:
        self._clock_jumped("the clock jumped: resetting all streams")
        now_ns = self.get_clock().now().nanoseconds
        if self._engine_thread is not None:
            self._engine_thread.with_core(lambda core: core.reset(now_ns))

    def _on_set_enabled(self, request: Any, response: Any) -> Any:
        response.success = self._core is not None
        response.message = "enabled" if request.data else "disabled"
        if self._engine_thread is None or self._core is None:
            response.message = "the node is not active; see `ros2 lifecycle get`"
            return response
        self.get_logger().info(f"{response.message} by ~/set_enabled")
        self._engine_thread.with_core(lambda core: core.set_enabled(request.data))
        if self._inputs is not None:
            self._inputs.restart_timeouts()
        return response

    def _every_second(self) -> None:
        if self._engine_thread is None or self._inputs is None or self._core is None:
            return
        if self._core.enabled:
            self._inputs.check_streams()
        if self._outputs is not None:
            # Republished for late subscribers.
            self._engine_thread.with_core(self._outputs.publish_placeholder)

    def _on_set_parameters(self, changes: Sequence[Any]) -> SetParametersResult:
        configured = self._engine_thread is not None
        reason = parameters.refusal(changes, configured, self.has_parameter)
        if reason:
            return SetParametersResult(successful=False, reason=reason)
        values = {change.name: change.value for change in changes}
        if self._outputs is not None and "overlay_rate_hz" in values:
            self._outputs.overlay_rate_hz = values["overlay_rate_hz"]
        self._core_config = parameters.updated(self._core_config, values)
        if self._converter is not None:
            self._converter.max_pixels = self._core_config.max_image_pixels
        if self._engine_thread is not None:
            self._engine_thread.with_core(lambda core: setattr(core, "config", self._core_config))
        return SetParametersResult(successful=True)

    def _node_state(self) -> NodeState:
        """The state for /diagnostics."""
        now_ns = self.get_clock().now().nanoseconds
        thread = self._engine_thread
        if thread is None or thread.engine is None or self._core is None:
            loading = thread is not None and self._outputs is None
            return NodeState("loading" if loading else "inactive", now_ns)
        memory = thread.engine.memory_mb
        values = {
            "device": str(thread.engine.device),
            "backend": thread.engine.description,
            "networks": " ".join(thread.engine.available),
            "gpu_memory_mb": "" if memory is None else f"{memory:.0f}",
        }
        state = NodeState("inactive", now_ns, self._measurements.current_warnings(), values)
        thread.with_core(state.add_core)
        return state
