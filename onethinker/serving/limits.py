"""What one request and the whole server may cost: every limit of `onethinker serve`, printed by `onethinker doctor`."""

from dataclasses import dataclass, fields

from onethinker.media.budget import ExactBudget
from onethinker.media.prefetch import DecodeLimits

MB = 2**20


@dataclass(frozen=True)
class Limits:
    """How much a client may send, and how much work may wait."""

    body_bytes: int = 64 * MB
    """Of a JSON body, data URLs included."""
    upload_bytes: int = 512 * MB
    """Of a multipart body."""
    disk_bytes: int = 4096 * MB
    """Of all uploads that are on the disk at once."""
    idle_seconds: int = 30
    """Between two pieces of a body."""
    remote_bytes: int = 256 * MB
    """Of a file that is fetched from an allowed host."""
    pictures: int = 8
    """In one request."""
    videos: int = 2
    """In one request."""
    frames: int = 4096
    """Of a video that is sent as pictures."""
    decoded_bytes: int = 2048 * MB
    """Of all frames of one request."""
    decode_seconds: int = 60
    """For one file."""
    decoder_bytes: int = 1536 * MB
    """Memory of a process that decodes."""
    new_tokens: int = 8192
    """Longest answer that may be asked for."""
    question_chars: int = 20_000
    """Of a question, an option, and each earlier turn."""
    turns: int = 32
    """Earlier questions that are told again."""
    queue: int = 64
    """Requests that are worked on or wait; more are refused with 429."""
    drain_seconds: int = 30
    """How long requests in flight have when the server is told to end."""

    @property
    def media(self) -> int:
        """Files in one request."""
        return self.pictures + self.videos

    @property
    def decoding(self) -> DecodeLimits:
        """What one file may cost its decoder."""
        return DecodeLimits(self.decode_seconds, self.decoder_bytes)

    def in_words(self) -> str:
        """Return all limits in a line."""
        return ", ".join(
            f"{name} {_amount(name, getattr(self, name))}" for name in (each.name for each in fields(self))
        )


SERVED_MASK_BUDGET = ExactBudget(
    fps=4, max_frames=64, image_max_pixels=1920 * 1088, frame_max_pixels=960 * 544, video_max_pixels=64 * 640 * 360
)
"""Which frames of a video get masks in a reply, and how much of the source the segmenter sees."""


def _amount(name: str, value: int) -> str:
    return f"{value // MB} MiB" if name.endswith("_bytes") else str(value)
