"""The life of a mark: claimed, confirmed, rescued, listed."""
