"""Alerts and dashboards as code: write the files that Prometheus and Grafana read."""
