"""Of KerasHub, only backbones that carsearch trains are created from an untrusted file."""

import json
from importlib.util import find_spec

import pytest

from carcls.inference.model_config import checked_config
from carcls.inference.model_values import ForeignConfigError, MissingLibraryError
from carcls.models.hub_rows import HUB_ROWS


def _with_hub_backbone(**changed) -> bytes:
    config = {"name": "backbone", "trainable": True, "dtype": _policy(), "image_shape": [32, 32, 3]}
    layer = {
        "module": HUB_ROWS["ViTTiny16"].module,
        "class_name": "ViTBackbone",
        "config": config | dict(HUB_ROWS["ViTTiny16"].settings) | changed,
        "registered_name": "keras_hub>ViTBackbone",
        "name": "backbone",
        "inbound_nodes": [],
    }
    whole = {"name": "classifier", "trainable": True, "layers": [layer]}
    return json.dumps({"module": "keras.src.models.functional", "class_name": "Functional", "config": whole}).encode()


def _policy() -> dict:
    return {"module": "keras", "class_name": "DTypePolicy", "config": {"name": "float32"}, "registered_name": None}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"num_layers": 10_000}, "no ViTBackbone that carsearch trains"),
        ({"hidden_dim": 65_536}, "no ViTBackbone that carsearch trains"),
        ({"patch_size": [1, 1]}, "no ViTBackbone that carsearch trains"),
        ({"quantization_config": {}}, "no ViTBackbone that carsearch trains"),
        ({"position_embedding_shape": [9999, 9999, 3]}, "no ViTBackbone that carsearch trains"),
        ({"image_shape": [65_536, 65_536, 3]}, "an integer from 1 to 2,048"),
        ({"image_shape": [32, 32]}, r"\[height, width, 3\]"),
        ({"dtype": {"module": "os", "class_name": "system", "config": {}}}, "not a supported policy"),
    ],
)
def test_a_backbone_of_kerashub_is_one_of_those_that_are_trained(changed, message):
    with pytest.raises(ForeignConfigError, match=message):
        checked_config(_with_hub_backbone(**changed))


def test_a_model_with_a_backbone_of_kerashub_says_what_to_install():
    if find_spec("keras_hub") is not None:
        assert checked_config(_with_hub_backbone())["class_name"] == "Functional"
        return
    with pytest.raises(MissingLibraryError, match=r"a ViTBackbone of KerasHub, .* pip install 'carsearch\[hub\]'"):
        checked_config(_with_hub_backbone())
