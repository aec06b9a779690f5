"""`python -m scumble` is the `scumble` command."""

from scumble.cli import main

if __name__ == "__main__":
    main()
