"""Results as HTML for notebooks, with small pictures inside."""
