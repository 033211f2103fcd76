"""DVC: frozen tasks and data sets."""
