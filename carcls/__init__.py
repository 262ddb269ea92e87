"""Fine-tunes and applies one image classifier on one machine from one concrete configuration."""

import os

# OpenCV reads it once, when it is first imported: what libjpeg, libpng and libwebp find in a header is compared with it
# before pixels are allocated, should our own reading of the header (carcls.photos.photo) ever differ from theirs.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(100_000_000))
