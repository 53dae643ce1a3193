import numpy as np
import pytest
import torch

from dasr_fast.models.bounds import departure, drawn_inside, from_text, make_bounds

EMBEDDINGS = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
BOUNDS = make_bounds(EMBEDDINGS, 0.5)


def test_bounds_lie_beyond_the_outermost_by_the_margin():
    numbers = EMBEDDINGS.numpy().astype(float)
    mean = numbers.mean(0)
    expected = (mean + 1.5 * (numbers.min(0) - mean) - 1e-3, mean, mean + 1.5 * (numbers.max(0) - mean) + 1e-3)
    np.testing.assert_allclose(BOUNDS, np.stack(expected), rtol=1e-5)


def test_embeddings_inside_stay_as_they_are():
    assert torch.equal(drawn_inside(EMBEDDINGS, BOUNDS), EMBEDDINGS)
    assert (departure(EMBEDDINGS, BOUNDS) < 1).all()


def test_others_come_to_where_the_line_to_the_mean_crosses_the_bounds():
    lower, mean, upper = BOUNDS.double().numpy()
    far = 10 * torch.randn(20, 6)
    for v, inside in zip(far.double().numpy(), drawn_inside(far, BOUNDS).double().numpy(), strict=True):
        # Bisection, where the formula divides.
        low, high = 0.0, 1.0
        for _ in range(60):
            middle = (low + high) / 2
            point = mean + middle * (v - mean)
            low, high = (middle, high) if ((lower <= point) & (point <= upper)).all() else (low, middle)
        np.testing.assert_allclose(inside, mean + low * (v - mean), rtol=1e-4, atol=1e-5)


def test_a_channel_that_never_varied():
    bounds = make_bounds(torch.ones(4, 3), 0.25)
    v = torch.tensor([[1.0, 1.0, 1.0], [1.0, 2.0, 1.0]])
    torch.testing.assert_close(drawn_inside(v, bounds), torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.001, 1.0]]))


@pytest.mark.parametrize(
    "text", ["", "{}", "null", "[[0], [1]]", "[[0, 0], [1, 1], [1, 2]]", "[[0, 0], [1, NaN], [2, 2]]", '[["a"]]']
)
def test_other_texts(text: str):
    with pytest.raises(ValueError, match=r".+"):
        from_text(text, 2)
