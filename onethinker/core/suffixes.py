"""What files of pictures and videos are called."""

from collections.abc import Mapping

WRITTEN_PICTURES: Mapping[str, str] = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
"""Suffixes under which pictures are written, with Pillow's names of the formats."""
PICTURE_SUFFIXES = (*WRITTEN_PICTURES, ".webp", ".bmp", ".tif", ".tiff", ".heic", ".heif")
WRITTEN_VIDEO = ".mp4"
VIDEO_SUFFIXES = (WRITTEN_VIDEO, ".mkv", ".webm", ".avi", ".mov")
