"""Exports the greedy soup of a study whose trials share their head, and its best trial: a process of its own.

python -m benchmarks.accuracy.soup STUDY
"""

import json
import sys
from pathlib import Path

from benchmarks.harness import quiet

quiet()

from benchmarks.accuracy.recipes import BRANCH, FOUND, SOUP  # noqa: E402 - after `quiet`, like the others
from carcls.backend import devices  # noqa: E402 - after `quiet`
from carcls.inference.ensemble import averaged  # noqa: E402 - after `quiet`
from carcls.inference.export import export_model  # noqa: E402 - after `quiet`
from carcls.inference.tta import PLAIN  # noqa: E402 - after `quiet`
from carcls.inference.view_choice import choose_views  # noqa: E402 - after `quiet`
from carcls.inference.view_priors import recorded_priors  # noqa: E402 - after `quiet`
from carcls.input.training_data import TrainingData  # noqa: E402 - after `quiet`
from carcls.scoring.choices import scaled  # noqa: E402 - after `quiet`
from carcls.splits.split_files import read_split  # noqa: E402 - after `quiet`
from search.ensemble.selectable import Candidate, Photos, candidates, soup_groups  # noqa: E402 - after `quiet`
from search.ensemble.soups import greedy_soup, load_member, predict_validation  # noqa: E402 - after `quiet`
from search.experiment.node_store import open_store  # noqa: E402 - after `quiet`
from search.study.folder import StudyFolder  # noqa: E402 - after `quiet`
from search.study.frozen import open_experiment  # noqa: E402 - after `quiet`


def main() -> None:
    export_soup(StudyFolder(Path(sys.argv[1])))


def export_soup(folder: StudyFolder) -> None:
    """Writes both models, each with the views that the shipped rule chooses on the validation photos, and `FOUND`:
    how many branches there were, and how many the soup took (one: it is the best branch)."""
    devices.configure_for_prediction()
    experiment = open_experiment(folder)
    split = read_split(folder.split, experiment.data.root)
    photos = Photos.of(split)
    data = TrainingData(split, open_store(experiment.store), view_seed=experiment.search.seed, processes=2)
    found, _ = candidates(folder, photos)
    groups = soup_groups(found)
    group = max(groups, key=len) if groups else found
    best = min(group, key=lambda one: scaled(one.probabilities, photos.labels).log_loss)
    # Trainings with different heads have no soup.
    soup = greedy_soup(group, photos, data) if groups else best

    def export(one: Candidate, name: str) -> None:
        member = load_member(one.weights, data, is_soup=one.is_soup)
        views = tuple(dict.fromkeys((PLAIN, *experiment.tta.views)))
        said = {view: all_of[photos.rows] for view, all_of in predict_validation(member, data, views).items()}
        chosen = choose_views(
            said,
            photos.labels,
            confidence=experiment.tta.confidence,
            seed=experiment.search.seed,
            priors=recorded_priors(),
            units=photos.units,
        )
        export_model(
            folder.root / name,
            averaged([member]),
            class_names=split.class_names,
            config=one.weights[0].config,
            size_px=member.size_px,
            tta_views=chosen.views,
            members=1,
        )

    export(best, BRANCH)
    export(soup, SOUP)
    told = {"branches": len(found), "souped": len(soup.weights) if soup.is_soup else 1}
    (folder.root / FOUND).write_text(json.dumps(told), encoding="utf-8")


if __name__ == "__main__":
    main()
