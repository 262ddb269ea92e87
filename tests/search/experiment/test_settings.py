import subprocess
import sys

from search.experiment.settings import TTA_VIEWS


def test_the_names_of_tta_views_are_those_of_the_room_that_makes_them():
    from carcls.inference.tta import VIEWS

    assert set(TTA_VIEWS) == set(VIEWS)


def test_reading_an_experiment_loads_nothing_heavy():
    heavy = {"tensorflow", "keras", "ray", "optuna", "albumentations", "cv2", "pandas", "sklearn", "scipy", "rich"}
    code = f"import sys, search.experiment.experiment; print(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
