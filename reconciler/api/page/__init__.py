"""The page: what the admin API offers, for a person with a browser.

It is rendered here, loads nothing from elsewhere, and works without scripts but for live updates. Views and
forms call the functions of `operations` that commands and endpoints call; `routes` is the table of them.
"""
