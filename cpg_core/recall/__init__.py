"""Old tasks on the current model: recalled, audited, measured, served."""
