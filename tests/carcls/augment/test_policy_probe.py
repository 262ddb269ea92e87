"""Policy files that would take minutes or gigabytes are refused within seconds, before any training."""

import os
import time

import albumentations as A  # noqa: N812  # the name that every example of albumentations uses
import numpy as np
import pytest

from carcls.augment import transform_probe
from carcls.augment.policy_file import read_policy_file
from carcls.augment.policy_probe import check_policy_file
from carcls.augment.transform_probe import probe
from carcls.augment.views import check_policy
from carcls.errors import ConfigError


def policy(tmp_path, *transforms: str):
    path = tmp_path / "mine.yaml"
    entries = "".join(f"\n    - {transform}" for transform in transforms)
    path.write_text(f"transform:\n  __class_fullname__: Compose\n  p: 1.0\n  transforms:{entries}\n")
    return str(path)


def doubled(levels: int, line: str) -> str:
    """Each line refers to the previous one nine times."""
    lines = [line.format(number=n, before=", ".join([f"*a{n - 1}"] * 9)) for n in range(1, levels)]
    return "a0: &a0 {x: 1}\n" + "\n".join(lines) + f"\ntransform: *a{levels - 1}\n"


LISTS = doubled(12, "a{number}: &a{number} [{before}]")
MERGED = doubled(12, "a{number}: &a{number} {{<<: [{before}]}}")
COMPOSED = doubled(8, "a{number}: &a{number} {{__class_fullname__: OneOf, p: 0.5, transforms: [{before}]}}")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (LISTS, "expands to more than 20000 values"),
        (COMPOSED, "expands to more than 20000 values"),
        (MERGED, "merge keys (<<) are not supported"),
        ("a: &a [*a]\ntransform: 1\n", "expands to more than 20000 values or 30 levels"),
        ("transform: 1\n" + "#" * 2**18, "longer than 262,144 bytes"),
    ],
)
def test_a_file_is_no_larger_than_it_looks(tmp_path, text, reason):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    assert len(text) < 1000 or len(text) > 2**18
    with pytest.raises(ConfigError) as caught:
        read_policy_file(str(path))
    assert str(caught.value).startswith(str(path))
    assert reason in str(caught.value)


def test_an_alias_used_twice_is_fine(tmp_path):
    path = policy(tmp_path, "&flip {__class_fullname__: HorizontalFlip, p: 0.5}", "*flip")
    assert len(list(read_policy_file(path).top.leaves())) == 2


def test_a_pipe_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "mine.yaml")
    with pytest.raises(ConfigError, match=r"mine\.yaml: cannot read this augmentation policy: not a regular file"):
        read_policy_file(str(tmp_path / "mine.yaml"))


class Slow(A.ImageOnlyTransform):
    """Computes for a while, like a transform with large parameters."""

    def apply(self, img: np.ndarray, **params: object) -> np.ndarray:
        end = time.process_time() + 0.15
        while time.process_time() < end:
            pass
        return img


def test_a_slow_view_is_refused(monkeypatch):
    probe(Slow(p=1.0), "here")
    monkeypatch.setattr(transform_probe, "_MAX_VIEW_S", 0.1)
    with pytest.raises(ConfigError, match=r"here: takes 0 s for a photo of 96 x 96 px; at most 0\.1 s are allowed"):
        probe(Slow(p=1.0), "here")


def test_a_valid_file_passes_in_a_separate_process(tmp_path):
    check_policy(policy(tmp_path, "{__class_fullname__: HorizontalFlip, p: 0.5}"))


def test_the_separate_process_reports_the_same_errors(tmp_path):
    path = policy(tmp_path, "{__class_fullname__: Blur, p: 1.5}")
    with pytest.raises(ConfigError) as here:
        read_policy_file(path)
    with pytest.raises(ConfigError) as there:
        check_policy_file(path)
    assert str(there.value) == str(here.value)


@pytest.mark.parametrize("name", ["RandomRotate90", "Transpose", "D4", "SquareSymmetry"])
def test_quarter_turns_are_refused_on_rectangles(tmp_path, name):
    turn = f"{{__class_fullname__: {name}, p: 0.1}}"
    flip = "{__class_fullname__: HorizontalFlip, p: 0.5}"
    path = policy(tmp_path, flip, f"{{__class_fullname__: OneOf, p: 0.2, transforms: [{flip}, {turn}]}}")
    check_policy(path)
    expected = (
        rf"mine\.yaml: transform 2\.2 \({name}\): turns a photo of 96 x 128 into 128 x 96 px; on rectangles .* remove"
        r" it, or give train\.image_size as one side"
    )
    with pytest.raises(ConfigError, match=expected):
        check_policy(path, rectangles=True)


def test_other_transforms_pass_on_rectangles(tmp_path):
    names = ("HorizontalFlip", "Affine", "Perspective", "CropAndPad", "Rotate", "CoarseDropout", "ElasticTransform")
    arguments = {"CropAndPad": ", percent: [-0.2, 0.0]"}
    entries = [f"{{__class_fullname__: {name}, p: 0.5{arguments.get(name, '')}}}" for name in names]
    check_policy(policy(tmp_path, *entries), rectangles=True)


@pytest.mark.parametrize(
    "transform",
    [
        "{__class_fullname__: PadIfNeeded, p: 1.0, min_height: 60000, min_width: 60000}",
        "{__class_fullname__: MotionBlur, p: 0.5, blur_limit: [99999, 99999]}",
    ],
)
def test_gigabytes_for_a_small_photo_are_refused(tmp_path, transform):
    with pytest.raises(ConfigError, match=r"transform 1 \(\w+\): cannot be applied to a photo of 96 x 96 px: .*emory"):
        check_policy_file(policy(tmp_path, transform))


def test_an_endless_policy_is_stopped(tmp_path):
    """Seventy million Python steps for a photo of 96 px take longer than the deadline on any machine."""
    endless = "{__class_fullname__: GlassBlur, p: 1.0, iterations: 9000, sigma: 0.7, max_delta: 4}"
    with pytest.raises(ConfigError, match=r"mine\.yaml: could not be tried .* within 5 s: remove the slow transform"):
        check_policy_file(policy(tmp_path, endless), deadline_s=5.0)
