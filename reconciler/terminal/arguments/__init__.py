"""What can be written behind `reconciler`."""
