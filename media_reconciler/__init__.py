"""What gateways import of the media reconciler: `media_reconciler.tracking`."""
