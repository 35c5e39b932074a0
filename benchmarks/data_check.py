"""How many records a second `onethinker data check` looks at, media not opened, and in how much memory.

    python benchmarks/data_check.py

The records are those of the world of things, all problem types evenly mixed, each many times with an id of its own.
"""

import tempfile
from pathlib import Path

from measuring import parser_of, peak_mb, seconds

from onethinker.data.check import Look, Tally, find_faults
from onethinker.data.formats.records import read_records, write_records
from onethinker.data.synthetic import write_dataset


def main() -> None:
    """Write the records, check them, and print the rate."""
    parser = parser_of(__doc__)
    parser.add_argument("--records", type=int, default=20_000, help="default: %(default)s")
    count = parser.parse_args().records
    with tempfile.TemporaryDirectory() as folder:
        scenes = write_dataset(Path(folder) / "scenes", num_samples=220, world="things")
        records = [record for _, record in read_records(scenes)]
        file, tally = scenes.with_name("many.jsonl"), Tally()
        write_records(
            file,
            (
                record | {"problem_id": n, "problem": f"{record['problem']} ({n})"}
                for n, record in ((n, records[n % len(records)]) for n in range(count))
            ),
        )
        taken_s = seconds(lambda: list(find_faults([file], tally, Look(with_media=False))))
    faults = sum(tally.faults.values())
    print(f"{tally.records:,} records, {faults} faults: {tally.records / taken_s:,.0f} a second of processor time")
    print(f"peak memory {peak_mb():.0f} MB")


if __name__ == "__main__":
    main()
