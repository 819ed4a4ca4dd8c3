"""`python -m naru` is the command `naru`."""

from naru.cli import main

if __name__ == "__main__":
    main(prog_name="naru")
