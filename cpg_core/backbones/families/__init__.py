"""Networks of other packages, at the one width that they have there: a file a package."""
