"""Writes the two notebooks from the cells below: `python notebooks/make.py [--run]`.

With --run each is executed on drawn cars, and its outputs are kept. A test fails while a notebook is not what this
script writes.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent
ROOT = HERE.parent
TIMEOUT_S = 1800
"""For one cell, on a busy machine."""

_KAGGLE_INTRO = """\
# carsearch on Kaggle: from the contest's photos to `submission.csv`

Attach the contest *sf-dl-car-classification* as input, and a data set with the wheels that `make wheelhouse` builds
(`dist/wheelhouse/`). Weights of keras.applications without top, as another data set, make this work without internet.
A session that ends too early continues: attach its output as input of the next one.\
"""
_COLAB_INTRO = """\
# carsearch on Colab: from an archive of photos to `submission.csv`

Put the photos, and the wheels that `make wheelhouse` builds (`dist/wheelhouse/`), on your Drive. Studies are kept on
the Drive as well, so that a lost session continues with the same cells.\
"""
_KAGGLE_PLACES = """\
import os
from pathlib import Path

# The test of this notebook sets the variables; on Kaggle the second values hold.
PHOTOS = Path(os.environ.get("CARSEARCH_PHOTOS", "/kaggle/input/sf-dl-car-classification"))
WHEELS = Path(os.environ.get("CARSEARCH_WHEELS", "/kaggle/input/carsearch-wheelhouse"))
WEIGHTS = Path(os.environ.get("CARSEARCH_WEIGHTS", "/kaggle/input/keras-weights"))
EARLIER = Path(os.environ.get("CARSEARCH_EARLIER", "/kaggle/input/carsearch-results"))  # output of an earlier session
WORK = Path(os.environ.get("CARSEARCH_WORK", "/kaggle/working"))
PRESET = os.environ.get("CARSEARCH_PRESET", "medium")  # quick, medium or best
HOURS = float(os.environ.get("CARSEARCH_HOURS", "11"))  # from photos to submission; a session has 12
os.chdir(WORK)\
"""
_COLAB_PLACES = """\
import os
from pathlib import Path

if "CARSEARCH_WORK" not in os.environ:  # the test of this notebook sets the variables
    from google.colab import drive

    drive.mount("/content/drive")
DRIVE = Path("/content/drive/MyDrive/carsearch")
PHOTOS = Path(os.environ.get("CARSEARCH_PHOTOS", DRIVE / "photos.zip"))  # a folder or an archive
WHEELS = Path(os.environ.get("CARSEARCH_WHEELS", DRIVE / "wheelhouse"))
WEIGHTS = Path(os.environ.get("CARSEARCH_WEIGHTS", DRIVE / "weights"))
WORK = Path(os.environ.get("CARSEARCH_WORK", DRIVE))
PRESET = os.environ.get("CARSEARCH_PRESET", "medium")  # quick, medium or best
HOURS = float(os.environ.get("CARSEARCH_HOURS", "3"))  # from photos to submission, over all sessions
os.chdir(WORK)\
"""
_INSTALL = """\
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("search") is None:
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", f"--find-links={WHEELS}", "carsearch"],
        check=True,
    )
!carsearch --version\
"""
_EARLIER = """\
import shutil

if EARLIER.is_dir():  # the study of an earlier session, which the next cells continue
    for name in ("results", "data"):
        if (EARLIER / name).is_dir() and not Path(name).exists():
            shutil.copytree(EARLIER / name, name)
    for file in EARLIER.glob("*.yaml"):
        if not Path(file.name).exists():
            shutil.copy(file, ".")\
"""
_INIT = """\
from search.start.sources import study_name

NAME = study_name(PHOTOS)
FILE = Path(f"{NAME}.yaml")
weights = f"--weights {WEIGHTS}" if WEIGHTS.exists() else ""
if not FILE.exists():
    !carsearch init "{PHOTOS}" --preset {PRESET} {weights}
print(FILE.read_text())\
"""
_RUN = """\
# Search, final trainings, ensemble and submission share the hours. Run again, it continues with those that are left.
!carsearch run {FILE} --or-resume --hours {HOURS} | grep --line-buffered -v '^epoch'\
"""
_LOOK = """\
import search

study = search.Study(f"results/{NAME}")
study\
"""
_PLOT = """\
study.plot_curves()\
"""
_SUBMISSION = """\
shutil.copy(study.folder.submission, "submission.csv")
print("".join(Path("submission.csv").open().readlines()[:4]))\
"""


def notebooks() -> dict[str, nbformat.NotebookNode]:
    """Both notebooks without outputs, by name."""
    rest = [_INIT, _RUN, _LOOK, _PLOT, _SUBMISSION]
    return {
        "kaggle": _notebook(_KAGGLE_INTRO, [_KAGGLE_PLACES, _INSTALL, _EARLIER, *rest]),
        "colab": _notebook(_COLAB_INTRO, [_COLAB_PLACES, _INSTALL, "import shutil", *rest]),
    }


def _notebook(intro: str, cells: list[str]) -> nbformat.NotebookNode:
    made = nbformat.v4.new_notebook()
    made.cells = [nbformat.v4.new_markdown_cell(intro), *(nbformat.v4.new_code_cell(cell) for cell in cells)]
    for number, cell in enumerate(made.cells):
        cell["id"] = f"cell-{number}"  # random otherwise, and different in each version
    made.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    return made


def run(notebook: nbformat.NotebookNode, work: Path, settings: dict[str, str]) -> nbformat.NotebookNode:
    """The notebook with outputs, executed in `work`. settings: environment variables. Raises CellExecutionError."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "CARSEARCH_WORK": str(work), **settings}
    client = NotebookClient(notebook, timeout=TIMEOUT_S, kernel_name="python3", record_timing=False)
    client.execute(env=environment, cwd=str(work))
    return notebook


def without_places(notebook: nbformat.NotebookNode, work: Path) -> nbformat.NotebookNode:
    """Outputs without the temporary folder's name and without execution counts, which differ in each run."""
    text = nbformat.writes(notebook).replace(str(work), "/kaggle/working").replace(str(ROOT), "/carsearch")
    return nbformat.reads(text, as_version=4)


def sample(folder: Path) -> Path:
    """Drawn cars in `folder`; returns the photos' folder."""
    photos = folder / "cars"
    draw = [sys.executable, "-m", "search.cli", "data", "sample", str(photos), "--classes", "3"]
    few = ["--train-per-class", "24", "--test-per-class", "4"]
    subprocess.run([*draw, *few], cwd=folder, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    return photos


def main(*, execute: bool) -> None:
    """Writes both notebooks; with outputs of drawn cars if `execute`."""
    for name, notebook in notebooks().items():
        done = notebook
        if execute:
            with tempfile.TemporaryDirectory(prefix="carsearch-notebook-") as folder:
                work = Path(folder)
                settings = {
                    "CARSEARCH_PHOTOS": str(sample(work)),
                    "CARSEARCH_PRESET": "quick",
                    "CARSEARCH_HOURS": "0.1",
                }
                done = without_places(run(notebook, work, settings), work)
        nbformat.write(done, HERE / f"{name}.ipynb")


if __name__ == "__main__":
    main(execute="--run" in sys.argv[1:])
