"""Faces: found in pictures and brought to the position that networks for faces are trained with."""
