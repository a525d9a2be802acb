"""Google's Storage Insights: where the newest complete inventory report is, and what it says of itself."""
