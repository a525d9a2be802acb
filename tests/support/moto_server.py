"""`moto.server`, which finds its services once: for each request it would look at each of its 175 folders.

That is a quarter of the processor time that a request takes.
"""

from moto import backends
from moto.server import main

_services = tuple(backends.list_of_moto_modules())
backends.list_of_moto_modules = lambda: _services

main()
