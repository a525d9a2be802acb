"""The media service: media over HTTP, for those to whom they belong.

What is asked and decided is in pure modules (`access`, `conditions`, `describing`, `links`, `paths`);
`serving` joins them for a request. It deletes nothing.
"""
