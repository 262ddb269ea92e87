"""The catalog says of each backbone what keras.applications says."""

import subprocess
import sys

import pytest

from carcls.catalog import AUGMENT_POLICIES, BACKBONES, nearest_name


def test_importing_the_catalog_loads_no_framework():
    program = "import sys, carcls.catalog; print(sorted({'keras', 'tensorflow', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", BACKBONES)
def test_rows_are_consistent(name):
    info = BACKBONES[name]
    assert info.name == name
    assert 32 <= info.min_size_px <= info.native_size_px
    assert list(info.alphas) == sorted(info.alphas)
    assert 1.0 in info.alphas
    assert info.has_alpha == name.startswith("MobileNet")


@pytest.mark.parametrize(("name", "size_px"), [("MobileNet", 224), ("InceptionV3", 299), ("EfficientNetB3", 300)])
def test_native_sizes(name, size_px):
    assert BACKBONES[name].native_size_px == size_px


@pytest.mark.parametrize("name", ["Xception", "InceptionV3", "MobileNetV2", "EfficientNetB0"])
def test_one_pixel_below_the_smallest_size_keras_refuses(name):
    import keras

    too_small = BACKBONES[name].min_size_px - 1
    with pytest.raises(ValueError, match=f"at least {too_small + 1}x{too_small + 1}"):
        getattr(keras.applications, name)(include_top=False, weights=None, input_shape=(too_small, too_small, 3))


@pytest.mark.parametrize(
    ("wrong", "valid", "expected"),
    [
        ("xception", tuple(BACKBONES), "Xception"),
        ("EfficentNetB3", tuple(BACKBONES), "EfficientNetB3"),
        ("mobilnet", tuple(BACKBONES), "MobileNet"),
        ("meduim", AUGMENT_POLICIES, "medium"),
        ("AlexNet", AUGMENT_POLICIES, None),
    ],
)
def test_nearest_name(wrong, valid, expected):
    assert nearest_name(wrong, valid) == expected
