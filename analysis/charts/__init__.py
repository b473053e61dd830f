"""Pictures as Altair specifications, one kind per file: the page draws them alive, PNG and SVG are the same."""
