"""The admin API: what an operator can do, over HTTP.

Endpoints call the functions of `operations` that the commands call, and know who may: `endpoints` is the one
table of both. Nothing here is imported unless the API is on.
"""
