"""Experiment files that travel with the package: links to those in `experiments/`."""

from pathlib import Path

from search.errors import StartError

_FOLDER = Path(__file__).parent

TEMPLATES = {
    "demo": "drawn cars on a CPU, with the weights of the package; two minutes",
    "cars": "a search for the contest sf-dl-car-classification on GPUs",
    "contest_best": "the best public recipe known for the contest, for `carsearch train`",
    "inception_search": "a search around inception_stages",
    "inception_stages": "a known InceptionV3 recipe for the contest, for `carsearch train`",
    "rectangles": "a known recipe for the contest on photos of 480x640, for `carsearch train`",
    "xception_stages": "a known Xception recipe for the contest, for `carsearch train`",
}
"""What each template is for."""


def template_path(name: str) -> Path:
    """The file of a template. Raises StartError naming those that exist."""
    if name not in TEMPLATES:
        raise StartError(f"no template {name!r}; expected one of {', '.join(TEMPLATES)}")
    return _FOLDER / f"{name}.yaml"
