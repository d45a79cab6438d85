"""The status page: what it knows, what that means, how it looks. No part of it asks anybody; nospof.onhost.status_page does.

Everything here is pure or takes the clock as an argument, so that a page can be made of any stack in any state.
"""
