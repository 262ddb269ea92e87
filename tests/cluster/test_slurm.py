"""deploy/slurm/search.sbatch on a SLURM of Debian's programs, as docs/cluster.md says: from zero to a finished study.

The nodes are namespaces of this machine. Only the path to .venv is the test's own.
"""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from search.study.folder import StudyFolder
from tests.cluster.place import SAME_AT_ONCE, Values, recorded, values
from tests.helpers import ROOT
from tests.helpers.network.hosts import Hosts
from tests.helpers.network.slurm import Slurm, why_no_slurm
from tests.helpers.search.processes import wait_until
from tests.helpers.search.tiny import write_tiny

pytestmark = [pytest.mark.fault, pytest.mark.release]

ENDS_S = 400.0


class Submitted:
    """The job of a search, in a folder that all nodes share."""

    def __init__(self, slurm: Slurm, cwd: Path, text: str) -> None:
        self.slurm, self.cwd = slurm, cwd
        self.folder = StudyFolder(cwd / "results" / "tiny")
        write_tiny(cwd, text)
        (cwd / ".venv" / "bin").mkdir(parents=True)
        activate = f"PATH={Path(sys.executable).parent}:$PATH\nexport PYTHONPATH={ROOT}\n"
        (cwd / ".venv" / "bin" / "activate").write_text(activate, encoding="utf-8")
        script = str(ROOT / "deploy" / "slurm" / "search.sbatch")
        self.number = slurm.call("sbatch", "--parsable", "--cpus-per-task=1", script, "tiny.yaml", cwd=cwd)

    @property
    def output(self) -> str:
        return (self.cwd / f"slurm-{self.number}.out").read_text(encoding="utf-8", errors="replace")

    def epochs(self) -> int:
        return sum(record.fidelity for record in recorded(self.folder))

    def await_epochs(self, count: int) -> None:
        def are_there() -> bool:
            assert self.slurm.job(self.number)["JobState"] in ("PENDING", "RUNNING"), self.output
            return self.epochs() >= count

        wait_until(are_there, f"{count} recorded epochs")


@pytest.fixture
def job(tmp_path: Path, _hosts_are_possible: None) -> Iterator[Submitted]:
    why = why_no_slurm()
    if why:
        pytest.skip(why)
    (tmp_path / "work").mkdir()
    with Hosts(tmp_path) as hosts, Slurm(hosts, tmp_path / "slurm", nodes=3) as slurm:
        yield Submitted(slurm, tmp_path / "work", SAME_AT_ONCE)


def time_is_nearly_up(job: Submitted) -> None:
    """As `#SBATCH --signal=B:TERM@120` does it: to the batch script alone."""
    job.slurm.call("scancel", "--signal=TERM", "--batch", job.number)


def requeued_by_an_operator(job: Submitted) -> None:
    job.slurm.call("scontrol", "requeue", job.number)


def head_loses_power(job: Submitted) -> None:
    job.slurm.hosts_of(job.number)[0].cut_power()


@pytest.mark.parametrize("disturb", [time_is_nearly_up, requeued_by_an_operator, head_loses_power])
def test_a_job_that_is_queued_again_ends_with_the_undisturbed_study(
    job: Submitted, disturb: Callable[[Submitted], None], undisturbed: Values
) -> None:
    job.await_epochs(6)
    before = job.slurm.hosts_of(job.number)
    disturb(job)
    assert job.slurm.await_end(job.number, within_s=ENDS_S) == "COMPLETED", job.output
    assert job.slurm.job(job.number)["Restarts"] == "1"
    assert values(recorded(job.folder)) == undisturbed, job.output
    assert "ended: all 4 trials of search.trials have run" in job.output
    after = job.slurm.hosts_of(job.number)
    assert (after == before) == (disturb is not head_loses_power)
    assert not list(job.cwd.glob(".ray-token-*")), "the token goes with the job"
    for host in after:
        wait_until(lambda host=host: job.slurm.left_on(host) == [], f"an end to all on {host.name}", within_s=30)
