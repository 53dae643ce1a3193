"""Weights from and to the Hugging Face hub; extra `hub`."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from dasr_fast.files import write_json, write_text

if TYPE_CHECKING:
    from dasr_fast.models.blind_sr import BlindSR

WEIGHTS, CONFIGURATION, CARD = "model.safetensors", "config.json", "README.md"
"""The files of a repository."""


def may_be_repository(name: str) -> bool:
    """Whether it could be the name of a repository, `owner/name`, and is no path in a folder that is here."""
    return re.fullmatch(r"[\w.-]+/[\w.-]+", name) is not None and not Path(name).parent.exists()


def download(repository: str) -> Path:
    """Path, in the hub's cache, of the weights in a repository.

    Raises:
        FileNotFoundError: There are none, or the hub can't be reached; the message says which.
    """
    hub = _hub()
    try:
        path = hub.hf_hub_download(repository, WEIGHTS, endpoint=_endpoint())
    except hub.errors.EntryNotFoundError:
        raise FileNotFoundError(f"The hub's repository {repository} holds no {WEIGHTS}.") from None
    except hub.errors.RepositoryNotFoundError:
        raise FileNotFoundError(
            f"No weights at {repository}, and the hub has no repository of that name that you may read."
        ) from None
    except (OSError, hub.errors.HfHubHTTPError, hub.errors.LocalEntryNotFoundError, ValueError) as error:
        why = str(error).strip().splitlines()[0].rstrip(".")
        raise FileNotFoundError(f"No weights at {repository}, and the hub gave none: {why}.") from None
    return Path(path)


def save(model: "BlindSR", folder: Path, card: str | None) -> None:
    """Write what a repository holds into a folder, which is made."""
    from dasr_fast.models.checkpoint import save_weights, settings_of  # It finds weights here.

    folder.mkdir(parents=True, exist_ok=True)
    save_weights(model, folder / WEIGHTS)
    settings = {"model_type": "dasr", "library_name": "dasr-fast", **settings_of(model.state_dict(), "the model")}
    write_json(folder / CONFIGURATION, settings)
    write_text(folder / CARD, card or _card(settings))


def push(model: "BlindSR", repository: str, *, private: bool, card: str | None, token: str | None) -> str:
    """Make a repository if there is none, write the model into it, and return its address."""
    hub = _hub()
    api = hub.HfApi(endpoint=_endpoint(), token=token)
    with TemporaryDirectory() as folder:
        save(model, Path(folder), card)
        address = api.create_repo(repository, private=private, exist_ok=True)
        api.upload_folder(repo_id=repository, folder_path=folder, commit_message="Upload DASR by dasr-fast")
    return str(address)


def _card(settings: Mapping[str, Any]) -> str:
    return f"""---
library_name: dasr-fast
pipeline_tag: image-to-image
tags: [super-resolution, dasr]
---

# DASR x{settings["scale"]}

Blind super-resolution (Wang et al., CVPR 2021): {settings["groups"]} groups of {settings["blocks"]} blocks,
{settings["channels"]} channels.

```python
from dasr_fast.models import BlindSR

model = BlindSR.from_pretrained("OWNER/NAME")
```

To be filled in: data and their licence, degradations, training, figures.
"""


def _hub() -> Any:
    try:
        import huggingface_hub
    except ModuleNotFoundError:
        raise ImportError("The Hugging Face hub needs huggingface_hub: pip install 'dasr-fast[hub]'.") from None
    return huggingface_hub


def _endpoint() -> str | None:
    """Of the hub; its own if the variable isn't set."""
    return os.environ.get("HF_ENDPOINT") or None
