"""Own the questions to metadata, put together: typed, inside one transaction.

The operations may enter; they get Records from the store's read() and write().
"""

from __future__ import annotations

from ecrdrag.localecr.storage.images import Image, ImageTable
from ecrdrag.localecr.storage.layers import Layer, LayerTable, Upload
from ecrdrag.localecr.storage.repositories import Repository, RepositoryTable
from ecrdrag.localecr.storage.settings import Setting, SettingTable

__all__ = ["Image", "Layer", "Records", "Repository", "Setting", "Upload"]


class Records(RepositoryTable, SettingTable, LayerTable, ImageTable):
    """Ask and change metadata inside one transaction; for one thread."""
