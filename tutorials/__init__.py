"""Tutorials as notebooks: sources in Markdown, and what converts and runs them."""
