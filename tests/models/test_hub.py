"""Against a server that answers as the hub does, as far as it is asked."""

import json
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import pytest
import torch

from dasr_fast.models import BlindSR

pytest.importorskip("huggingface_hub")

COMMIT = "0" * 40


class Hub(BaseHTTPRequestHandler):
    files: ClassVar[dict[str, bytes]] = {}
    asked: ClassVar[list[str]] = []

    def do_HEAD(self) -> None:
        self.answer(False)

    def do_GET(self) -> None:
        self.answer(True)

    def answer(self, whole: bool) -> None:
        self.asked.append(self.path)
        content = self.files.get(self.path)
        self.send_response(404 if content is None else 200)
        if content is None:
            known = self.path.startswith("/owner/")
            self.send_header("X-Error-Code", "EntryNotFound" if known else "RepoNotFound")
        self.send_header("Content-Length", str(len(content or b"")))
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hash(content)}"')
        self.end_headers()
        if whole and content is not None:
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[type[Hub]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    Hub.files, Hub.asked = {}, []
    yield Hub
    server.shutdown()
    server.server_close()


def model() -> BlindSR:
    torch.manual_seed(0)
    network = BlindSR(3, groups=1, blocks=2).eval()
    network.noise = 5.0
    return network


def test_a_folder_is_written_and_read(tmp_path: Path):
    network = model()
    network.save_pretrained(tmp_path / "here")
    assert {path.name for path in (tmp_path / "here").iterdir()} == {"model.safetensors", "config.json", "README.md"}
    settings = json.loads((tmp_path / "here" / "config.json").read_text())
    assert (settings["scale"], settings["blocks"], settings["library_name"]) == (3, 2, "dasr-fast")
    assert "# DASR x3" in (tmp_path / "here" / "README.md").read_text()
    again = BlindSR.from_pretrained(tmp_path / "here")
    lr = torch.rand(1, 3, 9, 8) * 255
    torch.testing.assert_close(again(lr), network(lr), rtol=0, atol=0)
    assert again.noise == 5.0
    network.save_pretrained(tmp_path / "here", card="# Mine\n")
    assert (tmp_path / "here" / "README.md").read_text() == "# Mine\n"


def test_weights_come_from_a_repository(hub: type[Hub], tmp_path: Path):
    model().save_pretrained(tmp_path / "made")
    hub.files["/owner/name/resolve/main/model.safetensors"] = (tmp_path / "made" / "model.safetensors").read_bytes()
    again = BlindSR.from_pretrained("owner/name")
    torch.testing.assert_close(again.state_dict()["G.head.0.weight"], model().state_dict()["G.head.0.weight"])


def test_what_is_not_there_is_one_sentence(hub: type[Hub]):
    with pytest.raises(FileNotFoundError, match=r"^The hub's repository owner/other holds no model\.safetensors\.$"):
        BlindSR.from_pretrained("owner/other")
    with pytest.raises(FileNotFoundError, match=r"^No weights at nobody/nothing, and the hub has no repository"):
        BlindSR.from_pretrained("nobody/nothing")


def test_local_paths_are_not_told_to_the_hub(hub: type[Hub], tmp_path: Path):
    (tmp_path / "runs").mkdir()
    for name in ("runs/first", "x9", "/a/b", "a/b/c", "../a"):
        with pytest.raises(FileNotFoundError, match="No weights at"):
            BlindSR.from_pretrained(name)
    assert hub.asked == []


def test_what_is_pushed(monkeypatch: pytest.MonkeyPatch):
    calls: dict[str, Any] = {}

    class Api:
        def __init__(self, **options: Any) -> None:
            calls["api"] = options

        def create_repo(self, name: str, **options: Any) -> str:
            calls["repo"] = (name, options)
            return f"https://hub/{name}"

        def upload_folder(self, *, repo_id: str, folder_path: str, commit_message: str) -> None:
            calls["files"] = sorted(path.name for path in Path(folder_path).iterdir())

    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    assert model().push_to_hub("me/mine", private=True, token="secret") == "https://hub/me/mine"
    assert calls["repo"] == ("me/mine", {"private": True, "exist_ok": True})
    assert calls["api"]["token"] == "secret"
    assert calls["files"] == ["README.md", "config.json", "model.safetensors"]


def test_without_the_package(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match=r"pip install 'dasr-fast\[hub\]'"):
        model().push_to_hub("me/mine")


def test_weights_of_the_hub_without_the_package(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match=r"No weights at me/mine, .* pip install 'dasr-fast\[hub\]'\.$"):
        BlindSR.from_pretrained("me/mine")
    with pytest.raises(FileNotFoundError, match=r"\(which has [^)]*\)\.$"):
        BlindSR.from_pretrained("x9")
