"""Make onethinker/evaluation/benchmarks/published.csv out of a wider table of what papers report.

Run: python benchmarks/published_values.py TABLE.csv onethinker/evaluation/benchmarks/published.csv

TABLE.csv has the columns benchmark, task, metric, model, value, source, one row a published number, where source begins
with where the number is ("arXiv:… Table 4", "Fig. 2 …", "THIRD-PARTY …"). Of every number is kept: the benchmark,
the metric and the model under one spelling each, the value in percent, where it is, and whether the column that it was
read from is certain. Rows without a number are left out.
"""

import csv
import re
from pathlib import Path

from measuring import parser_of

METRICS = {
    "accuracy (%)": "accuracy",
    "IoU>=0.5 acc": "R@0.5",
    "mIoU": "tIoU",
    "score (metric not named in paper)": "score",
    "mean mIoU": "tIoU",
}
"""The names under which we report the same quantity; others stay."""
MODELS = {
    r"Qwen3-VL-Instruct-8B( \+ SAM2)?( \(authors reproduced.*\))?": "Qwen3-VL-8B-Instruct",
    r"Qwen3-VL-8B": "Qwen3-VL-8B-Instruct",
    r"OneThinker-8B \((128 frames|\+SAM2|32 frames predicted|EMA-GRPO)\)": "OneThinker-8B",
    r"OneThinker": "OneThinker-8B",
}


def location(source: str) -> str:
    """Return "table 4", "figure 2" or "third party", and for the last one the thread that reports it."""
    if source.startswith("THIRD-PARTY"):
        link = re.search(r"github\.com/\S+", source)
        return f"third party {link[0]}" if link else "third party"
    found = re.search(r"(Table|Fig\.) (\d+)", source)
    assert found, source
    return f"{'table' if found[1] == 'Table' else 'figure'} {found[2]}"


def spelled(model: str) -> str:
    """Return the one spelling of a model's name."""
    return next((name for pattern, name in MODELS.items() if re.fullmatch(pattern, model)), model)


def main() -> None:
    """Write the table of published values."""
    parser = parser_of(__doc__)
    parser.add_argument("table", type=Path, help="TABLE.csv")
    parser.add_argument("output", type=Path, help="the file to write")
    arguments = parser.parse_args()
    table, output = arguments.table, arguments.output
    with table.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["value"] != "NOT FOUND"]
    with output.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["benchmark", "metric", "model", "value", "place", "certain"])
        for row in rows:
            certain = "no" if re.search("dash|inferred", row["source"]) else "yes"
            metric = METRICS.get(row["metric"], row["metric"])
            writer.writerow(
                [row["benchmark"], metric, spelled(row["model"]), float(row["value"]), location(row["source"]), certain]
            )


if __name__ == "__main__":
    main()
