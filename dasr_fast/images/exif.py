"""EXIF in TIFF files, which libvips neither reads nor writes.

EXIF is a small TIFF file: a directory of tags, some of which name further directories. Values are copied byte for byte,
with the types they have; the libraries for TIFF guess types anew, and store text as ASCII.
"""

import struct
from typing import Union

import numpy as np

Directory = dict[int, Union[tuple[int, int, bytes], "Directory"]]
"""For each tag type, count and little-endian value, or another directory."""

_MARK = b"Exif\0\0"
_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
_UNITS = {1: (1, 1), 2: (1, 1), 3: (2, 2), 4: (4, 4), 5: (8, 4), 7: (1, 1), 9: (4, 4), 10: (8, 4), 12: (8, 8)}
"""For each type the bytes of a value, and of the numbers of which it is made."""

# Those that describe the image, not how its pixels are stored: DocumentName, ImageDescription, Make, Model, Software,
# DateTime, Artist, HostComputer, Rating (twice), Copyright, and five of Windows.
_DESCRIPTIVE = (269, 270, 271, 272, 305, 306, 315, 316, 18246, 18249, 33432, 40091, 40092, 40093, 40094, 40095)
_DIRECTORIES = (0x8769, 0x8825)  # EXIF and GPS.
_DROPPED = (0xA002, 0xA003, 0xA005)  # Width and height, which change, and a third directory, about interoperability.


def exif_of_tiff(tiff: bytes) -> bytes:
    """What describes the image in a TIFF file, as a block of EXIF; empty if there is nothing, or it is damaged."""
    found = _described(tiff)
    return _MARK + b"II*\0" + struct.pack("<L", 8) + _block(found, 8, "<") if found else b""


def tiff_with_exif(tiff: bytes, exif: bytes) -> bytes:
    """A TIFF file with a block of EXIF: the first page's directory, now at the end, has its tags and those before."""
    found, order = _described(exif.removeprefix(_MARK)), _ORDERS.get(tiff[:4])
    if not found or order is None:
        return tiff
    tiff += bytes(len(tiff) % 2)
    block = _block(found, len(tiff), order)
    first = _number(tiff, 4, order)
    entries = _entries(tiff, first, order) | _entries(block, 0, order)
    count = struct.unpack_from(f"{order}H", tiff, first)[0]
    next_page = tiff[first + 2 + 12 * count :][:4]
    directory = struct.pack(f"{order}H", len(entries)) + b"".join(entry for _, entry in sorted(entries.items()))
    end = struct.pack(f"{order}L", len(tiff) + len(block))
    return b"".join((tiff[:4], end, tiff[8:], block, directory, next_page))


def _described(tiff: bytes) -> Directory:
    """The tags that describe the image in a TIFF file or in EXIF."""
    order = _ORDERS.get(tiff[:4])
    try:
        return {} if order is None else _directory(tiff, _number(tiff, 4, order), order, {*_DESCRIPTIVE, *_DIRECTORIES})
    except struct.error:
        return {}  # It ends too early.


def _directory(tiff: bytes, place: int, order: str, wanted: set[int] | None = None) -> Directory:
    directory: Directory = {}
    for tag, entry in _entries(tiff, place, order).items():
        kind, count = struct.unpack_from(f"{order}HL", entry, 2)
        if tag in _DROPPED or kind not in _UNITS or (wanted is not None and tag not in wanted):
            continue
        if tag in _DIRECTORIES:
            if wanted is not None:
                directory[tag] = _directory(tiff, _number(entry, 8, order), order)
            continue
        size, unit = _UNITS[kind]
        value = entry[8:] if size * count <= 4 else tiff[_number(entry, 8, order) :]
        if len(value) >= size * count:
            directory[tag] = kind, count, _little_endian(value[: size * count], unit, order)
    return directory


def _entries(tiff: bytes, place: int, order: str) -> dict[int, bytes]:
    """The twelve bytes of each entry of a directory, by tag."""
    first, count = place + 2, struct.unpack_from(f"{order}H", tiff, place)[0]
    entries = (tiff[at : at + 12] for at in range(first, first + 12 * count, 12))
    return {struct.unpack_from(f"{order}H", entry)[0]: entry for entry in entries}


def _block(directory: Directory, place: int, order: str) -> bytes:
    """A directory and what its entries point to, as they lie in a file from `place` on."""
    entries, values = [], b""
    for tag, entry in sorted(directory.items()):
        at = place + 2 + 12 * len(directory) + 4 + len(values)
        if isinstance(entry, dict):
            kind, count, value = 4, 1, struct.pack(f"{order}L", at)
            values += _block(entry, at, order)
        else:
            kind, count, value = entry[0], entry[1], _little_endian(entry[2], _UNITS[entry[0]][1], order)
            if len(value) > 4:
                values += value + bytes(len(value) % 2)
                value = struct.pack(f"{order}L", at)
        entries.append(struct.pack(f"{order}HHL", tag, kind, count) + value.ljust(4, b"\0"))
    return struct.pack(f"{order}H", len(entries)) + b"".join(entries) + bytes(4) + values


def _number(tiff: bytes, place: int, order: str) -> int:
    return struct.unpack_from(f"{order}L", tiff, place)[0]


def _little_endian(value: bytes, unit: int, order: str) -> bytes:
    """Numbers of `unit` bytes in the file's order as little-endian ones, or back."""
    return value if order == "<" else np.frombuffer(value, f"u{unit}").byteswap().tobytes()
