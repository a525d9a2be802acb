"""Object stores, one package for each protocol."""
