"""What runs on managed hosts. Imports only itself, the standard library and what Debian packages for its Python.

The controlling machine sends this package along with each trip and installs it as /usr/lib/nospof/onhost; there it is run as
`/usr/bin/python3 /usr/lib/nospof/onhost PROGRAM ARGUMENTS`, each module with a `main(argv)` being a program.
"""
