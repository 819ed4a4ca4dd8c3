"""How a command fails: what is printed, and with which exit status.

click.ClickException
├── click.UsageError   2  (click's own) the command line is wrong
├── Refused            1  the control plane says no; in its own words
├── Unreachable        3  the control plane cannot be talked to
└── NotLive            4  stored, but not every node has it yet
"""

from __future__ import annotations

import click


class Refused(click.ClickException):
    exit_code = 1


class Unreachable(click.ClickException):
    exit_code = 3


class NotLive(click.ClickException):
    exit_code = 4
