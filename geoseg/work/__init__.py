"""The kinds of work: what one worker does with one unit. Addresses in, bytes in storage and a few numbers out.

Each job is small and picklable. The function that `open` returns is repeatable: the same unit leaves the same
bytes, and its marker comes last.
"""
