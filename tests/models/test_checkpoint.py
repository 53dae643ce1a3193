from pathlib import Path
from typing import Any

import pytest
import torch
from full_disk import files_of_at_most
from golden import table
from safetensors import safe_open
from safetensors.torch import load_file

from dasr_fast.models import BlindSR, CheckpointError, read_weights, save_weights
from dasr_fast.models.checkpoint import SHIPPED, find_weights

SMALL = {"channels": 16, "groups": 2, "blocks": 3, "representation": 32, "reduction": 4}

GATE = "G.body.0.body.0.da_conv1.ca.conv_du.0.weight"
LAST = "G.body.1.body.2.da_conv2"


@pytest.fixture
def model() -> BlindSR:
    return BlindSR(3, **SMALL).eval()


def outputs_agree(one: BlindSR, other: BlindSR) -> bool:
    lr = torch.rand(1, 3, 9, 8) * 255
    with torch.no_grad():
        return torch.equal(one(lr), other(lr))


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_round_trip(model: BlindSR, suffix: str, tmp_path: Path):
    path = tmp_path / f"weights{suffix}"
    save_weights(model, path)
    loaded = BlindSR.from_pretrained(path)
    assert loaded.scale == 3
    assert not loaded.training
    assert outputs_agree(loaded, model)
    for query, key in zip(loaded.E.encoder_q.parameters(), loaded.E.encoder_k.parameters(), strict=True):
        assert torch.equal(query, key)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_scale_and_keys_of_released_checkpoints(scale: int, tmp_path: Path):
    save_weights(BlindSR(scale), tmp_path / "a.pt")
    saved = torch.load(tmp_path / "a.pt", weights_only=True)
    assert list(saved) == table("state_dict_keys")[f"x{scale}_saved"]
    assert BlindSR.from_pretrained(tmp_path / "a.pt").scale == scale


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("known", [{"gate": "none"}, {"depthwise": "static"}, {}], ids=str)
@pytest.mark.parametrize("told", [{"negative_slope": 0.3}, {"gate": "series"}], ids=str)
def test_options_are_known_from_the_keys_or_told(known: Any, told: Any, suffix: str, tmp_path: Path):
    model = BlindSR(3, **SMALL, **told | known).eval()
    save_weights(model, tmp_path / f"a{suffix}")
    told = {name: value for name, value in told.items() if name not in known}
    assert outputs_agree(BlindSR.from_pretrained(tmp_path / f"a{suffix}", **told), model)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_limits_of_the_training_are_kept_beside_the_weights(model: BlindSR, suffix: str, tmp_path: Path):
    keys = list(read_weights(_saved(model, tmp_path / f"without{suffix}")))
    mean = torch.randn(256)
    model.G.bounds, model.noise = torch.stack((mean - 1, mean, mean + 2)), 7.5
    path = _saved(model, tmp_path / f"with{suffix}")
    loaded = BlindSR.from_pretrained(path)
    assert list(read_weights(path)) == keys
    if suffix == ".pt":
        assert (loaded.G.bounds, loaded.noise) == (None, None)
    else:
        torch.testing.assert_close(loaded.G.bounds, model.G.bounds, rtol=1e-5, atol=0)
        assert loaded.noise == 7.5


@pytest.mark.parametrize("facts", [{"bounds": "[1, 2]"}, {"bounds": "x"}, {"noise": "much"}, {"noise": "-1"}], ids=str)
def test_limits_that_cannot_be(model: BlindSR, facts: dict[str, str], tmp_path: Path):
    save_weights(model, tmp_path / "a.safetensors", facts)
    with pytest.raises(CheckpointError, match=r"^[^\n]*a.safetensors holds no limits of its training that can be used"):
        BlindSR.from_pretrained(tmp_path / "a.safetensors")


def _saved(model: BlindSR, path: Path) -> Path:
    save_weights(model, path)
    return path


class Evil:
    def __reduce__(self) -> Any:
        import os

        return os.system, ("touch hacked",)


def write(content: Any, path: Path) -> Path:
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    return path


def bad_files(model: BlindSR) -> dict[str, tuple[Any, str]]:
    """Contents of files, and what is said of each."""
    state = model.state_dict()

    def having(key: str, value: Any) -> dict[str, Any]:
        return {**state, key: value}

    def lacking(prefix: str) -> dict[str, Any]:
        return {key: value for key, value in state.items() if not key.startswith(prefix)}

    head, bias, tail = "G.head.0.weight", "G.head.0.bias", "G.tail.0.0.weight"
    zeros = torch.zeros(16)
    huge = {**state, head: torch.zeros(10**6, 3, 1, 1), tail: torch.zeros(9 * 10**6, 1, 1, 1)}
    no_tensor = f"no ordinary tensor in {bias}"
    return {
        "code": ({"a": Evil()}, "holds Python objects that could run code"),
        "text": (b"hello, I am no checkpoint", "not a checkpoint that PyTorch can read|not a whole checkpoint"),
        "empty": (b"", "not a whole checkpoint|not a checkpoint"),
        "no tensors": ({"a": 1}, "no DASR model: it lacks G.head.0.weight. Its keys are a."),
        "list": ([torch.zeros(1)], "holds no dictionary of tensors"),
        "resnet": ({"conv1.weight": torch.zeros(64, 3, 7, 7)}, f"no DASR model: it lacks {head}"),
        "nan": (having(bias, torch.full((16,), torch.nan)), f"holds NaN or infinity in {bias}"),
        "more": (having("G.extra", torch.zeros(1)), "another network: it has G.extra"),
        "less": (lacking("G.body.2.bias"), "it lacks G.body.2.bias"),
        "grey": (having(head, torch.zeros(16, 1, 3, 3)), rf"{head} is \[16, 1, 3, 3\] instead of \[16, 3, 3, 3\]"),
        "odd": (having(head, torch.zeros(3)), rf"{head} is \[3\]"),
        "gates but one": (lacking(LAST + ".ca"), f"lacks {LAST}.ca"),
        "gate": (having(GATE, torch.zeros(70, 32, 1, 1)), r"conv_du.0.weight is \[70, 32, 1, 1\] instead"),
        "point": (having(tail, torch.tensor(1.0)), rf"{tail} is \[\]"),
        "integers": (having(bias, zeros.int()), f"{bias} is int32"),
        "complex": (having(bias, zeros * 1j), no_tensor),
        "sparse": (having(bias, zeros.to_sparse()), no_tensor),
        "meta": (having(bias, zeros.to("meta")), no_tensor),
        "rank": (having("G.compress.0.weight", torch.zeros(32)), r"G.compress.0.weight is \[32\]"),
        "nothing": (having(head, torch.zeros(0, 3, 3, 3)), rf"{head} is \[0, 3, 3, 3\]"),
        "repeated by strides": (having(bias, torch.zeros(1).expand(10**12)), no_tensor),
        "unknown type": (having(bias, zeros.byte().view(torch.float4_e2m1fn_x2)), no_tensor),
        "an object as weights": (having(bias, [0.0]), no_tensor),
        "huge": (huge, "holds another network"),
        "no safetensors": (b"nonsense", "not a whole .safetensors file"),
    }


@pytest.mark.parametrize("name", bad_files(BlindSR(3, **SMALL)))
def test_bad_files(name: str, model: BlindSR, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    content, message = bad_files(model)[name]
    path = write(content, tmp_path / ("bad.safetensors" if name == "no safetensors" else "bad.pt"))
    with pytest.raises(CheckpointError, match=message) as caught:
        BlindSR.from_pretrained(path)
    assert "\n" not in str(caught.value)
    assert not Path("hacked").exists()


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_flipped_bits_and_a_lost_end(model: BlindSR, suffix: str, tmp_path: Path):
    path = tmp_path / f"flipped{suffix}"
    save_weights(model, path)
    whole = path.read_bytes()
    for place in torch.linspace(len(whole) // 4, len(whole) * 3 // 4, 20).long().tolist():
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(CheckpointError, match="is damaged"):
            read_weights(path)
    path.write_bytes(whole[:-1000])
    with pytest.raises(CheckpointError, match=r"not a whole|not a checkpoint|is damaged"):
        read_weights(path)


def test_pt_files_without_checksums(model: BlindSR, tmp_path: Path):
    torch.serialization.set_crc32_options(False)
    try:
        save_weights(model, tmp_path / "a.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    assert outputs_agree(BlindSR.from_pretrained(tmp_path / "a.pt"), model)


def test_metadata_of_other_weights_give_no_false_checksum(model: BlindSR, tmp_path: Path):
    path = tmp_path / "a.safetensors"
    save_weights(model, path, {"licence": "CC0"})
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    save_weights(model.half(), path, metadata)
    read_weights(path)
    with safe_open(path, "pt") as file:
        assert file.metadata()["licence"] == "CC0"


@pytest.mark.parametrize("wrap", [torch.compile, torch.nn.DataParallel], ids=["compiled", "DataParallel"])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_wrapped_models_are_saved_with_plain_keys(model: BlindSR, wrap: Any, suffix: str, tmp_path: Path):
    model.G.body[0] = torch.compile(model.G.body[0])
    path = tmp_path / f"a{suffix}"
    save_weights(wrap(model), path)
    plain = load_file(path) if suffix == ".safetensors" else torch.load(path, weights_only=True)
    own = BlindSR(3, **SMALL).state_dict()
    assert plain.keys() == {key for key in own if not key.startswith(("E.encoder_k.", "E.queue"))}


def test_the_folder_of_a_run(model: BlindSR, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run = tmp_path / "x3"
    (run / "checkpoints").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"folder .*x3 holds no weights.safetensors and no checkpoint"):
        find_weights(run)
    for name in ("checkpoints/step-00000009.pt", "checkpoints/step-00000010.pt"):
        save_weights(model, run / name)
    assert find_weights(run) == find_weights(run / "checkpoints") == run / "checkpoints" / "step-00000010.pt"
    save_weights(model, run / "weights.safetensors")
    assert find_weights(run) == run / "weights.safetensors"
    monkeypatch.chdir(tmp_path)
    assert find_weights("x3") == SHIPPED / "x3.safetensors"
    assert find_weights("./x3").resolve() == run / "weights.safetensors"
    for blank in ("", " "):
        with pytest.raises(FileNotFoundError, match="The name of the weights is empty"):
            find_weights(blank)


@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors"])
def test_a_failed_save_leaves_the_old_file(model: BlindSR, name: str, tmp_path: Path):
    path = tmp_path / name
    path.write_text("old")
    with files_of_at_most(1000), pytest.raises(OSError, match=rf"{name} can't be written"):
        save_weights(model, path)
    assert (path.read_text(), list(tmp_path.iterdir())) == ("old", [path])


def test_weights_have_two_formats(model: BlindSR, tmp_path: Path):
    with pytest.raises(ValueError, match=r"written as .safetensors or .pt; got weights.bin"):
        save_weights(model, tmp_path / "weights.bin")


def test_random_bytes(tmp_path: Path):
    generator = torch.Generator().manual_seed(0)
    for _ in range(100):
        path = write(bytes(torch.randint(256, (300,), generator=generator).tolist()), tmp_path / "random.pt")
        with pytest.raises(CheckpointError, match=r"is not a (whole )?checkpoint|could run code"):
            BlindSR.from_pretrained(path)
