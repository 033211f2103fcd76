"""What several backbones are built from. Nothing here is a backbone."""
