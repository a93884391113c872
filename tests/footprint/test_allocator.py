"""A third count: what the CPU's own allocator gave and got back in a pass that no mode and no hook looks at."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from rfcalc.footprint.measure import course_of, prepared
from rfcalc.footprint.witness import Parts, real_pass
from tests.footprint.test_witness import Block, net


class Allocations(Parts):
    """What the CPU's allocator gave and got back in each part of a pass that nothing else looks at."""

    def __init__(self) -> None:
        self.after: list[int] = []  #: bytes more than at the beginning, after each part
        self.peak = 0
        self._now = 0
        self._profile: Any = None
        self._kept = 0

    def begins(self) -> None:
        self._profile = torch.profiler.profile(
            activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True, acc_events=True
        )
        self._profile.__enter__()

    def is_over(self) -> None:
        self._profile.__exit__(None, None, None)
        results = self._profile.profiler.kineto_results
        moments = [(event.start_ns(), event.nbytes()) for event in results.events() if event.name() == "[memory]"]
        for _, change in sorted(moments, key=lambda moment: moment[0]):
            self._now += change
            self.peak = max(self.peak, self._now)
        self.after.append(self._now)
        self.begins()

    def close(self) -> None:
        if self._profile is not None:
            self._profile.__exit__(None, None, None)


@pytest.mark.parametrize(
    ("model", "shape"),
    [(lambda: Block(0.1), (2, 5, 16)), (net, (2, 3, 12, 12)), (lambda: nn.LSTM(4, 8, 2), (3, 5, 4))],
    ids=["block", "net", "lstm"],
)
@pytest.mark.filterwarnings("ignore")
def test_the_allocator_has_given_as_much(model: Any, shape: tuple[int, ...]) -> None:
    """After forward what is kept and the loss, after the way back gradients, after a step the states, too."""
    setup, _ = prepared(model(), shape)
    course = course_of(setup, training=True, notices=[])
    seen = Allocations()
    real_pass(setup, seen, training=True)
    seen.close()

    kept = sum(block.nbytes for block in course.kept)
    assert seen.after == [kept + 4, course.gradients, course.gradients + course.states]
    inside = max(step.alive for step in course.steps) - sum(map(course.role_bytes, ("parameter", "buffer", "input")))
    assert seen.peak >= inside  # kernels take more while they run


def test_the_allocator_at_the_end_of_inference() -> None:
    setup, _ = prepared(net(), (2, 3, 12, 12))
    seen = Allocations()
    real_pass(setup, seen, training=False)
    seen.close()

    assert seen.after == [2 * 3 * 4] == [sum(b.nbytes for b in course_of(setup, training=False, notices=[]).kept)]
