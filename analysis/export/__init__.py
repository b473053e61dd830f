"""Results for other tools: tables as CSV, Markdown and LaTeX, scores for rliable and marl-eval, one tidy table."""
