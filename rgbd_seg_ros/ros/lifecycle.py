# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A lifecycle node that stays responsive while it configures."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from lifecycle_msgs.msg import Transition
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn
from rclpy.task import Future

from rgbd_seg_ros.names import shown

#: A request names the transition by its label or by its id.
CONFIGURE = ("configure", Transition.TRANSITION_CONFIGURE)
#: No label of a transition is longer.
MAX_LABEL = 64


class AsyncLifecycleNode(LifecycleNode):
    """Runs ``on_configure`` in its own thread and all other transitions in the executor.

    rclpy runs every transition in the executor, so during a slow one the node answers no service
    call, not even ``get_state``. An invalid transition raises an exception there, which would end
    the node; here the request is rejected.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._configuring: threading.Thread | None = None
        service = self._service_change_state
        self._change_state: Callable[[Any, Any], Any] = service.callback
        service.callback = self._on_change_state
        # In the default group, a pending request would block all other callbacks.
        service.callback_group = MutuallyExclusiveCallbackGroup()
        service.callback_group.add_entity(service)

    async def autostart(self) -> bool:
        """Configure and activate the node; False if that fails."""
        success = TransitionCallbackReturn.SUCCESS
        try:
            configured = await self._run_in_thread(self.trigger_configure)
            return bool(configured == success and self.trigger_activate() == success)
        except Exception as error:
            self.get_logger().error(f"cannot start: {error}")
            return False

    def wait_configured(self, timeout_s: float) -> None:
        """Wait until ``on_configure`` has returned, if it is running."""
        if self._configuring is not None:
            self._configuring.join(timeout_s)

    async def _on_change_state(self, request: Any, response: Any) -> Any:
        transition = request.transition.label or request.transition.id
        if len(request.transition.label) > MAX_LABEL:  # rclpy would log all of it
            self.get_logger().error(f"there is no transition {shown(transition)}")
            response.success = False
            return response
        try:
            if transition in CONFIGURE:
                return await self._run_in_thread(lambda: self._change_state(request, response))
            return self._change_state(request, response)
        # RCLError for an invalid transition. The client must get an answer to any other error too.
        except Exception as error:
            self.get_logger().error(f"transition {transition} failed: {error}")
            response.success = False
            return response

    def _run_in_thread(self, function: Callable[[], Any]) -> Future:
        """Call ``function`` in a new thread; the future of its result."""
        executor = self.executor
        future = Future(executor=executor)

        def run() -> None:
            try:
                future.set_result(function())
            except Exception as error:  # otherwise the request would never be answered
                future.set_exception(error)
            # Otherwise the executor resumes the waiting coroutine only at its next event.
            executor.wake()

        self._configuring = threading.Thread(target=run, name="configure", daemon=True)
        self._configuring.start()
        return future
