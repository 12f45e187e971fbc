"""Checkpoints as files: what is in them, and how they are written whole."""

from .file import ACCUMULATED, Checkpoint, SavedSlot, read_checkpoint, write_checkpoint

__all__ = ["ACCUMULATED", "Checkpoint", "SavedSlot", "read_checkpoint", "write_checkpoint"]
