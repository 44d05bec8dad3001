# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A lifecycle node that answers while it configures, however long that takes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from lifecycle_msgs.msg import Transition
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn
from rclpy.task import Future

#: A request names the transition by either.
CONFIGURE = ("configure", Transition.TRANSITION_CONFIGURE)


class ResponsiveNode(LifecycleNode):
    """Configures in a thread of its own; every other transition stays in the executor's.

    rclpy runs transitions in the executor, so while one takes seconds, no service, no parameter
    and not even the node's state can be asked for. And an impossible transition raises there,
    which would end the node.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._configuring: threading.Thread | None = None
        service = self._service_change_state
        self._change_state: Callable[[Any, Any], Any] = service.callback
        service.callback = self._on_change_state
        # In the default group, a request that is waiting would hold up everything else.
        service.callback_group = MutuallyExclusiveCallbackGroup()
        service.callback_group.add_entity(service)

    async def autostart(self) -> bool:
        """Configure and activate; False when that fails."""
        success = TransitionCallbackReturn.SUCCESS
        try:
            configured = await self._aside(self.trigger_configure)
            return bool(configured == success and self.trigger_activate() == success)
        except RuntimeError as error:
            self.get_logger().error(f"cannot start: {error}")
            return False

    def wait_configured(self, timeout_s: float) -> None:
        """Give a configuration that was interrupted the time to end."""
        if self._configuring is not None:
            self._configuring.join(timeout_s)

    async def _on_change_state(self, request: Any, response: Any) -> Any:
        wanted = request.transition
        try:
            if (wanted.label or wanted.id) in CONFIGURE:
                return await self._aside(lambda: self._change_state(request, response))
            return self._change_state(request, response)
        # rclpy's RCLError is one.
        except RuntimeError as error:
            self.get_logger().error(f"no transition {wanted.label or wanted.id}: {error}")
            response.success = False
            return response

    def _aside(self, step: Callable[[], Any]) -> Future:
        """The future result of ``step``, which runs in a thread of its own."""
        executor = self.executor
        done = Future(executor=executor)

        def run() -> None:
            try:
                done.set_result(step())
            except RuntimeError as error:
                done.set_exception(error)
            # It would look at those who wait for the result only when something else happens.
            executor.wake()

        self._configuring = threading.Thread(target=run, name="configure", daemon=True)
        self._configuring.start()
        return done
