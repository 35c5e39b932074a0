import pytest

from onethinker.report.charts import HEIGHT, WIDTH, line_chart


def coordinates(path: str) -> list[tuple[float, float]]:
    return [tuple(map(float, place.split(","))) for place in path.split()]


def test_chart_spans_its_grid_and_ends_at_the_last_mean():
    chart = line_chart([(0, 0.0), (1, 0.5), (2, 1.0)], label="reward")
    assert [text for _, text in chart.grid] == ["0.00", "0.50", "1.00"]
    raw = coordinates(chart.raw)
    assert raw[0] == (chart.left, chart.grid[0][0])
    assert raw[-1] == (chart.right, chart.grid[-1][0])
    assert (chart.first_step, chart.last_step, chart.end_value) == ("0", "2", "1.00")


def test_chart_of_many_steps_stays_small():
    chart = line_chart([(step, step % 7) for step in range(50_000)], label="loss")
    assert len(coordinates(chart.raw)) <= 200


@pytest.mark.parametrize(
    "values", [[0.0], [5.0, 5.0], [-1.0, 2.0], [1e-9, 2e-9], [1e12, -1e12], [float("nan"), 1.0, float("inf")]], ids=str
)
def test_chart_stays_inside_its_frame(values):
    chart = line_chart(list(enumerate(values)), label="loss")
    for x, y in coordinates(chart.raw) + coordinates(chart.smooth):
        assert 0 <= x <= WIDTH
        assert 0 <= y <= HEIGHT


def test_nothing_finite_gives_no_chart():
    assert line_chart([(1, float("nan"))], label="loss") is None
