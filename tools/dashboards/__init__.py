"""The Grafana dashboards: what they show, written as JSON for the chart."""
