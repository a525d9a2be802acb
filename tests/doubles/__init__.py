"""In-memory doubles of every port, and builders of the values that tests speak of."""
