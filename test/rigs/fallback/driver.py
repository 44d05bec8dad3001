# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A caller that follows the core's contract: offers messages, ticks at deadlines, takes jobs."""

from __future__ import annotations

import dataclasses
from typing import Any

from rigs.fallback.oracle import Oracle
from rigs.fallback.scenario import MS, Clock, Message, S, Scenario, messages

from rgbd_seg_ros.fallback import Core, CoreConfig, Job

#: A call of the core: method and arguments. The same calls must give the same jobs.
Call = tuple[str, tuple[Any, ...]]


def make_core(scenario: Scenario) -> Core:
    """The core under test."""
    config = CoreConfig(**scenario.config)
    return Core(config, scenario.networks, scenario.need_intrinsics)  # type: ignore[arg-type]


def call(core: Core, method: str, *arguments: Any) -> Any:
    """Call the core; the pseudo-method ``force_network`` changes its configuration."""
    if method == "force_network":
        core.config = dataclasses.replace(core.config, force_network=arguments[0])
        return None
    return getattr(core, method)(*arguments)


def job_facts(job: Job | None) -> tuple[Any, ...] | None:
    """Everything that must be equal for the same job in two equal runs."""
    if job is None:
        return None
    facts = {k: v for k, v in vars(job).items() if k not in ("rgb", "depth")}
    return (id(job.rgb), id(job.depth), *facts.values())


class Driver:
    """Plays one scenario against one core; the oracle checks every call."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.clock = Clock(scenario)
        self.core = make_core(scenario)
        self.oracle = Oracle(self.core, scenario)
        self.calls: list[Call] = []
        self.jobs: list[tuple[Any, ...] | None] = []
        self._stalls = [(round(t * S), round((t + n) * S)) for t, n in scenario.stalls]
        self._late_ns = round(scenario.tick_late_ms * MS)
        self._true_ns = 0
        self._engine_free_ns = 0

    def run(self) -> Oracle:
        """Play the whole scenario; raises AssertionError at the first broken guarantee."""
        events = self._events()
        paused_s = sum(length for _, length in self.scenario.pauses)
        end_ns = round((self.scenario.duration_s + paused_s + 20) * S)  # longer than any timeout
        position = 0
        while True:
            next_ns = events[position][0] if position < len(events) else end_ns
            wake_ns = self._wake_ns()
            if wake_ns is not None and wake_ns < next_ns:
                self._true_ns = max(self._true_ns, wake_ns)
                self._tick_and_work()
                continue
            self._true_ns = next_ns
            if position == len(events):
                break
            while position < len(events) and events[position][0] == next_ns:
                _, kind, payload = events[position]
                position += 1
                if kind == "message":
                    self._offer(payload)
                elif kind == "action":
                    self._act(payload)
                elif kind == "irregular":
                    self.oracle.irregular = True
            self._tick_and_work()
            self.oracle.irregular = False
        self.oracle.finish()
        return self.oracle

    def replay(self) -> None:
        """Repeat all calls on a fresh core, which must give the same jobs."""
        core, jobs = make_core(self.scenario), []
        for method, arguments in self.calls:
            result = call(core, method, *arguments)
            if method == "next_job":
                jobs.append(job_facts(result))
        assert jobs == self.jobs, "the same calls gave other jobs"
        assert core.counters == self.core.counters

    # --- Events --------------------------------------------------------------------------------

    def _offer(self, message: Message) -> None:
        now_ns = self._now()
        self.oracle.before(now_ns)
        self._call("offer", message.stream, message.item, now_ns)
        self.oracle.after_offer(message, now_ns)

    def _act(self, action: str) -> None:
        now_ns = self._now()
        self.oracle.before_action()
        if action == "reset":
            self._call("reset", now_ns)
        elif action.startswith("force"):
            self._call("force_network", action.split()[1])
        else:
            self._call("set_enabled", action == "enable")
        self.oracle.after_action(action, now_ns)

    def _tick_and_work(self) -> None:
        now_ns = self._now()
        for _ in range(10):
            deadline_ns = self.core.next_deadline(now_ns)
            if deadline_ns is None or deadline_ns + self._late_ns > now_ns:
                break
            self.oracle.before(now_ns)
            self._call("tick", now_ns)
            self.oracle.after_tick(deadline_ns, now_ns)
        else:
            raise AssertionError("ticks do not advance the deadline")
        while self._true_ns >= self._engine_free_ns:
            self.oracle.before(now_ns)
            job = self._call("next_job", now_ns)
            self.jobs.append(job_facts(job))
            self.oracle.after_next_job(job, now_ns)
            if job is None:
                break
            self._engine_free_ns = self._true_ns + round(self.scenario.engine_ms * MS)

    def _call(self, method: str, *arguments: Any) -> Any:
        self.calls.append((method, arguments))
        return call(self.core, method, *arguments)

    def _now(self) -> int:
        return self.clock.now(self._true_ns)

    def _wake_ns(self) -> int | None:
        """True time of the next tick, or when the engine becomes free while a job waits."""
        now_ns = self._now()
        times = []
        deadline_ns = self.core.next_deadline(now_ns)
        if deadline_ns is not None and self.clock.runs(self._true_ns):
            times.append(self._true_ns + max(deadline_ns - now_ns + self._late_ns, 0))
        if self.oracle.pending is not None and self._engine_free_ns > self._true_ns:
            times.append(self._engine_free_ns)
        return None if not times else self._after_stall(min(times))

    def _after_stall(self, true_ns: int) -> int:
        """The end of the stall that contains this time, else the time itself."""
        return next((end for begin, end in self._stalls if begin <= true_ns < end), true_ns)

    def _events(self) -> list[tuple[int, str, Any]]:
        """(true time, kind, payload) of all events except ticks and engine work, in order."""
        events: list[tuple[int, str, Any]] = [
            (t, "message", message) for t, message in messages(self.scenario, self.clock)
        ]
        events += [(round(t * S), "action", action) for t, action in self.scenario.actions]
        events += [(t, "irregular", None) for t in self.clock.breaks]
        events = [(self._after_stall(t), kind, payload) for t, kind, payload in events]
        events += [(end, "irregular", None) for _, end in self._stalls]
        order = {"irregular": 0, "action": 1, "message": 2}
        events.sort(key=lambda event: (event[0], order[event[1]]))
        return events
