"""Builds the image without a registry, and runs it as a strict cluster would: `python -m tools.image`.

Not collected by pytest: it wants root, Debian's `buildah` and `mmdebstrap`, and a package index.
"""
