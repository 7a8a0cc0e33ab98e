"""Fixtures of the image source's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.image import ImageSource
from tests.support.image_folder import ImageFolder


@pytest.fixture
def images(tmp_path: Path) -> ImageFolder:
    """An empty folder of images."""
    folder = tmp_path / "images"
    folder.mkdir()
    return ImageFolder(folder)


@pytest.fixture
def source(tmp_path: Path, images: ImageFolder) -> ImageSource:
    """A source on that folder."""
    return ImageSource("images", images.path, tmp_path / "runtime")
