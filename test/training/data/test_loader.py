# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The loader: every sample once per epoch, regardless of ranks, parts and workers."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
from collections.abc import Callable
from typing import Any

import pytest
import torch

from training.config import preprocess_of
from training.data.datasets import open_split
from training.data.loader import BatchPlan, BatchPlanSampler, training_loader
from training.options import UsageError
from training.settings import Settings


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("samples", [13, 24, 29])
def test_every_sample_appears_once_except_for_a_remainder(
    world: int, accumulate: int, samples: int
) -> None:
    plan = BatchPlan(samples, 12, accumulate, world, seed=1, smallest_part=1)
    seen: list[int] = []
    for rank in range(world):
        sampler = BatchPlanSampler(plan, rank)
        batches = list(sampler)
        assert len(batches) == len(sampler) == plan.steps * accumulate
        seen += [index for batch in batches for _, index in batch]
    assert len(seen) == len(set(seen))
    assert samples - len(seen) < world * accumulate


def test_the_global_batch_does_not_depend_on_the_ranks() -> None:
    plans = [BatchPlan(23, 8, a, w, 5, 1) for w, a in ((1, 1), (2, 1), (2, 2), (4, 1))]
    for step in range(plans[0].steps):
        batches = [sorted(i for part in p.parts(2, step) for i in part) for p in plans]
        assert all(batch == batches[0] for batch in batches)


def test_shares_weight_parts_by_their_samples() -> None:
    plan = BatchPlan(samples=11, batch=6, accumulate=2, world=2, seed=0, smallest_part=1)
    assert [len(p) for p in plan.parts(0, 1)] == [2, 1, 1, 1]
    assert plan.shares(0, 0) == pytest.approx([3 / 6, 3 / 6])
    assert plan.shares(0, 1) == pytest.approx([3 / 5, 2 / 5])


def test_epochs_differ_and_a_resumed_epoch_continues_where_it_stopped() -> None:
    plan = BatchPlan(20, 4, 1, 1, 0, 2)
    sampler = BatchPlanSampler(plan, 0)
    whole = list(sampler)
    sampler.start = 3
    assert list(sampler) == whole[3:]
    sampler.epoch, sampler.start = 1, 0
    second = [[index for _, index in batch] for batch in sampler]
    assert second != [[index for _, index in batch] for batch in whole]


def test_a_remainder_of_one_is_omitted_if_batch_norm_needs_two() -> None:
    assert BatchPlan(9, 4, 1, 1, 0, smallest_part=2).steps == 2
    assert BatchPlan(10, 4, 1, 1, 0, smallest_part=2).steps == 3
    assert BatchPlan(9, 4, 1, 1, 0, smallest_part=1).steps == 3


def test_impossible_batches_are_refused() -> None:
    with pytest.raises(UsageError, match=r"batch 3 is too small: 2 ranks in 1 parts .* need 4"):
        BatchPlan(100, 3, 1, 2, 0, 2)
    with pytest.raises(UsageError, match="1 training samples are too few; at least 2"):
        BatchPlan(1, 4, 1, 1, 0, 2)


def test_workers_change_nothing(settings: Callable[..., Settings]) -> None:
    """Two workers give the same views, bit for bit, as no workers."""
    views = []
    for workers in (0, 2):
        config = settings(workers=workers).run
        samples = open_split(config, "train")
        plan = BatchPlan(len(samples), 4, 1, 1, 0, 2)
        device, encoding = torch.device("cpu"), preprocess_of(config).depth
        loader, sampler = training_loader(samples, plan, config, encoding, "decoupled", device)
        sampler.epoch = 1
        views.append(list(loader))
    for ours, theirs in zip(*views, strict=True):
        for key, value in ours.items():
            assert torch.equal(value.nan_to_num(), theirs[key].nan_to_num()), key


def test_ctrl_c_does_not_stop_the_workers(settings: Callable[..., Settings]) -> None:
    """In a terminal, Ctrl-C reaches them too, while a step or validation may be in progress."""
    config = settings(workers=1).run
    samples = open_split(config, "train")
    plan = BatchPlan(len(samples), 4, 1, 1, 0, 2)
    encoding = preprocess_of(config).depth
    loader, _ = training_loader(samples, plan, config, encoding, "shared", torch.device("cpu"))
    others = set(multiprocessing.active_children())
    parts = iter(loader)
    next(parts)
    (worker,) = set(multiprocessing.active_children()) - others
    os.kill(worker.pid or 0, signal.SIGINT)
    assert len(list(parts)) == plan.steps - 1
    assert len(list(loader)) == plan.steps  # the same worker's second epoch
    assert worker.is_alive()


def test_samples_can_be_pickled(settings: Callable[..., Settings]) -> None:
    """Loader processes are not always forked, so they may receive samples by pickle."""
    samples: Any = open_split(settings().run, "train")
    again = pickle.loads(pickle.dumps(samples))
    assert (again[0].rgb == samples[0].rgb).all()
