"""S3 stores that CI has no time for, started on loopback from Debian's and PyPI's packages.

    python -m tools.stores ceph            # its contract suite, and what the probe sees
    python -m tools.stores swift --keep    # print endpoint and credentials, and wait

Each store lies in a temporary directory, which goes with its programs at the end.
"""
