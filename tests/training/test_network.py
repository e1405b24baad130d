"""The check of a saved network against the one that its run describes."""

import json
from pathlib import Path

import pytest

from kpairs.errors import InputError
from kpairs.models.backbone import LITE0, feature_network
from kpairs.training.network import _compare


def test_lite0_of_another_backend_is_the_same_network():
    config = feature_network(LITE0, 32, 32, 3, weights="none").to_json()
    assert '"channels_first"' in config
    assert '"axis": [2, 3]' in config
    other = config.replace('"channels_first"', '"channels_last"')
    other = other.replace('"axis": [2, 3]', '"axis": [1, 2]')
    for saved, built in ((other, config), (config, other)):
        _compare(json.loads(saved), json.loads(built), Path("model.keras"))
    changed = json.loads(other.replace('"relu6"', '"relu"'))
    with pytest.raises(InputError, match="expected activation relu6 of Conv2D"):
        _compare(changed, json.loads(config), Path("model.keras"))
