import json
from pathlib import Path

import pytest
from training.small_run import NETWORK, as_options, make_images

from benchmarks.studies.ablation import ROWS, main
from dasr_fast.models import BlindSR
from dasr_fast.nn import StaticKernel


@pytest.mark.slow
def test_five_rows_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    photos, output = make_images(tmp_path / "photos"), tmp_path / "ablation"
    recipe = as_options({**NETWORK, "cache": tmp_path / "cache", "device": "cpu"})
    arguments = [f"--data={photos}", f"--validation={photos}", f"--output={output}", "--steps=2", "--", *recipe]
    main(arguments, standalone_mode=False)
    table = capsys.readouterr().out
    content = json.loads((output / "ablation.json").read_text())
    assert [row["name"] for row in content["rows"]] == [row.name for row in ROWS]
    for row in content["rows"]:
        assert list(row["psnr"]) == ["0", "0.6", "1.2", "1.8"]
        assert all(f"{psnr:.2f}" in table for psnr in row["psnr"].values())
    layers = {
        name: BlindSR.from_pretrained(output / name / "weights.safetensors").G.body[0].body[0].da_conv1
        for name in ("sr-loss", "static", "no-gate", "dasr")
    }
    assert [name for name, layer in layers.items() if isinstance(layer.kernel, StaticKernel)] == ["static"]
    assert [name for name, layer in layers.items() if layer.ca is None] == ["no-gate"]

    logs = [(output / row.name / "log.jsonl").read_text() for row in ROWS]
    main(arguments, standalone_mode=False)
    assert logs == [(output / row.name / "log.jsonl").read_text() for row in ROWS]
    with pytest.raises(SystemExit) as stopped:
        main([*arguments, "--seed=1"], standalone_mode=False)
    assert stopped.value.code == 2
    assert "begun with seed = 0, and can't be resumed with 1" in capsys.readouterr().err
