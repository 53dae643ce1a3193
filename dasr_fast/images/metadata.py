"""Metadata of image files that libvips neither reads nor writes: EXIF in TIFF, text in PNG, comments in JPEG.

Text and comments are kept as the bytes of their chunks and segments, so that nothing has to be decoded.
"""

from collections.abc import Iterator

from dasr_fast.images.exif import exif_of_tiff, tiff_with_exif

EXIF, PNG_TEXT, JPEG_COMMENTS = "exif-data", "png-text", "jpeg-comments"
"""Names beside those of libvips, of which `EXIF` is one."""

_PNG_HEADER = 8 + 25  # Signature and IHDR, after which text may stand.
_XMP = b"XML:com.adobe.xmp\0"  # A text that libvips reads and writes.


def read_metadata(kind: str, content: bytes) -> dict[str, bytes]:
    """Metadata in the content of a whole "png", "jpeg", "webp" or "tiff" file, by name, as far as there is any."""
    found = {}
    if kind == "png":
        found[PNG_TEXT] = b"".join(chunk for name, chunk in chunks(content) if _is_text(name, chunk))
    elif kind == "jpeg":
        found[JPEG_COMMENTS] = b"".join(content[a:b] for code, a, b in _segments(content) if code == 0xFE)
    elif kind == "tiff":
        found[EXIF] = exif_of_tiff(content)
    return {name: value for name, value in found.items() if value}


def add_metadata(kind: str, content: bytes, metadata: dict[str, bytes]) -> bytes:
    """The content of a file that libvips wrote, with what a file of that kind can hold of the metadata."""
    if kind == "png" and PNG_TEXT in metadata:
        return b"".join((content[:_PNG_HEADER], metadata[PNG_TEXT], content[_PNG_HEADER:]))
    if kind == "jpeg" and JPEG_COMMENTS in metadata:
        place = next(first for code, first, _ in _segments(content) if not 0xE0 <= code <= 0xEF)
        return b"".join((content[:place], metadata[JPEG_COMMENTS], content[place:]))
    if kind == "tiff" and EXIF in metadata:
        return tiff_with_exif(content, metadata[EXIF])
    return content


def frames_of_png(content: bytes) -> int:
    """How many frames an animated PNG has; 1 if it isn't animated."""
    counts = (int.from_bytes(chunk[8:12], "big") for name, chunk in chunks(content) if name == b"acTL")
    return next(counts, 1)


def is_whole_gif(content: bytes) -> bool:
    """Whether no block of a GIF file is cut off, which libvips doesn't notice; the mark at the end may lack."""
    try:
        place = 13 + _colours_of_gif(content[10])
        while place < len(content) and content[place] != 0x3B:
            image = content[place] == 0x2C
            place += 11 + _colours_of_gif(content[place + 9]) if image else 2
            while length := content[place]:
                place += 1 + length
            place += 1
    except IndexError:
        return False
    return place <= len(content)


def _colours_of_gif(flags: int) -> int:
    """Bytes of a table of colours."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def is_lossless_webp(content: bytes) -> bool:
    """Whether the pixels of a WebP file, or of an animation's first frame, are compressed without loss."""
    place = 12
    while place + 8 <= len(content):
        name, length = content[place : place + 4], int.from_bytes(content[place + 4 : place + 8], "little")
        if name in (b"VP8L", b"VP8 "):
            return name == b"VP8L"
        place += 24 if name == b"ANMF" else 8 + length + length % 2  # A frame holds chunks of its own.
    return False


def chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and bytes of each chunk of a PNG file, length and checksum included."""
    place = 8
    while place + 12 <= len(png):
        end = place + 12 + int.from_bytes(png[place : place + 4], "big")
        yield png[place + 4 : place + 8], png[place:end]
        place = end


def _is_text(name: bytes, chunk: bytes) -> bool:
    return name in (b"tEXt", b"zTXt", b"iTXt") and not chunk[8:].startswith(_XMP)


def _segments(jpeg: bytes) -> Iterator[tuple[int, int, int]]:
    """Code, begin and end of each segment up to the one with which the pixels begin."""
    place, code = 2, 0
    while place + 4 <= len(jpeg) and jpeg[place] == 0xFF and code != 0xDA:
        code = jpeg[place + 1]
        if code == 0xFF:  # A byte that only fills.
            place += 1
            continue
        end = place + 2 + int.from_bytes(jpeg[place + 2 : place + 4], "big")
        yield code, place, end
        place = end
