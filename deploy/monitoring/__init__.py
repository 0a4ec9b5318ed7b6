"""Alerts and dashboards as code: writes what Prometheus and Grafana read."""
