"""How much of a picture or video a model sees: the only place with frame, pixel and size limits."""

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class MediaBudget(BaseModel):
    """Limits on media for SFT, RL, evaluation and `ask`; the same budget gives the same frames and sizes everywhere."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    fps: float = Field(2.0, gt=0, le=60)
    """Frames sampled per second of video."""
    max_frames: int = Field(128, ge=1, le=4096)
    """Maximum number of frames; a longer video is sampled evenly over its whole length."""
    image_min_pixels: int = Field(4 * 32 * 32, ge=32 * 32)
    """Pictures with a smaller area, in pixels, are enlarged to it."""
    image_max_pixels: int = Field(1024 * 32 * 32, ge=32 * 32)
    """Pictures with a larger area, in pixels, are reduced to it."""
    frame_min_pixels: int = Field(4 * 32 * 32, ge=32 * 32)
    """Video frames with a smaller area, in pixels, are enlarged to it."""
    frame_max_pixels: int = Field(256 * 32 * 32, ge=32 * 32)
    """Video frames with a larger area, in pixels, are reduced to it."""
    video_max_pixels: int = Field(24 * 1024 * 32 * 32, ge=32 * 32)
    """Maximum of frames times area for one video; the more frames there are, the smaller they become."""
    token_side_px: int = Field(32, ge=1, le=256)
    """Side of the square of pixels that becomes one visual token; a loaded model's family sets its own value."""
    frames_per_token: int = Field(2, ge=1, le=16)
    """Number of video frames that share their visual tokens; a loaded model's family sets its own value."""
    square_px: int | None = Field(None, ge=32, le=4096)
    """Side of the square that pictures and frames are stretched to; a loaded model's family sets its own value."""

    @property
    def side_px(self) -> int:
        """Sides of frames are multiples of this."""
        return self.token_side_px

    @property
    def token_pixels(self) -> int:
        """Pixels of a frame that become one visual token."""
        return self.token_side_px**2

    @property
    def least_frame_pixels(self) -> int:
        """Area of the smallest frame that can be shown."""
        return self.token_pixels if self.square_px is None else self.square_px**2

    @model_validator(mode="after")
    def _least_within_most(self) -> Self:
        for kind in ("image", "frame"):
            least, most = getattr(self, f"{kind}_min_pixels"), getattr(self, f"{kind}_max_pixels")
            if least > most:
                raise ValueError(f"{kind}_min_pixels must not exceed {kind}_max_pixels, got {least} and {most}")
        return self


class ExactBudget(MediaBudget):
    """A budget under which frames keep the size of their source to the pixel unless it is too large: for masks."""

    @property
    def side_px(self) -> int:
        """Sides may be of any length."""
        return 1
