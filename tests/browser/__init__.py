"""What people see of a run in the pages of Prefect and MLflow, looked at in Chromium."""
