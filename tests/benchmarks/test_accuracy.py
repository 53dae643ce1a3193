import json
from pathlib import Path

import pytest
from PIL import Image
from training.small_run import make_images

from benchmarks.studies.accuracy import main
from dasr_fast.evaluation import bicubic, evaluate_image, table2
from dasr_fast.images import read_image


def test_means_of_a_set_beside_bicubic(weights: Path, tmp_path: Path):
    photos = make_images(tmp_path / "Set14")
    main([str(photos), f"--weights={weights}", "--table=2", f"--output={tmp_path / 'figures'}"], standalone_mode=False)

    means = json.loads((tmp_path / "figures.json").read_text())
    assert [(m["images"], m["method"], m["kernel"]) for m in means] == [
        ("Set14", method, kernel) for method in ("bicubic", "small") for kernel in ("0", "0.6", "1.2", "1.8")
    ]
    setting = table2(2)[2]
    scores = [
        evaluate_image(read_image(path).rgb()[0], path.name, bicubic(2), setting, 2) for path in photos.glob("*.png")
    ]
    psnr = sum(score.psnr for score in scores) / len(scores)
    assert means[2]["psnr"] == pytest.approx(psnr, rel=1e-9)
    rows = [line.strip("| ").split(" | ") for line in (tmp_path / "figures.md").read_text().splitlines()[4:8]]
    assert [row[:3] for row in rows] == [
        ["Set14", "0", method] for method in ("bicubic", "small", "*bicubic, paper*", "*DASR, paper*")
    ]
    assert [cell.partition(" /")[0] for cell in rows[0][3:]] == [f"{m['psnr']:.2f}" for m in means[:4]]
    assert rows[3][3:] == ["33.34", "32.96", "32.78", "31.60"]


def test_infinite_psnr_is_shown(weights: Path, tmp_path: Path):
    (tmp_path / "flat").mkdir()
    Image.new("RGB", (64, 64), (128, 128, 128)).save(tmp_path / "flat" / "grey.png")
    arguments = [f"--weights={weights}", "--table=2", f"--output={tmp_path / 'figures'}"]
    main([str(tmp_path / "flat"), *arguments], standalone_mode=False)
    assert json.loads((tmp_path / "figures.json").read_text())[0]["psnr"] is None
    assert "| flat | 0 | bicubic | inf / 1.000 |" in (tmp_path / "figures.md").read_text()


def test_a_set_that_is_not_there(weights: Path, tmp_path: Path):
    with pytest.raises(SystemExit) as stopped:
        main([str(tmp_path / "absent"), f"--weights={weights}"], standalone_mode=False)
    assert stopped.value.code == 2
