"""Steps are part of the scheduler's contract: under a virtual clock it stays near a packer that knows every length."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[3] / "benchmarks"))
import scheduler_simulation as simulation

MIXES = simulation.mixes()
NEAR = 1.15  # times the steps of the perfect packer


@pytest.mark.parametrize("name", MIXES)
def test_steps_are_near_those_of_a_packer_that_knows_all_lengths(name: str) -> None:
    outcome, best, bound = simulation.run(name, MIXES[name])
    images = sum({work.page: work.pages for work in MIXES[name]}.values())
    assert sorted(outcome.order) == list(range(len(MIXES[name])))
    assert bound <= best
    assert outcome.steps <= NEAR * best
    assert outcome.encodings == images, "each page is encoded once"
    assert outcome.starved <= 0.03 * outcome.steps, "no step is nearly empty while requests wait and there is memory"
    assert outcome.longest_wait <= simulation.PASSED_BOUND + 1


def test_known_lengths_save_preemptions() -> None:
    mix = MIXES["all 400"]
    lengths = simulation.AnswerLengths()
    cold = simulation.simulate(mix, lengths=lengths)
    warm = simulation.simulate(mix, lengths=lengths)
    assert warm.preemptions < cold.preemptions
    assert warm.steps <= 1.05 * cold.steps


def test_packer_is_right_where_it_can_be_counted() -> None:
    """One request: its prompt in whole steps, then a token a step; and two that cannot run beside each other."""
    one = [simulation.Work(0, 100)]
    prompt = 1280 + 18 + 166
    steps = -(-prompt // 1024) + 100 - 1
    assert simulation.perfect(one) in (steps, steps + 1)
    assert simulation.simulate(one).steps in (steps, steps + 1)
    two = [simulation.Work(i, 100) for i in range(2)]
    assert simulation.perfect(two, kv_rows=2000) >= 2 * 100
    assert simulation.simulate(two, kv_rows=2000).steps >= 2 * 100


def test_rows_follow_the_memory() -> None:
    """While requests wait, as many sequences decode as the memory holds, at every moment."""
    outcome = simulation.simulate([simulation.Work(i, 300) for i in range(300)])
    middle = outcome.rows[len(outcome.rows) // 4 : 3 * len(outcome.rows) // 4]
    assert np.percentile(middle, 5) > 0.7 * simulation.KV_ROWS / (1280 + 18 + 166 + 300)
