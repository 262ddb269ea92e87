"""An artefact: an array that is a pure function of its key. Defines its address and the layout of its file. Pure.

    <address>.npy = NumPy's own header | the array's bytes, C order | trailer

The trailer is padded JSON (key, shape, dtype, content hash, build seconds), followed by its checksum, its length and a
magic word. It is written last, so a file without a valid trailer is unfinished. `numpy.load` can read the file too and
ignores the trailer.
"""

import hashlib
import io
import json
import math
import struct
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

Json = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"]

_FORMAT_VERSION = 2
"""Part of every address. Increase it when the layout changes."""
_MAGIC = b"CARSTORE"
_END = struct.Struct("<16sQ8s")
"""Checksum and length in bytes of the trailer's JSON, then the magic word."""
_PAGE_BYTES = 4096
MAX_TRAILER_BYTES = 2**16
"""Maximum length of a trailer: readers that do not know the array's shape look for it in this many last bytes."""


@dataclass(frozen=True)
class Artefact:
    """One array of the store, as requested by a caller."""

    key: Mapping[str, Json]
    """Everything that the content depends on, including the version of the code that builds it."""
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @classmethod
    def of(cls, key: Mapping[str, Json], shape: Sequence[int], dtype: DTypeLike) -> "Artefact":
        """Raises ValueError for a dtype with Python objects, which would need pickle."""
        plain = np.dtype(dtype)
        if plain.hasobject:
            raise ValueError(f"the store keeps plain numbers; found dtype {plain}")
        return cls(key, tuple(int(side) for side in shape), plain)

    @property
    def address(self) -> str:
        """128-bit hex digest of the whole identity; the stem of the file's name."""
        identity = {"version": _FORMAT_VERSION, "shape": self.shape, "dtype": self.dtype.str, "key": self.key}
        text = json.dumps(identity, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    @property
    def content_bytes(self) -> int:
        """Size of the array alone."""
        return self.dtype.itemsize * math.prod(self.shape)

    @property
    def content_end(self) -> int:
        """Offset of the trailer."""
        return len(self.header) + self.content_bytes

    @property
    def file_bytes(self) -> int:
        """Size of the file."""
        return self.content_end + len(Trailer.now(self, "0" * 2 * hashlib.sha256().digest_size, build_s=0.0).pack())

    @property
    def header(self) -> bytes:
        """NumPy's header, the same bytes for every file of this shape and dtype."""
        header = io.BytesIO()
        fields = {"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False, "shape": self.shape}
        np.lib.format.write_array_header_1_0(header, fields)
        return header.getvalue()

    @property
    def name(self) -> str:
        """Human-readable name, such as 'pixels 224 px'."""
        return artefact_name(self.key)


@dataclass(frozen=True)
class Trailer:
    """Metadata of a finished file."""

    artefact: Artefact
    digest: str
    """Content hash, see `hashing.digest_of`."""
    build: str
    """Unique id of this build; every rebuild of the artefact gets a new one."""
    created_unix_s: int
    build_s: float | None = None
    """Seconds of computing, without tracing and without the artefacts that it depends on. Stored with four digits; None
    in files older than this field."""

    @classmethod
    def now(cls, artefact: Artefact, digest: str, *, build_s: float) -> "Trailer":
        """The trailer of a build that ends now."""
        return cls(artefact, digest, build=uuid.uuid4().hex, created_unix_s=int(time.time()), build_s=build_s)

    def pack(self) -> bytes:
        """The trailer's bytes, padded to whole pages so that a file's size hardly depends on its key.

        Raises ValueError if the key is too long. It should hold hashes of long values.
        """
        fields = {
            "key": self.artefact.key,
            "shape": self.artefact.shape,
            "dtype": self.artefact.dtype.str,
            "digest": self.digest,
            "build": self.build,
            "created_unix_s": self.created_unix_s,
        }
        if self.build_s is not None:
            fields["build_s"] = f"{self.build_s:.3e}"  # fixed length, so that the file's size is known in advance
        text = json.dumps(fields).encode()
        padding = -(len(text) + _END.size) % _PAGE_BYTES
        text += b" " * padding
        if len(text) + _END.size > MAX_TRAILER_BYTES:
            raise ValueError(f"a key of {len(text):,} bytes; at most {MAX_TRAILER_BYTES:,}: put hashes into it")
        return text + _END.pack(_checksum(text), len(text), _MAGIC)

    @classmethod
    def unpack(cls, end_of_file: bytes) -> "Trailer | None":
        """Reads what `pack` wrote from the last bytes of a file. None if they are not a complete trailer."""
        if len(end_of_file) < _END.size:
            return None
        checksum, length, magic = _END.unpack(end_of_file[-_END.size :])
        if magic != _MAGIC or length > len(end_of_file) - _END.size:
            return None
        text = end_of_file[-_END.size - length : -_END.size]
        if checksum != _checksum(text):
            return None
        fields = json.loads(text)
        artefact = Artefact.of(fields.pop("key"), fields.pop("shape"), fields.pop("dtype"))
        build_s = fields.pop("build_s", None)
        return cls(artefact, **fields, build_s=None if build_s is None else float(build_s))


def artefact_name(key: Mapping[str, Json]) -> str:
    """Human-readable name: the kind, and the image size if the key has one."""
    size = f" {key['size_px']} px" if "size_px" in key else ""
    return f"{key.get('kind', 'artefact')}{size}"


def description(key: Mapping[str, Json]) -> str:
    """The rest of a key in one line, such as 'backbone=MobileNet, pooling=avg'; long values are abbreviated."""
    parts = [f"{name}={_short(value)}" for name, value in sorted(key.items()) if name not in ("kind", "size_px")]
    return ", ".join(parts)


def _short(value: Json) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 24 else f"{text[:8]}…"


def _checksum(text: bytes) -> bytes:
    return hashlib.blake2b(text, digest_size=16).digest()
