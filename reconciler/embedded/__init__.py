"""Embedded servers for the demo and the tests: a real Postgres and a real S3 store on loopback."""
