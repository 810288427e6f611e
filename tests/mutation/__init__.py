"""The mutation run: each backward is changed in every small way, and the properties must notice.

    python -m tests.mutation                    the whole run, results to docs/mutation.md
    python -m tests.mutation MatMul sum_to      only targets whose names contain one of these, results on screen

`mutants` makes the changes, `targets` finds the code that only the specification's gradients depend on, `trial`
puts a change in place and asks the properties, `run` does so in worker processes with time limits, `report`
writes the table.  `equivalent` lists by hand the changes that change nothing, each with the reason.
"""
