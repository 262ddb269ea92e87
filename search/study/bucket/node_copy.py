"""The part of a study in a bucket that a node needs: the node shares no folder with the driver."""

import contextlib
import errno
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from uuid import uuid4

from carcls.system import atomic
from carcls.training.part_names import is_part
from carcls.training.retention import is_best_weights, is_checkpoint
from search.study.bucket.bucket import Bucket, Stamp
from search.study.folder import StudyFolder

_PSEUDO = "pseudo.csv"


class NodeCopy:
    """The study's own files on a node: split, folds, lists of photos, policies. Several processes may use one."""

    def __init__(self, bucket: Bucket, folder: StudyFolder) -> None:
        """folder: on this node; it need not exist."""
        self.bucket = bucket
        self.folder = folder

    @property
    def is_known(self) -> bool:
        """Whether this node has read the study before."""
        return self.folder.split.is_file()

    def try_out(self) -> None:
        """Write a file to the bucket and read it back. Raises OSError."""
        name, content = f".node-{uuid4().hex}", uuid4().hex.encode()
        self.bucket.put(name, content)
        found = self.bucket.get(name)
        self.bucket.delete(name)
        if found != content:
            raise OSError(errno.EIO, "a file that was stored there reads otherwise", self.bucket.url)

    def fetch(self) -> None:
        """Bring the study's files. Raises OSError, also if there is no split."""
        folder = self.folder
        for path in (folder.folds, folder.extra, folder.unlabelled, folder.split):
            name = path.name
            far = self.bucket.stamp(name)
            if far is not None:
                self.bring(name, far)
            elif path == folder.split:
                raise FileNotFoundError(errno.ENOENT, f"no {name} is there", self.bucket.url)
            else:
                path.unlink(missing_ok=True)
        for name, far in self.bucket.files(folder.policies.name).items():
            self.bring(name, far)

    def bring(self, name: str, far: Stamp) -> None:
        """Bring one file, unless it is here already. Raises OSError, also if it does not come whole, and StudyError."""
        path = self.bucket.path_below(self.folder.root, name)
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            here = path.stat()
            if far == Stamp(here.st_size, here.st_mtime_ns):
                return
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic.published(path) as temporary:
            self.bucket.fetch(name, temporary)
            size = temporary.stat().st_size
            if size != far.size:
                raise OSError(errno.EIO, f"{name} came with {size:,} of {far.size:,} bytes", self.bucket.url)
            os.utime(temporary, ns=(far.mtime_ns, far.mtime_ns))

    def forget_trials(self) -> None:
        """Delete what killed workers have left here. Only before the first trial of a run."""
        shutil.rmtree(self.folder.trials, ignore_errors=True)


class TrialCopy:
    """The files of one attempt of a trial on the node that trains it. They are removed from the node afterwards."""

    def __init__(self, study: NodeCopy, number: int, attempt: int) -> None:
        self._study = study
        self._trial = study.folder.trial(number)
        self._attempt = f"attempt-{attempt}"
        self._stored: dict[str, Stamp] = {}

    def fetch(self, more: Iterable[tuple[int, str]] = ()) -> None:
        """Bring the trial's checkpoints, in place of what an earlier attempt has left here. Raises OSError.

        more: numbers of other trials, each with the name of a checkpoint that is needed too.
        """
        self.remove()
        self._study.folder.trials.mkdir(exist_ok=True)  # a training makes no folder but its own
        far = self._study.bucket.files(self._far(""))
        begin = len(self._far("")) + 1
        needed = {name: stamp for name, stamp in far.items() if _is_needed(name[begin:])}
        for number, name in more:
            path = self._study.folder.trial(number) / name
            other = path.relative_to(self._study.folder.root).as_posix()
            stamp = self._study.bucket.stamp(other) if is_checkpoint(name) else None
            if stamp is not None:  # its loss is an error of the training, which names the file
                needed[other] = stamp
        for name, stamp in needed.items():
            self._study.bring(name, stamp)
        if (pseudo := self._trial / _PSEUDO).is_file():
            self._stored[_PSEUDO] = _stamp(pseudo)

    def store(self, *, parts: bool) -> None:
        """Store what this attempt has written since the last call: a checkpoint after the weights that it names.

        parts: whether parts of an epoch are wanted too. Raises OSError.
        """
        files = [path for path in (self._trial / self._attempt).glob("[!.]*") if path.is_file()]
        names = [path.relative_to(self._trial).as_posix() for path in (*files, self._trial / _PSEUDO) if path.is_file()]
        for name in sorted(names, key=lambda name: (_rank(name), name)):
            if parts or not is_part(name):
                self._store(name)

    def store_parts(self) -> None:
        """Store the parts of the running epoch. An unreachable bucket is no error: the epoch can be trained again."""
        with contextlib.suppress(OSError):
            for path in (self._trial / self._attempt).glob("part-*.npz"):
                self._store(path.relative_to(self._trial).as_posix())

    def drop(self, names: Iterable[str]) -> None:
        """Delete checkpoints from this node that are in the bucket and not needed here any more."""
        for name in names:
            if name in self._stored and is_checkpoint(name):
                (self._trial / name).unlink(missing_ok=True)

    def remove(self) -> None:
        """Delete the trial's files from this node."""
        shutil.rmtree(self._trial, ignore_errors=True)

    def _store(self, name: str) -> None:
        path, bucket = self._trial / name, self._study.bucket
        try:
            here = _stamp(path)
            if self._stored.get(name) == here:
                return
            bucket.put(self._far(name), path)
        except FileNotFoundError:
            if path.exists():  # then it is the bucket that is not there
                raise
            return  # a part that is not needed any more
        far = bucket.stamp(self._far(name))
        if is_checkpoint(name) and (far is None or far.size != here.size):
            found = "nothing" if far is None else f"{far.size:,} bytes"
            raise OSError(errno.EIO, f"{self._far(name)}: stored {here.size:,} bytes, found {found}", bucket.url)
        self._stored[name] = here

    def _far(self, name: str) -> str:
        return (self._trial / name).relative_to(self._study.folder.root).as_posix()


def _stamp(path: Path) -> Stamp:
    status = path.stat()
    return Stamp(status.st_size, status.st_mtime_ns)


def _is_needed(name: str) -> bool:
    return name == _PSEUDO or is_checkpoint(name) or is_part(name)


def _rank(name: str) -> int:
    """What is stored first: pseudo-labels and best weights, then the states that need them, then the output."""
    if name == _PSEUDO or is_best_weights(name):
        return 0
    return 1 if _is_needed(name) else 2
