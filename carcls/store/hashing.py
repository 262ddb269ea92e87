"""The content hash of an artefact: SHA-256 over the SHA-256 of each 4 MiB, so that threads can share the work.

SHA-256, because current processors have instructions for it: 1.7 GB/s per core, compared with 0.8 for blake2b.
"""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor

_CHUNK_BYTES = 4 * 2**20


def digest_of(descriptor: int, offset: int, length: int, *, threads: int | None = None) -> str:
    """Hex digest of `length` bytes of an open file from `offset` on. threads: None uses one per core of this process.

    Bytes missing at the end of the file are not hashed, which changes the digest. Raises OSError.
    """

    def chunk(start: int) -> bytes:
        size = min(_CHUNK_BYTES, length - start)
        return hashlib.sha256(os.pread(descriptor, size, offset + start)).digest()

    starts = range(0, length, _CHUNK_BYTES)
    if threads is None:
        threads = len(os.sched_getaffinity(0))
    if threads == 1 or len(starts) == 1:
        return hashlib.sha256(b"".join(map(chunk, starts))).hexdigest()
    with ThreadPoolExecutor(threads) as pool:
        return hashlib.sha256(b"".join(pool.map(chunk, starts))).hexdigest()
