"""Small copies of photos for reports: JPEG bytes, so that a page shows photos without reading the originals."""

from pathlib import Path

import cv2

from carcls.errors import DataError
from carcls.photos.photo import decode_bytes, read_photo_bytes

_QUALITY = 78


def thumbnail(path: Path, *, side_px: int) -> bytes | None:
    """The whole upright photo as a JPEG file of at most `side_px` on its longer side; None if it cannot be read.

    The bytes are newly encoded, so nothing of the file but its pixels gets into them: no metadata, no location.
    """
    try:
        photo = decode_bytes(read_photo_bytes(path))
    except DataError:
        return None
    scale = min(1.0, side_px / max(photo.shape[:2]))
    size = (max(1, round(photo.shape[1] * scale)), max(1, round(photo.shape[0] * scale)))
    small = cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
    done, content = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return content.tobytes() if done else None
