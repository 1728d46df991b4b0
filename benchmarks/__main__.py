"""`python -m benchmarks`; imports nothing unless run, for worker processes import this file too."""

if __name__ == "__main__":
    from benchmarks.cli import main

    main()
