"""Files of our own in the bucket: whoever asks, nothing of the site is written or removed as one of them."""

from pathlib import Path
from typing import Any

import pytest

from reconciler.model import EXPORTS
from reconciler.stores.s3.exports import BucketExports

OTHERS = ("", EXPORTS, f"{EXPORTS}x", ".reconciler/", ".reconciler/exported/", "image/000", "image/")


@pytest.mark.anyio
@pytest.mark.parametrize("key", OTHERS)
async def test_nothing_but_what_lies_in_a_folder_of_exports_is_touched(key: str) -> None:
    nothing: Any = None
    exports = BucketExports(nothing, nothing, nothing)
    with pytest.raises(ValueError, match="is no file of a comparison"):
        await exports.remove(key)
    with pytest.raises(ValueError, match="is no file of a comparison"):
        await exports.put(key, Path(__file__))
