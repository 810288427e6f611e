"""Extensions of Sphinx that the site needs.

sources       every source file as a page, and links to files as links to those pages
mathematics   MathJax from an installed package, so that formulas need no network
pages         languages of pages, tables that scroll
docstrings    docstrings of this project as reStructuredText
reference     public names and their documentation; the table of operations
notebooks     tutorials that were executed elsewhere
"""
