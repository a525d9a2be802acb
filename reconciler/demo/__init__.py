"""`reconciler demo`: embedded servers, seeded drift, a dry run, then convergence, verified."""
