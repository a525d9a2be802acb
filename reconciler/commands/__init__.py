"""The commands by what they are for: read the settings, let it be done, say what came of it."""
