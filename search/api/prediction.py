"""Probabilities for files and arrays by an exported model."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray


def predict(model: str | Path, photos: "Iterable[str | Path | NDArray[np.uint8]]") -> "pd.DataFrame":
    """Classifies photos with a `model.keras` file.

    photos: files, folders, or RGB images (height, width, 3) uint8, in any mix. Returns a row for each photo, in order,
    indexed by its path, or by its position for an image: `label`, `probability`, `error`, then a column for the
    probability of each class. A file that cannot be read has an error and no label. Raises CheckpointError for a model
    that cannot be used, TypeError or ValueError for an image of another form.
    """
    import pandas as pd  # noqa: PLC0415 - only for this call

    from carcls.backend.devices import configure_for_prediction  # noqa: PLC0415 - TensorFlow
    from carcls.dataset.unlabelled import photos_below  # noqa: PLC0415
    from carcls.inference.export import load_model  # noqa: PLC0415

    asked: list[Path | NDArray[np.uint8]] = []
    for photo in photos:
        path = Path(photo) if isinstance(photo, str | Path) else None
        asked += photos_below(path) if path is not None and path.is_dir() else [photo if path is None else path]  # type: ignore[list-item]
    configure_for_prediction()
    exported = load_model(Path(model))
    found = exported.predict_photos(asked)
    index = [str(one) if isinstance(one, Path) else position for position, one in enumerate(asked)]
    told = pd.DataFrame(
        {
            "label": [one.label for one in found],
            "probability": [one.probability for one in found],
            "error": [one.error for one in found],
        },
        index=pd.Index(index, name="photo"),
    )
    shares = {
        name: [None if one.probabilities is None else float(one.probabilities[number]) for one in found]
        for number, name in enumerate(exported.card.class_names)
    }
    return pd.concat([told, pd.DataFrame(shares, index=told.index, dtype=float)], axis=1)
