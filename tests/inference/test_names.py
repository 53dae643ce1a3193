import pytest

import dasr_fast
from dasr_fast import inference


def test_names_that_moved_are_still_here():
    assert inference.accelerate is dasr_fast.accelerate
    assert inference.report is dasr_fast.acceleration.report
    assert inference.export_onnx is dasr_fast.export.export_onnx
    assert all(callable(getattr(inference, name)) for name in inference.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'engines'"):
        inference.engines  # noqa: B018
