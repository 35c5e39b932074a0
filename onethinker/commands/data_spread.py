"""Flags by which the work of a `onethinker data` command is shared out, and its results in the order of the files."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onethinker.core.errors import ConfigError
from onethinker.core.settings import FlagSettings

if TYPE_CHECKING:
    from onethinker.data.spreading import Opened, Row


class ShardOptions(FlagSettings):
    """How the work is divided."""

    shard: str | None = None
    """Do only this part of the work, such as 2/4 (part 2 of 4), and write its result into --parts."""
    parts: Path | None = None
    """Folder of the parts. Without --shard they are joined, with the same result as one run over everything."""
    ray: int | None = None
    """Divide the work into this many shards on the workers of a Ray cluster (RAY_ADDRESS; otherwise one is started
    here), which must see the same files. Their parts go to --parts and are joined."""

    def check(self) -> None:
        """Raise ConfigError for options that do not go together."""
        if (self.shard or self.ray is not None) and self.parts is None:
            raise ConfigError(f"{'--shard' if self.shard else '--ray'} needs --parts FOLDER, the folder for the parts")
        if self.shard and self.ray is not None:
            raise ConfigError("--ray runs all shards itself: leave out --shard")
        if self.ray is not None and self.ray < 1:
            raise ConfigError(f"--ray must be 1 or more, got {self.ray}")

    @property
    def has_parts(self) -> bool:
        """Whether the work is done in parts."""
        return self.parts is not None or self.shard is not None or self.ray is not None

    @property
    def processes(self) -> int:
        """Processes of this machine that do the work of one run."""
        return 1

    def results(
        self,
        files: Sequence[Path],
        opened: "Opened",
        asked: Mapping[str, Any],
        *,
        as_json: bool = False,
        read: "Callable[[], Iterable[Row]] | None" = None,
    ) -> Iterator[Any] | None:
        """Return what the work makes of each block of the files, in order; None where only a part was written.

        `opened` makes the work ready, also in a process elsewhere; putting parts together opens nothing. `asked` are
        the options that all parts must have in common. `read` gives the rows of the files where they are no JSON.

        Raises: ConfigError. DataError: a part is missing, or of other files or options.
        """
        from onethinker.commands.data_options import check_files
        from onethinker.data.check import read_rows
        from onethinker.data.spreading import Shard, join_parts, parts_by_ray, write_part
        from onethinker.storage.strict_json import to_file_json

        self.check()
        read = read or partial(read_rows, files)
        if self.parts is None:
            return self._one_run(read, opened)
        check_files(files)
        plain = {name: str(value) if isinstance(value, Path) else value for name, value in asked.items()}
        common = {"files": {str(path): path.stat().st_size for path in files}, **plain}
        if self.shard:
            part = write_part(read(), opened, self.parts, Shard.parse(self.shard), common)
            print(to_file_json({"part": str(part)}) if as_json else part)
            print(
                "part written; when all parts are there, run the same command without --shard to join them",
                file=sys.stderr,
            )
            return None
        if self.ray is not None:
            parts_by_ray(read, opened, self.parts, self.ray, common)
        return join_parts(self.parts, common)

    def _one_run(self, read: "Callable[[], Iterable[Row]]", opened: "Opened") -> Iterator[Any]:
        from onethinker.data.spreading import results_of

        with opened(None) as work:
            yield from results_of(read(), work, workers=self.processes)


class SpreadOptions(ShardOptions):
    """How the work is divided."""

    workers: int | None = None
    """Number of processes, for files of more than 4,096 records; by default one per processor, at most 8. Not with
    --parts."""

    @property
    def processes(self) -> int:
        """Processes of this machine that do the work of one run."""
        from onethinker.data.spreading import default_workers

        return self.workers or default_workers()

    def check(self) -> None:
        """Raise ConfigError for options that do not go together."""
        super().check()
        if self.workers is not None and self.parts is not None:
            raise ConfigError("--workers divides one run on this machine: leave it out with --parts")
        if self.workers is not None and self.workers < 1:
            raise ConfigError(f"--workers must be 1 or more, got {self.workers}")


SHARDS, SPREAD = ShardOptions(), SpreadOptions()
