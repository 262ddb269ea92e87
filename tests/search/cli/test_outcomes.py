"""What commands print about a study that did not end."""

from pathlib import Path

from search.cli.outcomes import resume_hint
from search.driver.study_draft import exists_already
from search.study.folder import StudyFolder

FOLDER = StudyFolder(Path("/results/cars"))


def test_a_run_of_several_steps_is_continued_by_itself_since_resume_would_only_search() -> None:
    assert resume_hint(FOLDER, goes_on=True) == "continue with 'carsearch run ... --or-resume'"
    assert resume_hint(FOLDER, goes_on=False) == "resume with 'carsearch resume /results/cars'"


def test_a_study_that_exists_names_both_ways_to_continue_it() -> None:
    text = str(exists_already(FOLDER))
    assert "'carsearch resume /results/cars' or, as for '--hours', with '--or-resume'; or start over with" in text
