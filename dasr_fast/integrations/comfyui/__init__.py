"""Nodes for ComfyUI: link or copy this folder into `custom_nodes`, in an environment that has dasr-fast."""

from .nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]
