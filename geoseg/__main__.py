"""`python -m geoseg`: the command line of the interpreter that runs it."""

from geoseg.cli import main

if __name__ == "__main__":
    main()
