"""Decompression of metadata, with a bound: what a few bytes may become is limited.

A damaged or hostile file can claim to be, or become, a thousand times its size. One block of an
Avro file may become 128 MiB (writers cut blocks at some kilobytes), all blocks of a file, and
a compressed metadata file, 1 GiB.
"""

from __future__ import annotations

import zlib

import pyarrow as pa

from parquedb.errors import UnsupportedError

BLOCK_BYTES = 128 << 20
FILE_BYTES = 1 << 30
GZIP = 16 + zlib.MAX_WBITS
_SNAPPY_RATIO = 32
"""Snappy's copies of at most 64 bytes take at least two."""
_CRC_BYTES = 4
_CHUNK = 1 << 20


class CompressError(ValueError):
    """The bytes cannot be decompressed. Never leaves this package."""


def inflate(data: bytes, wbits: int, limit: int) -> bytes:
    """Decompress deflate, zlib or gzip.

    Args:
        data: The compressed bytes; of gzip there may be several members.
        wbits: Which of the forms, as zlib says it.
        limit: How many bytes it may become.

    Raises:
        CompressError: It is damaged, cut off or becomes more.
    """
    parts: list[bytes] = []
    total = 0
    rest = data
    while True:
        stream = zlib.decompressobj(wbits)
        while not stream.eof:
            try:
                part = stream.decompress(rest, min(_CHUNK, limit - total + 1))
            except zlib.error as error:
                raise CompressError(str(error)) from error
            rest = stream.unconsumed_tail
            total += len(part)
            if total > limit:
                raise CompressError(f"it becomes more than {limit} bytes")
            if not part and not stream.eof:
                raise CompressError("it is cut off")
            parts.append(part)
        rest = stream.unused_data
        if wbits != GZIP or not rest.strip(b"\x00"):
            return b"".join(parts)


def decompress_block(data: bytes, codec: str, location: str) -> bytes:
    """Decompress a block of an Avro file.

    Raises:
        CompressError: It is damaged, or becomes more than a block may.
        UnsupportedError: The codec is not known.
    """
    match codec:
        case "null":
            return data
        case "deflate":
            return inflate(data, -zlib.MAX_WBITS, BLOCK_BYTES)
        case "zstandard":
            return _zstd(data)
        case "snappy":
            return _snappy(data)
        case _:
            raise UnsupportedError(
                f"{location} is compressed by {codec!r}; null, deflate, snappy and "
                "zstandard can be read",
                feature=f"avro codec {codec}",
            )


def _zstd(data: bytes) -> bytes:
    try:
        with pa.CompressedInputStream(pa.BufferReader(data), "zstd") as stream:
            parts: list[bytes] = []
            total = 0
            while part := stream.read(_CHUNK):
                total += len(part)
                if total > BLOCK_BYTES:
                    raise CompressError(f"it becomes more than {BLOCK_BYTES} bytes")
                parts.append(part)
            return b"".join(parts)
    except (OSError, pa.ArrowException) as error:
        raise CompressError(str(error)) from error


def _snappy(data: bytes) -> bytes:
    body = memoryview(data)[:-_CRC_BYTES]
    size = _snappy_size(body)
    if size > min(BLOCK_BYTES, _SNAPPY_RATIO * len(body)):
        raise CompressError(f"{len(body)} bytes claim to be {size}")
    try:
        plain = bytes(pa.decompress(body, size, codec="snappy", asbytes=True))
    except (OSError, pa.ArrowException) as error:
        raise CompressError(str(error)) from error
    if zlib.crc32(plain).to_bytes(_CRC_BYTES, "big") != data[-_CRC_BYTES:]:
        raise CompressError("its checksum is wrong")
    return plain


def _snappy_size(data: memoryview) -> int:
    """Return the decompressed length, with which Snappy's raw format begins."""
    value = 0
    for position, byte in enumerate(data[:5]):
        value |= (byte & 0x7F) << (7 * position)
        if byte < 0x80:
            return value
    raise CompressError("its length is missing")
