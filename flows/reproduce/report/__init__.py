"""The page that shows the results, and the figures in it."""
