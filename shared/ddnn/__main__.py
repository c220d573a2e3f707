"""`python -m ddnn` is the command `ddnn`."""

from ddnn.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    main()
