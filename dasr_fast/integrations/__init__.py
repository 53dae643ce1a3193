"""DASR in other people's programs: `spandrel` (chaiNNer, ComfyUI and others load models by it), ComfyUI's nodes."""
