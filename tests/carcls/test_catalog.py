"""The catalog agrees with keras.applications. Checks that need built models are in test_every_row."""

import subprocess
import sys

import pytest

from carcls.catalog import AUGMENT_POLICIES, BACKBONES, backbones_with, nearest_name


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
    assert list(info.weight_counts) == sorted(info.weight_counts)
    assert len(info.weight_counts) == len(info.alphas)
    assert info.block_count > 1


@pytest.mark.parametrize(
    ("name", "size_px"),
    [
        ("MobileNet", 224),
        ("InceptionV3", 299),
        ("EfficientNetB3", 300),
        ("NASNetLarge", 331),
        ("EfficientNetV2S", 384),
        ("ConvNeXtXLarge", 224),
    ],
)
def test_native_sizes(name, size_px):
    assert BACKBONES[name].native_size_px == size_px


@pytest.mark.parametrize("name", BACKBONES)
def test_one_pixel_below_the_smallest_size_keras_refuses(name):
    import keras

    too_small = BACKBONES[name].min_size_px - 1
    with pytest.raises(ValueError, match=f"at least {too_small + 1}x{too_small + 1}"):
        getattr(keras.applications, name)(include_top=False, weights=None, input_shape=(too_small, too_small, 3))


def test_the_number_of_weights_alone_tells_backbones_and_widths_apart():
    for name, info in BACKBONES.items():
        for alpha, count in zip(info.alphas, info.weight_counts, strict=True):
            assert backbones_with(count) == ((name, alpha),)
    assert backbones_with(12_345) == ()


def test_size_of_a_weights_file():
    assert BACKBONES["MobileNet"].weights_mb(0.25) == pytest.approx(0.874, abs=0.001)
    assert BACKBONES["VGG16"].weights_mb(1.0) == pytest.approx(58.859, abs=0.001)
    with pytest.raises(ValueError, match="not in tuple"):
        BACKBONES["MobileNet"].weights_mb(0.3)


@pytest.mark.parametrize(
    ("wrong", "valid", "expected"),
    [
        ("xception", tuple(BACKBONES), "Xception"),
        ("EfficentNetB3", tuple(BACKBONES), "EfficientNetB3"),
        ("mobilnet", tuple(BACKBONES), "MobileNet"),
        ("resnet-50", tuple(BACKBONES), "ResNet50"),
        ("meduim", AUGMENT_POLICIES, "medium"),
        ("AlexNet", AUGMENT_POLICIES, None),
    ],
)
def test_nearest_name(wrong, valid, expected):
    assert nearest_name(wrong, valid) == expected
