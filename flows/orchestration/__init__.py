"""Prefect: flows, their server and pages."""
