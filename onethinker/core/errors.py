"""The error tree: everything that OneThinker raises on purpose is a `OneThinkerError`."""


class OneThinkerError(Exception):
    """Base of all errors raised on purpose; a command prints its text and exits with 1."""


class AnswerError(OneThinkerError):
    """A model's text is not an answer of the task's form; it becomes a reason in a `Grade`, never a crash."""


class DataError(OneThinkerError):
    """A record, a file of records or a reference answer is wrong; the text names file, row and field."""


class MediaError(OneThinkerError):
    """A picture or video cannot be read or breaks a limit; the text names the file and the reason."""


class ConfigError(OneThinkerError):
    """A recipe, a flag or a combination of them cannot work; the text says what to change."""


class PluginError(OneThinkerError):
    """Code of another package failed, or gave what it must not; the text names its file and line. Never a score."""


class EngineError(OneThinkerError):
    """A model could not be loaded or did not answer; never scored as an answer."""


class StorageError(OneThinkerError, OSError):
    """A file cannot be written: the disk is full, read-only or broken; what was written before is whole.

    >>> str(StorageError(28, "No space left on device", "answers.jsonl"))
    'answers.jsonl: cannot be written: No space left on device'
    """

    def __str__(self) -> str:
        return f"{self.filename}: cannot be written: {self.strerror}"


class TrainingError(OneThinkerError):
    """A run can learn nothing any more, or what it would save is not finite; the text says what led there and which
    checkpoint is good.
    """


class CheckpointError(OneThinkerError):
    """A run cannot be saved or resumed as asked; the last whole checkpoint is untouched."""
