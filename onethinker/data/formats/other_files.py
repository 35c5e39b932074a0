"""What a file is that holds no records, by how it begins: what is said in place of a fault in each of its lines."""

import re
from pathlib import Path

from onethinker.core.errors import DataError

_UNPACK = "unpack it"
_UTF8 = "save it as UTF-8"
_PICTURE = 'a record names it in its "images"'
_VIDEO = 'a record names it in its "videos"'
_BEGINNINGS: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"\x89PNG", "a PNG picture", _PICTURE),
    (0, b"\xff\xd8\xff", "a JPEG picture", _PICTURE),
    (0, b"GIF8", "a GIF picture", _PICTURE),
    (0, b"BM", "a BMP picture", _PICTURE),
    (0, b"II*\0", "a TIFF picture", _PICTURE),
    (0, b"MM\0*", "a TIFF picture", _PICTURE),
    (8, b"WEBPVP8", "a WebP picture", _PICTURE),
    (8, b"AVI LIST", "an AVI video", _VIDEO),
    (4, b"ftyp", "an MP4 video or a HEIF picture", 'a record names it in its "videos" or "images"'),
    (0, b"\x1aE\xdf\xa3", "a Matroska or WebM video", _VIDEO),
    (0, b"%PDF", "a PDF document", "draw its pages into pictures, which records name"),
    (0, b"PK\x03\x04", "a zip archive, or a document that is one (xlsx, docx, npz)", _UNPACK),
    (0, b"\x1f\x8b", "packed by gzip", _UNPACK),
    (0, b"BZh", "packed by bzip2", _UNPACK),
    (0, b"\xfd7zXZ\0", "packed by xz", _UNPACK),
    (0, b"(\xb5/\xfd", "packed by zstd", _UNPACK),
    (0, b"7z\xbc\xaf", "a 7z archive", _UNPACK),
    (257, b"ustar", "a tar archive", _UNPACK),
    (0, b"PAR1", "a parquet file", "`onethinker data convert FILE new.jsonl --to own` makes records of it"),
    (0, b"\xff\xfe\0\0", "text in UTF-32", _UTF8),
    (0, b"\xff\xfe", "text in UTF-16", _UTF8),
    (0, b"\xfe\xff", "text in UTF-16", _UTF8),
)
"""Where which bytes stand, what file that is, and what can be done with it. The first that fits counts."""
_OVER_LINES = re.compile(rb'\{\s*\n[ \t]+"')
_TABLES = (".csv", ".tsv")
_RECORDS = "records are JSON: a list, or one object per line"


def check_beginning(start: bytes, path: Path) -> None:
    """Raise DataError for a file that, by its first bytes, is something else than JSON in UTF-8.

    >>> check_beginning(b'{"problem": "Which?"}', Path("a.jsonl"))
    """
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    for at, magic, what, then in _BEGINNINGS:
        if start[at:].startswith(magic):
            raise DataError(f"{path}: is {what}, not a file of records: {then}")
    if b"\0" in text:
        is_utf16 = (text[:1] == b"\0") != (text[1:2] == b"\0")
        raise DataError(f"{path}: is {f'text in UTF-16, {_UTF8}' if is_utf16 else f'no text: {_RECORDS}'}")
    is_table = path.suffix.lower() in _TABLES and not text.startswith((b"{", b"["))
    if is_table or text.startswith(b"<"):
        what = "a table of text" if is_table else "XML or HTML"
        raise DataError(f"{path}: is {what}, not a file of records: {_RECORDS}")
    if _OVER_LINES.match(text):
        raise DataError(
            f"{path}: is one JSON object over several lines, not a file of records: put the records into a list, or"
            " each on one line (`onethinker data convert` makes records from a COCO file)"
        )
