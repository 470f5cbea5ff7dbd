"""Files of many zeros, made without compressing all of them, which takes seconds."""

from __future__ import annotations

import zlib

PIECE = 1_000_000


def compressed_zeros(size: int) -> bytes:
    """Return a zlib stream that unpacks to ``size`` zeros: the same compressed piece again and again."""
    packer = zlib.compressobj(9, wbits=-15)
    piece = packer.compress(bytes(PIECE)) + packer.flush(zlib.Z_FULL_FLUSH)
    rest = packer.compress(bytes(size % PIECE)) + packer.flush()
    adler32 = size % 65_521 << 16 | 1
    return b"\x78\xda" + size // PIECE * piece + rest + adler32.to_bytes(4, "big")
