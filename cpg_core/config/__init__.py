"""What may be set: typed settings, profiles, goals."""
