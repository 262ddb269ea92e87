"""Policy files: accepted ones behave as in albumentations; refused ones say why and where."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import albumentations as A  # noqa: N812  # the name that every example of albumentations uses
import numpy as np
import pytest
import yaml

from carcls.augment import policy_file
from carcls.augment.generators import ViewGenerators
from carcls.augment.policy_file import probe, read_policy_file
from carcls.augment.views import load_policy, policy_fingerprint, view, view_and_transforms
from carcls.catalog import AUGMENT_POLICIES
from carcls.config import AugmentConfig
from carcls.errors import ConfigError
from search.experiment.file.yaml_source import parse_source

NESTED = A.Compose(
    [
        A.HorizontalFlip(p=0.5),
        A.OneOf([A.ToGray(p=1.0), A.Sequential([A.InvertImg(p=0.5), A.RandomGamma(p=0.5)], p=1.0)], p=0.7),
        A.SomeOf([A.Blur(p=0.8), A.Affine(rotate=(-9, 9), p=0.8), A.ISONoise(p=0.8)], n=2, p=0.8),
        A.GaussNoise(p=0.5),
    ],
    p=0.9,
)


def photo(size: int = 32) -> np.ndarray:
    image = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
    image.setflags(write=False)  # as in the pixel store
    return image


def saved(path: Path, transform: object) -> str:
    A.save(transform, path, data_format="json" if path.suffix == ".json" else "yaml")
    return str(path)


def written(path: Path, *transforms: dict, **compose: object) -> str:
    """Writes a policy file with transforms given as {"Name": arguments}."""
    entries = [{"__class_fullname__": name, **args} for entry in transforms for name, args in entry.items()]
    tree = {"__class_fullname__": "Compose", "p": 1.0, "transforms": entries, **compose}
    path.write_text(yaml.safe_dump({"__version__": A.__version__, "transform": tree}))
    return str(path)


@pytest.mark.parametrize("suffix", [".yaml", ".yml", ".json"])
def test_a_saved_policy_makes_the_views_that_albumentations_makes_of_it(tmp_path, suffix):
    policy = saved(tmp_path / f"mine{suffix}", NESTED)
    assert AugmentConfig(policy=policy).policy == policy
    fired = set()
    for number in range(60):
        out, names = view_and_transforms(policy, photo(), seed=1, view=number, index=2)
        fired |= set(names)
        generators = ViewGenerators()
        generators.start(seed=1, view=number, index=2)
        NESTED.set_random_state(generators.numpy, generators.python)
        assert np.array_equal(out, NESTED(image=photo())["image"])
        assert not np.shares_memory(out, photo())
    assert {"HorizontalFlip", "ToGray", "Blur", "Affine", "ISONoise", "GaussNoise"} <= fired


def test_a_policy_may_be_one_transform_without_a_composition(tmp_path):
    policy = saved(tmp_path / "flip.json", A.HorizontalFlip(p=1.0))
    assert np.array_equal(view(policy, photo(), seed=0, view=0, index=0), photo()[:, ::-1])


def test_views_of_a_file_depend_on_no_order_and_no_thread(tmp_path):
    policy = saved(tmp_path / "mine.yaml", NESTED)

    def one(number: int) -> bytes:
        return view(policy, photo(), seed=1, view=number % 3, index=number).tobytes()

    expected = [one(number) for number in range(40)]
    assert len(set(expected)) > 30
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(one, reversed(range(40)))) == expected[::-1]


def test_a_file_is_read_once_so_that_a_training_sees_one_policy(tmp_path):
    path = tmp_path / "mine.yaml"
    policy = saved(path, A.Compose([A.HorizontalFlip(p=1.0)]))
    first = view(policy, photo(), seed=0, view=0, index=0)
    saved(path, A.Compose([A.VerticalFlip(p=1.0)]))
    assert np.array_equal(view(policy, photo(), seed=0, view=0, index=0), first)


def test_fingerprints_name_content_and_versions_but_no_path(tmp_path):
    one = saved(tmp_path / "one.yaml", A.Compose([A.HorizontalFlip(p=0.5)]))
    same = saved(tmp_path / "same.yaml", A.Compose([A.HorizontalFlip(p=0.5)]))
    other = saved(tmp_path / "other.yaml", A.Compose([A.HorizontalFlip(p=0.4)]))
    assert policy_fingerprint(one) == policy_fingerprint(same)
    prints = [policy_fingerprint(policy) for policy in (*AUGMENT_POLICIES, one, other)]
    assert len(set(prints)) == len(prints)
    assert all(A.__version__ in text and str(tmp_path) not in text for text in prints)
    with pytest.raises(KeyError, match="wild"):
        policy_fingerprint("wild")


FLIP = {"HorizontalFlip": {"p": 0.5}}


@pytest.mark.parametrize(
    ("transforms", "parts"),
    [
        ([FLIP, {"Normalize": {"p": 1.0}}], ["transform 2 (Normalize): pixels must stay", "remove it"]),
        ([{"ToFloat": {"p": 1.0}}], ["transform 1 (ToFloat): pixels must stay"]),
        ([{"albumentations.pytorch.transforms.ToTensorV2": {"p": 1.0}}], ["ToTensorV2): pixels must stay"]),
        ([{"Lambda": {"p": 1.0, "name": "mine"}}], ["transform 1 (Lambda): a file cannot hold a function"]),
        ([{"ReplayCompose": {"p": 1.0, "transforms": []}}], ["(ReplayCompose): views are drawn again"]),
        ([{"HorizontalFlop": {"p": 1.0}}], ["(HorizontalFlop): ", "no such transform: did you mean HorizontalFlip?"]),
        ([{"os.system": {"p": 1.0}}], ["transform 1 (os.system): is not a class of albumentations"]),
        ([{"BboxParams": {"p": 1.0}}], ["(BboxParams): ", "no such transform"]),
        ([{"Blur": {"p": 1.0, "blurr": 3}}], ["transform 1 (Blur): ", "blurr"]),
        ([{"MedianBlur": {"p": 1.0, "blurr": 3}}], ["transform 1 (MedianBlur): ", "blurr"]),
        ([{"Blur": {"p": 1.0, "blur_limit": "big"}}], ["transform 1 (Blur): blur_limit", "valid integer"]),
        ([{"Blur": {}}], ["transform 1 (Blur): p is None: expected a probability"]),
        ([{"Blur": {"p": 1.5}}], ["transform 1 (Blur): p is 1.5"]),
        ([{"Blur": {"p": True}}], ["transform 1 (Blur): p is True"]),
        ([{"RandomCrop": {"p": 1.0, "height": 64, "width": 64}}], ["changes a photo of 96 x 96 x 3 to 64 x 64 x 3"]),
        ([{"Resize": {"p": 1.0, "height": 96, "width": 96}}], ["changes a photo of 128 x 128 x 3 to 96 x 96 x 3"]),
        ([{"RandomScale": {"p": 0.1}}], ["(RandomScale): changes a photo", "CropAndPad(percent=(-0.2, 0.0))"]),
        ([{"ToGray": {"p": 0.1, "num_output_channels": 1}}], ["(ToGray): changes a photo of 96 x 96 x 3 to 96 x 96"]),
        ([{"RandomCrop": {"p": 1.0, "height": 224, "width": 224}}], ["(RandomCrop): cannot be applied", "96 x 96 px"]),
        ([{"MaskDropout": {"p": 0.5}}], ["(MaskDropout): cannot be applied", "missing keys: {'mask'}"]),
        ([FLIP, {"OneOf": {"p": 1.0, "transforms": [FLIP]}}], ["transform 2.1: expected a mapping"]),
        ([{"OneOf": {"p": 1.0, "transforms": []}}], ["transform 1 (OneOf): expected a list of `transforms`"]),
        (
            [{"SomeOf": {"p": 1.0, "n": "x", "transforms": [{"__class_fullname__": "Blur", "p": 0.5}]}}],
            ["transform 1 (SomeOf): TypeError"],
        ),
    ],
)
def test_an_invalid_policy_is_refused_by_file_position_and_class(tmp_path, transforms, parts):
    policy = written(tmp_path / "mine.yaml", *transforms)
    with pytest.raises(ConfigError) as error:
        load_policy(policy)
    assert str(error.value).startswith(f"{policy}: ")
    assert "\n" not in str(error.value)
    for part in parts:
        assert part in str(error.value)


def test_a_nested_transform_is_named_by_its_place(tmp_path):
    policy = saved(tmp_path / "mine.json", A.Compose([A.Blur(), A.OneOf([A.Blur(), A.Sequential([A.ToFloat()])])]))
    with pytest.raises(ConfigError, match=r"transform 2\.2\.1 \(ToFloat\): pixels must stay"):
        load_policy(policy)


@pytest.mark.parametrize(
    ("target", "value"),
    [("bbox_params", {"format": "coco"}), ("keypoint_params", {"format": "xy"}), ("additional_targets", {"b": "mask"})],
)
def test_other_targets_than_the_photo_are_refused(tmp_path, target, value):
    policy = written(tmp_path / "mine.yaml", FLIP, **{target: value})
    with pytest.raises(ConfigError, match=rf"`transform` \(Compose\): {target}: only photos are augmented"):
        load_policy(policy)


@pytest.mark.parametrize(
    ("name", "text", "part"),
    [
        ("a.yaml", "transform: [", "not yaml: "),
        ("a.json", "{'transform': 1}", "not json: "),
        (
            "a.yaml",
            "!!python/object/apply:os.getcwd []",
            "not yaml: line 1: file: has the tag tag:yaml.org",
        ),
        ("a.yaml", "", "holds no augmentation policy"),
        ("a.yaml", "- HorizontalFlip", "holds no augmentation policy"),
        ("a.yaml", "transform: HorizontalFlip", "`transform`: expected a mapping with `__class_fullname__`"),
        ("a.json", "[" * 100_000, "not json: "),
        ("a.yaml", "transform: &a {__class_fullname__: Compose, transforms: [*a]}", "or 30 levels"),
        (
            "a.yaml",
            "transform: {a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1], b: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a, *a],"
            " c: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b, *b], d: &d [*c, *c, *c, *c, *c, *c, *c, *c, *c, *c],"
            " e: [*d, *d, *d, *d, *d, *d, *d, *d, *d, *d]}",
            "expands to more than 20000 values",
        ),
        (
            "a.yaml",
            "x: 1\ntransform: {__class_fullname__: Blur, p: 0.5, p: 0.1}",
            "line 2: transform.p: is written twice",
        ),
        ("a.json", '{"transform":\n{"p": 0.5, "p": 0.1}}', "the key 'p' is written twice in one mapping"),
        ("a.json", '{"transform": {"p": NaN}}', "NaN is not allowed here"),
        ("a.json", '{"transform": {"p": 1e999}}', "1e999 is not allowed here"),
        ("a.json", '{"a":' * 500 + "1" + "}" * 500, "nested too deeply"),
        ("a.yaml", "transform: {p: .inf}", "line 1: transform.p: '.inf' is not allowed here"),
        ("a.yaml", "#" * 300_000, "longer than 262,144 bytes"),
    ],
)
def test_an_invalid_file_is_refused(tmp_path, name, text, part):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        load_policy(str(path))
    assert str(error.value).startswith(str(path))
    assert part in str(error.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1e-1", 0.1),
        ("011", 11),
        ("0o17", 15),
        ("12:30:45", "12:30:45"),
        ("no", "no"),
        ("2026-11-28", "2026-11-28"),
    ],
)
def test_a_policy_reads_as_an_experiment_file_does(tmp_path, text, expected):
    """YAML 1.2 everywhere. YAML 1.1 has octal and sexagesimal numbers, dates, and `no` for false."""
    (tmp_path / "a.yaml").write_text(f"transform: {{__class_fullname__: HorizontalFlip, p: 0.5, x: {text}}}")
    tree = policy_file._parse("a.yaml", (tmp_path / "a.yaml").read_bytes())
    assert tree["transform"]["x"] == expected == parse_source(f"x: {text}", "e.yaml").tree["x"]


def test_a_missing_file_is_named():
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: cannot read this augmentation policy: No such file"):
        load_policy("nowhere.yaml")


def test_a_file_of_another_version_says_so_where_it_does_not_fit(tmp_path):
    path = tmp_path / "old.json"
    transform = {"__class_fullname__": "albumentations.augmentations.transforms.Cutout", "p": 0.5}
    path.write_text(json.dumps({"__version__": "0.4.6", "transform": transform}))
    with pytest.raises(ConfigError, match=rf"old\.json \(of albumentations 0\.4\.6, read by {A.__version__}\): "):
        load_policy(str(path))


class Unseeded(A.ImageOnlyTransform):
    """Uses NumPy's global generator, as careless transforms do."""

    def apply(self, img: np.ndarray, **params: object) -> np.ndarray:
        return img ^ np.uint8(np.random.randint(1, 255))


class Remembers(A.ImageOnlyTransform):
    """Depends on its previous input."""

    last = 0

    def apply(self, img: np.ndarray, **params: object) -> np.ndarray:
        self.last, before = int(self.random_generator.integers(256)), self.last
        return img ^ np.uint8(before)


@pytest.mark.parametrize("transform", [Unseeded(p=1.0), Remembers(p=1.0)])
def test_a_transform_that_is_not_reproducible_is_refused(transform):
    with pytest.raises(ConfigError, match="here: uses a random generator that cannot be seeded"):
        probe(transform, "here")


def test_a_foreign_class_is_not_read(tmp_path):
    policy = saved(tmp_path / "mine.yaml", A.Compose([Unseeded(p=1.0)]))
    with pytest.raises(ConfigError, match=r"Unseeded\): is not a class of albumentations"):
        load_policy(policy)


SLOW = {"PiecewiseAffine", "Superpixels"}
"""These take seconds; all other transforms take milliseconds."""
REFUSED = {
    # abstract, or a function
    "DualTransform", "ImageOnlyTransform", "Lambda",
    # pixels
    "Normalize", "ToFloat", "FromFloat",
    # size
    "PadIfNeeded", "RandomCropFromBorders", "RandomScale", "Crop",
    # need more than a photo, or a volume
    "BBoxSafeRandomCrop", "CoarseDropout3D", "CubicSymmetry", "FDA", "HistogramMatching", "MaskDropout", "Mosaic",
    "OverlayElements", "PixelDistributionAdaptation", "RandomCropNearBBox",
}  # fmt: skip


def test_every_transform_of_albumentations_is_accepted_or_refused_for_a_reason(tmp_path):
    """Written by hand, and by `A.save`, which adds arguments of base classes that the class does not accept."""
    refused, accepted = set(), set()
    for name, kind in sorted(vars(A).items()):
        if not isinstance(kind, type) or not issubclass(kind, A.BasicTransform) or name in SLOW:
            continue
        try:
            transform = kind(p=0.5)
        except (ValueError, NotImplementedError):  # arguments without defaults, abstract classes
            continue
        try:
            read_policy_file(written(tmp_path / f"{name}.yaml", {name: {"p": 0.5}}))
        except ConfigError:
            refused.add(name)
        else:
            read_policy_file(saved(tmp_path / f"saved {name}.json", transform))
            accepted.add(name)
    assert refused == REFUSED
    assert len(accepted) >= 60


@pytest.mark.parametrize("name", ["RGBShift", "MedianBlur", "RandomRotate90", "HorizontalFlip", "ToSepia"])
def test_unknown_arguments_of_a_transform_are_rejected(tmp_path, name):
    with pytest.raises(ConfigError, match=rf"\({name}\): .*nonsense"):
        load_policy(written(tmp_path / "mine.yaml", {name: {"p": 0.5, "nonsense": 1}}))


def test_a_saved_transform_keeps_its_arguments(tmp_path):
    policy = saved(tmp_path / "mine.yaml", A.Compose([A.RGBShift(r_shift_limit=(40, 40), g_shift_limit=0, p=1.0)]))
    grey = np.full((8, 8, 3), 100, np.uint8)
    out = view(policy, grey, seed=0, view=0, index=0)
    assert (out[..., 0] == 140).all()
    assert (out[..., 1] == 100).all()


def test_a_view_of_another_size_is_rejected_even_if_noise_did_not_show_it(tmp_path):
    """A scale so close to 1 that a small photo keeps its size."""
    policy = written(tmp_path / "mine.yaml", {"RandomScale": {"p": 1.0, "scale_limit": [0.002, 0.003]}})
    assert view(policy, photo(32), seed=0, view=0, index=0).shape == (32, 32, 3)
    with pytest.raises(
        ConfigError, match=r"mine\.yaml: turned a photo of uint8 \(600, 600, 3\) into uint8 \(60\d, 60\d, 3\)"
    ):
        view(policy, photo(600), seed=0, view=0, index=0)


@pytest.mark.parametrize("language", ["yaml", "python"])
def test_the_examples_of_the_documentation_are_valid(tmp_path, monkeypatch, language):
    text = (Path(__file__).parents[3] / "docs" / "augmentation.md").read_text(encoding="utf-8")
    example = text.partition(f"```{language}\n")[2].partition("```")[0]
    monkeypatch.chdir(tmp_path)
    if language == "python":
        exec(example, {})  # noqa: S102  # what our own documentation tells a reader to run
    else:
        Path("mine.yaml").write_text(example, encoding="utf-8")
    load_policy(str(tmp_path / "mine.yaml"))
    assert {type(t).__name__ for t in read_policy_file(str(tmp_path / "mine.yaml")).compose()} >= {
        "HorizontalFlip",
        "OneOf",
    }
