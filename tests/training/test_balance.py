"""Samples are shared between processes by their tokens: none is lost, and the slowest has little more than the mean."""

import random

import pytest

from onethinker.training.balance import balance, imbalance


@pytest.mark.parametrize(("processes", "updates", "same_number"), [(8, 1, False), (8, 4, True), (3, 2, True)])
def test_every_item_is_taken_once_and_every_process_has_some(processes, updates, same_number):
    costs = [random.Random(3).lognormvariate(7, 1) for _ in range(96)]
    chosen = balance(costs, processes, updates=updates, same_number=same_number)
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


def test_every_process_has_a_share_of_every_update():
    # In turns, update 0 of 4 would be learned by processes 0 and 4 of 8 alone.
    chosen = balance([1.0] * 128, 8, updates=4, same_number=True)
    for update in range(4):
        assert [chosen[update::4].count(process) for process in range(8)] == [4] * 8


def test_fewer_items_of_an_update_than_processes_are_spread_over_all():
    assert sorted(balance([1.0] * 6, 3, updates=3, same_number=True)) == [0, 0, 1, 1, 2, 2]
    assert sorted(balance([3, 2, 1], 3, updates=3, same_number=True)) == [0, 1, 2]


def test_sizes_that_can_be_shared_evenly_are():
    assert imbalance([4, 3, 2, 2, 1], balance([4, 3, 2, 2, 1], 2), 2) == 0.0
