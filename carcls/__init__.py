"""Fine-tunes and applies one image classifier on one machine from one concrete configuration."""

import os

# OpenCV reads this once, on import. Before it allocates pixels, it compares the size in the header with this limit: a
# second line of defence, should our own header parser (carcls.photos.headers) ever disagree.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(100_000_000))
