import pytest

from dasr_fast.pairs import pairs


def test_names_match_with_or_without_the_scale():
    assert pairs(["a.png", "sub/b.jpg"], ["sub/bx2.png", "sub/a.png", "a.tif", "b.png"], 2) == [2, 0]


def test_what_is_missing_or_there_twice():
    with pytest.raises(ValueError, match=r"c\.png has no LR images called c or cx4"):
        pairs(["a.png", "c.png"], ["a.png"], 4)
    with pytest.raises(ValueError, match=r"a\.png has 2 LR images called a or ax4"):
        pairs(["a.png"], ["a.png", "ax4.png"], 4)
