"""Everything that search raises on purpose.

SearchError
├── ExperimentError        the experiment file: one or more problems, each with file, line and key
├── StudyError             a study that is missing, exists already, or cannot be used
│   └── InUseError         another process works on it
├── CurvesError            recorded curves that cannot be read or made
├── StartError             a folder of photos for which no experiment file can be written
└── ClusterError           a node or a cluster that cannot run this search
"""

from dataclasses import dataclass


class SearchError(Exception):
    """Base of all errors meant for the user."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in an experiment file."""

    where: str
    """`file:line`, or `--set path=value`."""
    key: str
    """Dotted path, such as `train.stages.1.learning_rate`."""
    message: str
    """What was found, what was expected, and the nearest valid name."""

    def __str__(self) -> str:
        return f"{self.where}: {self.key}: {self.message}"


class ExperimentError(SearchError):
    """The experiment file cannot be used; carries every problem found, not only the first."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class StudyError(SearchError):
    """A study that is missing, exists already, or cannot be used."""


class InUseError(StudyError):
    """Another process works on the study or on a final training."""


class ClusterError(SearchError):
    """A node or a cluster that cannot run this search."""


class CurvesError(SearchError):
    """Recorded curves that cannot be read, or epochs that cannot become some."""


class StartError(SearchError):
    """A folder of photos for which no experiment file can be written, or a file in its place."""
