"""One photo file -> pixels, with nothing about the file trusted; and whether two photos look alike."""
