"""Photos at once through a frozen backbone. Imports no Keras, since the search's driver uses it."""

from carcls.frames import Size, frame_of

_PHOTOS, _PIXELS = 64, 64 * 224 * 224


def feature_batch(size_px: Size, at_most: int | None = None) -> int:
    """Photos whose features are computed at once, whatever the batch size of the head that trains on them.

    Depends only on the image size, since it affects rounding and shared features must not depend on the trial. at_most:
    photos that fit the device's memory, or None for no limit; if memory is short, slightly different rounding is better
    than no features.
    """
    return max(1, min(_PHOTOS, _PIXELS // frame_of(size_px).area, at_most or _PHOTOS))
