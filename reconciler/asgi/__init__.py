"""What the HTTP applications share: how a request is read, what surrounds it, and how a failure is told."""
