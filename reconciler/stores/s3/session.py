"""aioboto3's session, without what we never use of it."""

import aioboto3


class Session(aioboto3.Session):  # type: ignore[misc]  # without types
    """Without the methods for files that a client would get, whose imports take 2 MiB and 50 ms."""

    def _register_default_handlers(self) -> None:
        pass
