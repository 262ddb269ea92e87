"""A matplotlib figure that a notebook shows, whatever backend pyplot has."""

import io

from matplotlib.figure import Figure


class NotebookFigure(Figure):
    """IPython asks for the PNG; a plain figure is shown only after pyplot was imported."""

    def _repr_png_(self) -> bytes:
        written = io.BytesIO()
        self.savefig(written, format="png", dpi=80)
        return written.getvalue()
