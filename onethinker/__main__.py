"""`python -m onethinker` is the same as `onethinker`."""

from onethinker.cli import main

if __name__ == "__main__":
    main()
