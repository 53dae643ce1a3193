import pytest
import torch
from golden import arrays, table

from dasr_fast.evaluation import Setting, bicubic, evaluate_image, network, table2, table3
from dasr_fast.models import BlindSR

ROWS = {key: value for key, value in table("evaluation").items() if key.startswith("bicubic")}
HR = arrays("evaluation")["hr"].permute(2, 0, 1)


@pytest.mark.parametrize("row", ROWS)
def test_golden_bicubic(row: str):
    _, scale, kind, widths = row.split()
    numbers = [float(number) for number in widths.split(",")]
    setting = Setting(numbers[0]) if kind == "iso" else Setting(*numbers)
    score = evaluate_image(HR, "a", bicubic(int(scale[1])), setting, int(scale[1]))
    assert score.psnr == pytest.approx(ROWS[row]["psnr"], abs=1e-3)
    assert score.ssim == pytest.approx(ROWS[row]["ssim"], abs=1e-5)


def test_noise_depends_on_name_and_seed():
    def figure(name: str, seed: int = 0) -> float:
        return evaluate_image(HR, name, bicubic(4), Setting(1.2, noise=10.0), 4, seed=seed).psnr

    assert figure("a") == figure("a")
    assert figure("a") != figure("b")
    assert figure("a") != figure("a", seed=1)
    assert figure("a") < evaluate_image(HR, "a", bicubic(4), Setting(1.2), 4).psnr


def test_network_restores():
    model = BlindSR(2, channels=8, groups=1, blocks=1).eval()
    lr = torch.rand(1, 3, 12, 10) * 255
    assert torch.equal(network(model)(lr), model(lr))


def test_sets_of_the_paper():
    assert [s.sigma for s in table2(2)] == [0, 0.6, 1.2, 1.8]
    assert [s.sigma for s in table2(3)] == [0, 0.8, 1.6, 2.4]
    assert [s.sigma for s in table2(4)] == [0, 1.2, 2.4, 3.6]
    rows = table3(4)
    assert len(rows) == 27
    assert rows[9] == Setting(2.0, 0.5, 0, 5.0)
    assert rows[-1].kernel == "(4.0, 4.0, 180)"
    with pytest.raises(ValueError, match="Table 3 has scale 4 only; got 2"):
        table3(2)
    with pytest.raises(ValueError, match="Table 2 has scales 2, 3 and 4; got 1"):
        table2(1)


def test_a_network_that_fails_is_not_scored():
    with pytest.raises(ValueError, match="psnr: sr holds NaN"):
        evaluate_image(HR, "a", lambda lr: bicubic(2)(lr) * torch.nan, Setting(), 2)
