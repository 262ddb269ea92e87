"""Transforms of a policy are independent of each other, and a view depends only on its arguments."""

import hashlib
import itertools
import json
import multiprocessing
import os
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import albumentations
import cv2
import numpy as np
import pytest

from carcls.augment.views import POLICIES_VERSION, policy_fingerprint, transforms, view, view_and_transforms
from carcls.catalog import AUGMENT_POLICIES

GOLDEN = Path(__file__).with_name("golden_views.json")
"""Digests of views, on which stored views and the curves of finished studies depend. If one changes for a good reason,
increase `POLICIES_VERSION` and run this file once with CARSEARCH_REWRITE_GOLDEN=1. The versions are those of
constraints.txt; pixels may differ with others, so the test fails on the versions first.
"""

VARIED = [policy for policy in AUGMENT_POLICIES if policy != "none"]
VIEWS = 2_000
FALSE_ALARM = 1e-6
"""Probability of a false alarm in one run with new seeds, over all pairs of all policies."""


def photo(size: int = 32) -> np.ndarray:
    image = cv2.resize(np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8), (size, size))
    image.setflags(write=False)  # as in the pixel store
    return image


def fired_table(policy: str, *, by: str) -> tuple[list[str], np.ndarray]:
    """(names, bool (VIEWS, transforms)): which transforms were applied in VIEWS views, numbered along one axis."""
    names = [type(transform).__name__ for transform in transforms(policy)]
    return names, fired_rows(policy, names, by=by)


def fired_rows(policy: str, names: list[str], *, by: str) -> np.ndarray:
    image = photo(8)
    rows = []
    for number in range(VIEWS):
        place = {"seed": 3, "view": 1, "index": 2, by: number}
        fired = view_and_transforms(policy, image, **place)[1]
        rows.append([name in fired for name in names])
    return np.array(rows)


def chi_square(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's statistic of a 2 x 2 table, about chi-square with one degree of freedom if they are independent."""
    correlation = np.corrcoef(a, b)[0, 1]
    return float(len(a) * correlation**2)


def critical_value(tests: int) -> float:
    """The value that one of `tests` independent statistics exceeds with probability FALSE_ALARM."""
    from scipy.stats import chi2

    return float(chi2.isf(FALSE_ALARM / tests, df=1))


@pytest.mark.parametrize("by", ["seed", "view", "index"])
def test_each_pair_of_transforms_fires_independently(by):
    pairs = []
    for policy in VARIED:
        names, fired = fired_table(policy, by=by)
        assert len(set(names)) == len(names)  # names identify transforms
        columns = range(len(names))
        pairs += [
            (policy, names[i], names[j], chi_square(fired[:, i], fired[:, j]))
            for i, j in itertools.combinations(columns, 2)
        ]
        pairs += [(policy, names[i], "next view", chi_square(fired[1:, i], fired[:-1, i])) for i in columns]
        for name, transform, rate in zip(names, transforms(policy), fired.mean(axis=0), strict=True):
            sigma = (transform.p * (1 - transform.p) / VIEWS) ** 0.5
            assert abs(rate - transform.p) < 5.5 * sigma, (policy, name)  # false alarms with probability 4e-8 each
    limit = critical_value(len(pairs))
    assert [pair for pair in pairs if pair[-1] > limit] == []


def test_transforms_of_a_users_file_fire_independently_nested_or_not(tmp_path):
    path = tmp_path / "mine.yaml"
    policy = albumentations.Compose(
        [
            albumentations.HorizontalFlip(p=0.5),
            albumentations.ToGray(p=0.5),
            albumentations.Compose([albumentations.InvertImg(p=0.5)], p=1.0),
            albumentations.SomeOf([albumentations.Posterize(p=0.5), albumentations.RandomGamma(p=0.5)], n=2),
        ],
        seed=3,
    )
    albumentations.save(policy, path, data_format="yaml")
    names = ["HorizontalFlip", "ToGray", "Posterize", "RandomGamma"]
    fired = fired_rows(str(path), names, by="index")
    pairs = {(a, b): chi_square(fired[:, a], fired[:, b]) for a, b in itertools.combinations(range(len(names)), 2)}
    assert {pair: value for pair, value in pairs.items() if value > critical_value(len(pairs))} == {}
    assert np.abs(fired.mean(axis=0) - 0.5).max() < 5.5 * (0.25 / VIEWS) ** 0.5
    # Transforms applied by an inner Compose are not recorded, but an inverted grey photo reveals them.
    grey = np.full((8, 8, 3), 60, np.uint8)
    inverted = np.array([view(str(path), grey, seed=3, view=1, index=i).mean() > 127 for i in range(VIEWS)])
    assert abs(inverted.mean() - 0.5) < 5.5 * (0.25 / VIEWS) ** 0.5
    assert max(chi_square(inverted, fired[:, column]) for column in (0, 1)) < critical_value(2)


def test_the_independence_test_finds_the_fault_it_is_there_for():
    """Compose(seed=) gives every transform the same stream, so equal probabilities always fire together."""
    compose = albumentations.Compose(
        [albumentations.HorizontalFlip(p=0.5), albumentations.ToGray(p=0.5)], seed=0, save_applied_params=True
    )
    rows = [[name for name, _ in compose(image=photo(8))["applied_transforms"]] for _ in range(200)]
    flips, greys = (np.array([name in row for row in rows]) for name in ("HorizontalFlip", "ToGray"))
    assert chi_square(flips, greys) > critical_value(1)


@pytest.mark.parametrize("policy", VARIED)
def test_every_transform_draws_from_our_generators_only(policy):
    """Each transform alone with probability 1. The global generators' states must not matter."""
    for transform in transforms(policy):
        transform.p = 1.0
        compose = albumentations.Compose([transform])
        outs = []
        for other in (1, 2):
            cv2.setRNGSeed(other)
            np.random.seed(other)
            random.seed(other)
            compose.set_random_state(np.random.default_rng(5), random.Random(5))  # noqa: S311  # a test is no secret
            outs.append(compose(image=photo())["image"])
        assert np.array_equal(*outs), type(transform).__name__


def digest_of_view(number: int) -> bytes:
    return view("strong", photo(), seed=1, view=number % 3, index=number).tobytes()


def test_views_depend_on_no_order_thread_or_process():
    numbers = list(range(60))
    expected = {number: digest_of_view(number) for number in numbers}
    shuffled = numbers[::2] + numbers[-1::-2]
    assert {number: digest_of_view(number) for number in shuffled} == expected
    with ThreadPoolExecutor(4) as threads:
        assert dict(zip(shuffled, threads.map(digest_of_view, shuffled), strict=True)) == expected
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert (
            dict(zip(shuffled[:20], pool.map(digest_of_view, shuffled[:20]), strict=True)).items() <= expected.items()
        )


def test_views_of_the_named_policies_are_those_of_earlier_versions():
    """20 views of each policy, bit for bit."""
    found = {"albumentations": albumentations.__version__, "opencv": cv2.__version__}
    for policy in VARIED:
        assert policy_fingerprint(policy).startswith(f"{policy} {POLICIES_VERSION}, ")
        views = b"".join(view(policy, photo(48), seed=5, view=number, index=2).tobytes() for number in range(20))
        found[f"{policy} {POLICIES_VERSION}"] = hashlib.blake2b(views, digest_size=16).hexdigest()
    if os.environ.get("CARSEARCH_REWRITE_GOLDEN") == "1":
        GOLDEN.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    versions = {key: found[key] for key in ("albumentations", "opencv")}
    assert versions == {key: golden[key] for key in versions}, "other versions than those of constraints.txt"
    assert found == golden


def test_seed_view_and_index_each_make_another_view():
    image = photo()
    base = {"seed": 0, "view": 0, "index": 0}
    for name in base:
        outs = {view("strong", image, **{**base, name: number}).tobytes() for number in range(20)}
        assert len(outs) == 20, name
    assert not np.array_equal(
        view("strong", image, seed=0, view=1, index=2), view("strong", image, seed=0, view=2, index=1)
    )


@pytest.mark.parametrize("policy", AUGMENT_POLICIES)
def test_a_view_is_a_new_image_of_the_same_shape(policy):
    image = photo(40)[:, :33]
    before = image.copy()
    for number in range(40):
        out = view(policy, image, seed=0, view=number, index=0)
        assert (out.shape, out.dtype) == (image.shape, np.uint8)
        assert out.flags.writeable
        assert out.flags.c_contiguous
        assert not np.shares_memory(out, image)
    assert np.array_equal(image, before)


def test_every_policy_of_the_catalog_is_here_and_no_other():
    from carcls.augment.views import _POLICIES

    assert tuple(_POLICIES) == AUGMENT_POLICIES


def test_none_leaves_the_photo_alone():
    assert np.array_equal(view("none", photo(), seed=0, view=3, index=4), photo())
    assert transforms("none") == []


def test_an_unknown_policy_raises():
    with pytest.raises(KeyError, match="wild"):
        view("wild", photo(), seed=0, view=0, index=0)


@pytest.mark.parametrize("policy", VARIED)
def test_cars_stay_upright(policy):
    """Cars stay upright: a photo that is dark above and bright below stays so in every view."""
    image = np.repeat(np.repeat(np.linspace(40, 210, 64).astype(np.uint8)[:, None, None], 64, axis=1), 3, axis=2)
    for number in range(200):
        out = view(policy, image, seed=0, view=number, index=0).astype(float)
        assert out[40:].mean() - out[:24].mean() > 30, number
