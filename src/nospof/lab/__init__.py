"""Real Debian hosts inside one machine: `lab.Lab` makes, boots, breaks and removes them (docs/decisions/0003-lab.md)."""
