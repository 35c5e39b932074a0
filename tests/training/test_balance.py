"""Samples are shared between processes by their tokens: none is lost, and the slowest has little more than the mean."""

import random

import pytest

from onethinker.training.balance import balance, imbalance


@pytest.mark.parametrize(("processes", "same_number"), [(8, False), (8, True), (3, True)])
def test_every_item_is_taken_once_and_every_process_has_some(processes, same_number):
    costs = [random.Random(3).lognormvariate(7, 1) for _ in range(96)]
    chosen = balance(costs, processes, same_number=same_number)
    counts = [chosen.count(each) for each in range(processes)]
    assert sum(counts) == 96
    assert set(chosen) == set(range(processes))
    if same_number:
        assert max(counts) == 96 // processes


def test_the_slowest_process_has_at_most_five_percent_more_than_the_mean():
    draw = random.Random(1)
    costs = [draw.lognormvariate(7, 0.9) for _ in range(128)]
    assert imbalance(costs, [index % 8 for index in range(128)], 8) > 0.2
    assert imbalance(costs, balance(costs, 8), 8) < 0.05


def test_what_is_of_one_size_takes_turns():
    assert balance([1.0] * 7, 3) == [0, 1, 2, 0, 1, 2, 0]


def test_sizes_that_can_be_shared_evenly_are():
    assert imbalance([4, 3, 2, 2, 1], balance([4, 3, 2, 2, 1], 2), 2) == 0.0


@pytest.mark.parametrize(("items", "processes"), [(32, 8), (64, 16), (128, 8)])
def test_no_step_is_worse_than_five_percent_unless_one_sample_is(items, processes):
    draw = random.Random(items)
    for _ in range(20):
        costs = [draw.lognormvariate(7, 0.9) for _ in range(items)]
        share = sum(costs) / processes
        chosen = balance(costs, processes)
        assert imbalance(costs, chosen, processes) <= max(0.05, max(costs) / share - 1 + 1e-9)


def test_two_for_one_are_exchanged_where_one_for_one_does_not_help():
    # The dearest first gives 16 + 7 + 3 = 26 and 10 + 8 + 5 + 1 = 24; no single exchange makes 25 of both.
    costs = [3, 7, 5, 10, 8, 16, 1]
    assert imbalance(costs, balance(costs, 2), 2) == 0.0
