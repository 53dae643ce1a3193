from cli_helpers import Call, fails

from dasr_fast.models.checkpoint import SHIPPED


def test_all_are_listed_with_what_they_are_for(call: Call):
    code, out, err = call("weights")
    assert (code, err) == (0, "")
    for path in SHIPPED.glob("*.safetensors"):
        assert f" {path.stem} " in out
    assert "noise up to" in " ".join(out.split())


def test_a_card_is_printed(call: Call):
    assert call("weights", "x2")[1] == (SHIPPED / "x2.md").read_text()
    fails(call, 2, "No weights at nothing", "weights", "nothing")
